"""The columns of a table of trials: which there are, which are shown and in what order, which stay in sight, and what it is sorted by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from engine.frontier.columns import Rows, Trials
from engine.frontier.matching import option_names, option_values
from engine.metrics import METRICS
from pages.shared.narrowing_address import MOST_COLUMNS, Columns

RECIPE, STANDING, LIT, INTERVAL, TRUTH = "recipe", "marks", "lit", "interval", "provenance"
_NAMES = {RECIPE: "Recipe", STANDING: "Standing", INTERVAL: "95 % interval", TRUTH: "Truth"}
_ALWAYS = (LIT, RECIPE)
_STATE = "explore columns"
_WIDGETS = {part: f"explore columns {part}" for part in ("names", "pinned", "sort", "down", "every")}


def seed(asked: Columns, news: bool) -> Columns:
    """The columns that the page shows: those of the address where that is news, else those that were chosen on the page."""
    if news or _STATE not in st.session_state:
        st.session_state[_STATE] = asked
    return now()


def now() -> Columns:
    """The columns as they are chosen at the moment."""
    found: Columns = st.session_state.get(_STATE, Columns())
    return found


def offered(trials: Trials, device: str) -> list[str]:
    """Every column that there is to choose, but for the recipe's name, which is always shown: standing, metrics, options."""
    metrics = list(trials.measured(device))
    judged = metrics.index(trials.judged_by) + 1 if trials.judged_by in metrics else 0
    ranged = [INTERVAL] if judged else []
    return [STANDING, *metrics[:judged], *ranged, *metrics[judged:], TRUTH, *option_names(trials)]


def title(name: str) -> str:
    """A column's name for people."""
    return _NAMES.get(name) or (METRICS[name].name if name in METRICS else name)


def options_shown(trials: Trials, wanted: Columns) -> dict[str, list[str | float | None]]:
    """The columns of options that are shown or sorted by: no others are worked out."""
    known = {*_NAMES, *trials.metrics, *METRICS}
    asked = [n for n in dict.fromkeys((*wanted.names, wanted.sort.removeprefix("-"))) if n and n not in known]
    found = option_values(trials) if asked else {}
    return {name: found[name] for name in asked if name in found}


def sorted_rows(trials: Trials, by: str, device: str, standing: Rows) -> Rows:
    """The rows of some trials in the order of a column, `-name` downwards, those of one value by their place in `standing`; what has no
    value comes last. An unknown column is no order of its own.
    """
    name, down = by.removeprefix("-"), by.startswith("-")
    if not name or name == STANDING:
        return standing[::-1] if down else standing
    if name in METRICS:
        keys = trials.numbers(name, device).value
    elif name in {RECIPE, TRUTH}:
        keys = _ranks([str(v) for v in trials.fact("label" if name == RECIPE else "provenance")])
    elif name in (options := option_values(trials)):
        values = options[name]
        # Numbers before words, as a person would list `2, 4, 8, auto`.
        numeric = all(v is None or isinstance(v, float) for v in values)
        keys = (
            np.array([np.nan if v is None else v for v in values], np.float64)
            if numeric
            else _ranks([None if v is None else f"{'0' if isinstance(v, float) else '1'}{v}" for v in values])
        )
    else:
        return standing
    place = np.empty(len(trials), np.intp)
    place[standing] = np.arange(len(trials))
    # NaN is sorted last, whatever its sign.
    return np.lexsort((place, -keys if down else keys))


def _ranks(texts: list[str | None]) -> Any:
    order = {text: float(i) for i, text in enumerate(sorted({t for t in texts if t is not None}))}
    return np.array([np.nan if t is None else order[t] for t in texts], np.float64)


def order_of(made: pd.DataFrame, wanted: Columns) -> list[str] | None:
    """The names of the columns that were chosen, in their order; None where the usual ones are shown."""
    if not wanted.names:
        return None
    first = [n for n in _ALWAYS if n in made]
    return [*first, *(n for n in wanted.names if n in made and n not in first)]


def picker(trials: Trials, device: str) -> None:
    """Draw the button that opens the choice of columns, their order, what is pinned and what the table is sorted by."""
    with st.popover("Columns", icon=":material/view_column:"):
        names, present = offered(trials, device), now()
        shown = [n for n in present.names if n in names]
        sort = present.sort.removeprefix("-")
        seeds = {
            "names": shown,
            "pinned": [n for n in present.pinned if n in names],
            "sort": sort if sort in (RECIPE, *names) else STANDING,
            "down": present.sort.startswith("-"),
            "every": present.every,
        }
        for part, value in seeds.items():
            st.session_state[_WIDGETS[part]] = value
        st.multiselect(
            "Columns, in this order",
            names,
            format_func=title,
            key=_WIDGETS["names"],
            placeholder="The usual ones",
            max_selections=MOST_COLUMNS,
            on_change=_changed,
            args=(names,),
            help="None chosen: standing, every number that was measured, and how true it is. Options of the recipes can be columns, too.",
        )
        st.multiselect(
            "Kept in sight on the left",
            names,
            format_func=title,
            key=_WIDGETS["pinned"],
            placeholder="The recipe alone",
            on_change=_changed,
            args=(names,),
        )
        st.selectbox(
            "Sorted by", [STANDING, RECIPE, *names[1:]], format_func=title, key=_WIDGETS["sort"], on_change=_changed, args=(names,),
            help="Standing: the frontier first, then what is tied with it, then the others within your limits.",
        )  # fmt: skip
        st.toggle("The other way round", key=_WIDGETS["down"], on_change=_changed, args=(names,))
        st.toggle(
            "Also columns that say the same of every recipe",
            key=_WIDGETS["every"],
            on_change=_changed,
            args=(names,),
            disabled=bool(shown),
        )
        st.button("The usual columns", key="explore columns reset", on_click=_reset)


def _changed(names: list[str]) -> None:
    found = {part: st.session_state[key] for part, key in _WIDGETS.items()}
    by = "" if found["sort"] == STANDING and not found["down"] else f"{'-' * bool(found['down'])}{found['sort']}"
    # What this sweep does not have may be another's, for which it was chosen.
    others = {part: [n for n in getattr(now(), part) if n not in names] for part in ("names", "pinned")}
    st.session_state[_STATE] = replace(
        now(),
        names=(*found["names"], *(others["names"] if found["names"] else ())),
        pinned=(*found["pinned"], *(others["pinned"] if found["pinned"] else ())),
        sort=by,
        every=bool(found["every"]),
    )


def _reset() -> None:
    st.session_state[_STATE] = Columns()
