"""Trials as tables: those measured, with a row to select, and those that are still to come or failed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st

from engine.figures.frontier_info import shown_all
from engine.frontier.columns import Rows, Trials
from engine.frontier.front import within_limits
from engine.frontier.joined import is_imported
from engine.frontier.recommendation import Choice
from engine.metrics import METRICS, text_of
from engine.trials.stated import NOT_HERE
from pages.shared import shell, table_columns, widths
from pages.shared.narrowing_address import USUAL, Columns

MOST_ROWS = 1_000
"""Nobody scrolls through more, and every one of them goes to the browser with every change."""
MOST_LISTED = 200
NARROW_NAME_PX, NARROW_NUMBER_PX, _NARROW_ROW_PX = 162, 92, 66
"""Streamlit wraps the text of a cell in rows of more than 64 pixels."""
_FORMATS = {
    "accuracy": "%.2f",
    "size_bytes": "%.1f",
    "size_zipped_bytes": "%.1f",
    "latency_ms": "%.3f",
    "latency_ratio": "%.2f",
    "energy_mj": "%.3g",
    "kwh_per_million": "%.3g",
    "cost_per_million": "%.3g",
    "co2e_kg_per_million": "%.3g",
    "params": "localized",
    "nonzero_params": "localized",
    "macs": "%.2f",
    "nll": "%.4f",
    "kl": "%.5f",
}
_SHARES = "%.2f"


def rows(trials: Trials, choice: Choice, tied: Collection[str] = (), selected: str | None = None, by: str = "") -> Rows:
    """The rows of finished trials that the table lists, by standing: the frontier, what is tied with it, the others within the limits, then
    those outside, the best of each first by what the sweep is judged by; or in the order of a column (`table_columns.sorted_rows`).

    Of very many those that matter most, baseline, best and knee before the frontier, and before all the selected one, if it would not be
    listed otherwise.
    """
    kept = within_limits(trials, choice.view.limits, choice.view.device)
    standing = np.where(kept, 2, 3)
    for rank, ids in ((1, tied), (0, choice.front)):
        standing[[trials.place[i] for i in ids if i in trials.place]] = rank
    # NaN is sorted last.
    order = np.lexsort((-trials.merit(), standing))
    if by:
        order = table_columns.sorted_rows(trials, by, choice.view.device, order)
    if len(trials) <= MOST_ROWS:
        return order
    named = [choice.baseline, choice.best, choice.knee]
    first = [] if by else list(dict.fromkeys(trials.place[i] for i in named if i and i in trials.place))
    listed = [*first, *order[~np.isin(order, first)].tolist()][:MOST_ROWS]
    chosen = trials.place.get(selected or "")
    return np.array(listed if chosen is None or chosen in listed else [chosen, *listed[:-1]], np.intp)


def frame(
    trials: Trials,
    choice: Choice,
    tied: Collection[str] = (),
    lit: Collection[str] | None = None,
    wanted: Columns = USUAL,
) -> pd.DataFrame:
    """One row per trial, in the order given; numbers in the units shown, a column for each that some trial has, and the options `wanted`.

    `lit`: ids that have a mark in a column of their own, which is not there for None.
    """
    device = choice.view.device
    first = {} if lit is None else {"lit": ["●" if i in lit else "" for i in trials.ids]}
    columns: dict[str, Any] = {**first, "recipe": trials.fact("label"), "marks": _marks(trials, choice, tied)}
    for key in trials.measured(device):
        found = trials.numbers(key, device)
        columns[key] = shown_all(key, found.value)
        if key == trials.judged_by:
            ends = zip(found.low.tolist(), found.high.tolist(), strict=True)
            columns["interval"] = [
                f"{text_of(key, low, unit=False)}–{text_of(key, high, unit=False)}" if low == low else None
                for low, high in ends
            ]
    columns |= {"provenance": trials.fact("provenance")}
    return pd.DataFrame(columns | table_columns.options_shown(trials, wanted))


def constant(made: pd.DataFrame) -> list[str]:
    """The columns that say the same of every recipe, where there are several: hidden until somebody asks for them."""
    if len(made) < 2:
        return []
    names = [name for name in made.columns if name not in {"recipe", "marks", "lit"}]
    return [name for name in names if made[name].nunique(dropna=False) < 2]


def _marks(trials: Trials, choice: Choice, tied: Collection[str]) -> list[str]:
    """What is special about each trial, in words; `tied` are the trials tied with the frontier."""
    front, best = frozenset(choice.front), choice.best if choice.view.limits else None
    close = trials.fact("tied_with_baseline").tolist()
    points = {i for i, is_one in zip(trials.ids, is_imported(trials).tolist(), strict=True) if is_one}
    return [
        ", ".join(
            name
            for name, holds in (
                ("baseline", i == choice.baseline),
                ("best", i == best),
                ("knee", i == choice.knee),
                ("frontier", i in front),
                ("tied with frontier", i in tied),
                ("tied with baseline", like_baseline),
                (NOT_HERE, i in points),
                ("outside limits", i not in choice.kept and (choice.view.imported or i not in points)),
            )
            if holds
        )
        for i, like_baseline in zip(trials.ids, close, strict=True)
    ]


def name_px(names: Iterable[object]) -> int:
    """How wide a column of names is: as the longest, within reason, since what they differ in is often at the end. On a narrow screen two
    numbers have room beside it.
    """
    if widths.is_narrow():
        return NARROW_NAME_PX
    longest = max((len(str(name)) for name in names), default=0)
    return min(430, max(200, 30 + round(6.4 * longest)))


def row_px(count: int) -> dict[str, Any]:
    """Height of a table of so many rows, and of these on a narrow screen, where a name takes up to three lines."""
    px = _NARROW_ROW_PX if widths.is_narrow() else None
    return {"height": min(420, 38 + (px or 35) * count), "row_height": px}


def _columns(trials: Trials, device: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "lit": st.column_config.TextColumn("Lit", width=40, pinned=True, help="It has the option that is lit up."),
        "recipe": st.column_config.TextColumn(
            "Recipe", help="The steps, in the order applied.", pinned=True, width=name_px(trials.fact("label"))
        ),
        "marks": st.column_config.TextColumn(
            "Standing",
            width=245,
            help="frontier: no other recipe within your limits is better on both axes. knee: past it, giving up more buys little. "
            "tied with …: the measurements cannot tell the two apart.",
        ),
        "interval": st.column_config.TextColumn(
            f"95 % interval ({unit})" if (unit := METRICS[trials.judged_by].unit) else "95 % interval",
            help=f"Where {METRICS[trials.judged_by].name} lies, given the number of test samples.",
        ),
        "provenance": st.column_config.TextColumn(
            "Truth",
            help="deployed: measured on the very file that you export. simulated: no kernel for it here. imported: "
            "stated by somebody else, not measured here.",
        ),
    }
    for key in trials.measured(device):
        metric = METRICS[key]
        estimated = ", estimated" if trials.numbers(key, device).estimated.any() else ""
        unit = f" ({metric.unit})" if metric.unit else ""
        config[key] = st.column_config.NumberColumn(
            f"{metric.name}{estimated}{unit}",
            help=metric.help,
            format=_FORMATS.get(key, "%.4g" if metric.unit not in {"%", "points"} else _SHARES),
        )
    return config


def _few(trials: Trials, choice: Choice, wanted: Columns) -> list[str]:
    """The columns for a narrow screen: what is lit, the name, the axes, what it is sorted by and what is pinned."""
    view = choice.view
    return ["lit", "recipe", *wanted.pinned, trials.judged_by, view.y, view.x, wanted.sort.removeprefix("-")]


def selectable(
    trials: Trials,
    choice: Choice,
    tied: Collection[str],
    key: str,
    on_select: Callable[[], None],
    left_out: int = 0,
    lit: Collection[str] | None = None,
    wanted: Columns = USUAL,
) -> None:
    """The table of measured trials; `on_select` runs when the selected row changes. `left_out` others are not among them.

    Of no trials there is none.
    """
    if not len(trials):
        return
    made = frame(trials, choice, tied, lit, wanted)
    hidden = [] if wanted.names or wanted.every else constant(made)
    config = _columns(trials, choice.view.device)
    few = None if wanted.names or wanted.every else widths.fewer(made, _few(trials, choice, wanted))
    for name in few or ():
        if name in METRICS:
            config[name] = {**config[name], "width": NARROW_NUMBER_PX}
    for name in wanted.pinned:
        if name in made:
            config[name] = {**config.get(name, st.column_config.Column()), "pinned": True}
    st.dataframe(
        made,
        hide_index=True,
        # None hides a column; the table's own menu has it.
        column_config=config | dict.fromkeys(hidden),
        column_order=few or table_columns.order_of(made, wanted),
        **row_px(len(trials)),
        selection_mode="single-row",
        on_select=on_select,
        key=key,
        placeholder="–",
        alt="Every measured recipe with its numbers; select a row to see its recipe."
        if not left_out
        else f"The {len(trials):,} measured recipes that matter most, with their numbers; select a row to see its recipe.",
    )
    if few:
        st.caption("As many columns as a narrow screen has room for; **Columns** has the others.")
    elif hidden:
        said = "1 column that does not vary is" if len(hidden) == 1 else f"{len(hidden)} columns that do not vary are"
        st.caption(f"{said} hidden: {', '.join(map(table_columns.title, hidden))}.")
    if left_out:
        order = (
            f"the first by {table_columns.title(wanted.sort.removeprefix('-')).lower()}"
            if wanted.sort
            else "the frontier first, then what is tied with it, then the most accurate"
        )
        st.caption(
            f"{len(trials):,} of {len(trials) + left_out:,} measured recipes: {order}. "
            f"{left_out:,} are left out here; Share gives them all."
        )


def unfinished(trials: Trials) -> None:
    """Recipes that failed or were stopped, with the reason, and those that are still to come; nothing when there are none."""
    state = trials.fact("state")
    failed, stopped, pending = (
        trials.take(np.asarray(state == name, np.bool_)) for name in ("failed", "stopped", "pending")
    )
    if len(failed):
        with st.expander(f"{len(failed):,} {_recipes(failed)} could not be made", icon=":material/error:"):
            _with_reasons(failed, "error")
    if len(stopped):
        with st.expander(
            f"{len(stopped):,} {_recipes(stopped)} stopped after screening", icon=":material/filter_alt_off:"
        ):
            _with_reasons(stopped, "stopped")
    if len(pending):
        with st.expander(f"{len(pending):,} {_recipes(pending)} not measured yet", icon=":material/hourglass_empty:"):
            st.table(pd.DataFrame({"Recipe": [shell.plain(n) for n in pending.fact("label")[:MOST_LISTED]]}))
            _not_listed(pending)


def _with_reasons(trials: Trials, fact: Literal["error", "stopped"]) -> None:
    some = trials.take(np.arange(min(MOST_LISTED, len(trials))))
    reasons = [shell.plain(reason or "unknown") for reason in some.fact(fact)]
    st.table(pd.DataFrame({"Recipe": [shell.plain(n) for n in some.fact("label")], "Reason": reasons}))
    _not_listed(trials)


def _not_listed(trials: Trials) -> None:
    if len(trials) > MOST_LISTED:
        st.caption(f"and {len(trials) - MOST_LISTED:,} more; Share gives them all.")


def _recipes(trials: Trials) -> str:
    return "recipe" if len(trials) == 1 else "recipes"
