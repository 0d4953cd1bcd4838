"""Which option matters: what each option of a sweep does to a metric, all else equal; the recipes of a chosen one light up."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from engine.figures.effects import effects_alt, effects_figure, effects_info
from engine.figures.style import style
from engine.figures.table_twin import Twin, table_twin
from engine.frontier.columns import Trials
from engine.frontier.contrasts import WITHOUT
from engine.frontier.effect_texts import REGRESSION, change_text, name_text, strongest_together, together_text
from engine.frontier.effects import Effect, Effects, effects
from engine.frontier.estimates import RATIOS
from engine.metrics import METRICS
from engine.store.rows import SweepRow
from pages.shared import plots, queries, shell, trial_table, widths

OPTION = "explore option"
MOST_UNASKED = 5_000
"""Of more recipes the work takes seconds, and is begun when somebody asks."""
_ASKED, _TABLE, _CHART, _METRIC, _BOX = (f"explore options {x}" for x in ("asked", "table", "chart", "metric", "box"))
_MOVED, _TICKED = "explore option moved", "explore option ticked"
_SHOWN = 4
MOST_LISTED = 100
"""A longer list of options nobody reads, and every line of it goes to the browser with every change."""


@dataclass(frozen=True)
class Lit:
    """The option that is looked at: its key, its name, and the ids that have it."""

    key: str
    name: str
    trials: frozenset[str]


@st.cache_resource(max_entries=16, ttl=3600, show_spinner="Comparing recipes that differ in one option …")
def _effects(address: tuple[str, str], at: tuple[str, str, int], device: str, profile: str, _known: Trials) -> Effects:
    # Which trials are meant follows from the sweep and its revision.
    return effects(_known, device, queries.artifacts().local)


def _found(row: SweepRow, device: str) -> Effects:
    return _effects(*_key(row, device), queries.columns_on(row, device))


def _key(row: SweepRow, device: str) -> tuple[tuple[str, str], tuple[str, str, int], str, str]:
    """What the effects follow from."""
    return queries.address(), (row.id, row.created, row.revision), device, queries.profile_key(device)


# Neither changes with a limit or an axis, and making them takes a fifth of what such a change takes.
@st.cache_resource(max_entries=32, ttl=3600, show_spinner=False)
def _drawn(of: tuple[object, ...], key: str, _found: Effects) -> tuple[go.Figure, str, Twin]:
    dots = effects_info(_found, key)
    figure = effects_figure(dots, key)
    style(figure)
    figure.update_layout(clickmode="event+select", dragmode="pan")
    return figure, effects_alt(dots, key), table_twin(figure)


@st.cache_resource(max_entries=32, ttl=3600, show_spinner=False)
def _told(of: tuple[object, ...], keys: tuple[str, ...], listed: tuple[str, ...], _found: Effects) -> pd.DataFrame:
    some = [_found.by_key[key] for key in listed]
    return pd.DataFrame(
        {
            "Option": [e.name for e in some],
            "Instead of": ["–" if e.instead == WITHOUT else e.instead for e in some],
            "Pairs": [str(e.pairs) if e.basis == "pairs" else "regression" for e in some],
            **{METRICS[k].name: [change_text(k, e.estimates.get(k)) for e in some] for k in keys},
        }
    )


def seed(option: str | None, news: bool) -> None:
    """Take on what the address asks for, where that is news."""
    if news:
        st.session_state[OPTION] = option
        st.session_state[_MOVED] = True


def chosen() -> str | None:
    """The key of the option that is looked at, for the address."""
    found: str | None = st.session_state.get(OPTION)
    return found


def lit(row: SweepRow, device: str) -> Lit | None:
    """The option that is looked at; None where none is, or the sweep has no such option."""
    key = chosen()
    if key is None:
        return None
    one = _found(row, device).by_key.get(key)
    if one is None:
        st.session_state[OPTION] = None
        return None
    return Lit(one.key, name_text(one), frozenset(one.trials))


def section(row: SweepRow, device: str, count: int, left: int) -> None:
    """Draw the chart and the table of options, and the box that lights one up; nothing where no two recipes differ in one alone.

    It is of all `count` recipes, and says so where a filter or a brush leaves fewer of them to look at.
    """
    if count < 2:
        return
    if count > MOST_UNASKED and chosen() is None and not st.session_state.get(f"{_ASKED} {row.id}"):
        st.subheader("Which option matters", anchor=False)
        st.button(
            f"Compare the {count:,} recipes option by option",
            key=f"{_ASKED} {row.id} button",
            on_click=lambda: st.session_state.update({f"{_ASKED} {row.id}": True}),
        )
        return
    found = _found(row, device)
    if not found.effects:
        return
    st.subheader("Which option matters", anchor=False)
    st.caption(_about(found))
    if left < count:
        st.caption(f"**Of all {count:,} measured recipes of the sweep**, also of those that are left out above.")
    keys = list(found.metrics)
    if st.session_state.get(_METRIC) not in keys:
        st.session_state[_METRIC] = next((k for k in keys if _changes(found, k)), keys[0])
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        key = st.selectbox("Change of", keys, format_func=lambda k: METRICS[k].name, key=_METRIC, width=220)
        _light_box(found)
    _chart(row, *_drawn(_key(row, device), key, found), key)
    _table(row, device, found, key)
    told = [together_text(found, one, key) for one in strongest_together(found, key)]
    if told:
        st.caption("Together, more than chance (of many pairs, one in twenty is so by chance):")
        st.markdown("\n".join(f"- {shell.plain(text)}" for text in told))


def _changes(found: Effects, key: str) -> bool:
    """Whether any option changes a metric at all."""
    none = 1.0 if key in RATIOS else 0.0
    return any(e.estimates[key].value != none for e in found.effects if key in e.estimates)


def _about(found: Effects) -> str:
    text = (
        "Each is the mean change between recipes that differ in this option alone, with its 95 % interval: how the change varies with the "
        "rest of the recipe, and what the measurements leave open. Click one, and its recipes light up in the chart and in the table."
    )
    if not found.factorial:
        text += f" Options marked “regression” are told {REGRESSION}."
    return text


def _listed(found: Effects, key: str | None = None) -> list[Effect]:
    """The options that have a metric, in their order; of very many those of the most pairs, and the chosen one."""
    there = [e for e in found.effects if key is None or key in e.estimates]
    most = {e.key for e in sorted(there, key=lambda e: -e.pairs)[:MOST_LISTED]} | {chosen()}
    return [e for e in there if e.key in most]


def _light_box(found: Effects) -> None:
    names = {e.key: name_text(e) for e in _listed(found)}
    now = chosen()
    st.session_state[_BOX] = now if now in names else None

    def picked() -> None:
        st.session_state[OPTION] = st.session_state[_BOX]
        st.session_state[_MOVED] = True

    st.selectbox(
        "Light up the recipes with",
        list(names),
        format_func=names.__getitem__,
        key=_BOX,
        index=None,
        placeholder="No option",
        on_change=picked,
        width=340,
    )


def _chart(row: SweepRow, figure: go.Figure, alt: str, twin: Twin, key: str) -> None:
    name = f"{_CHART} {row.id} {key}"

    def clicked() -> None:
        points = st.session_state[name]["selection"]["points"]
        if points and points[0].get("customdata"):
            st.session_state[OPTION] = str(points[0]["customdata"][0])
            st.session_state[_MOVED] = True

    plots.draw(
        figure,
        key=name,
        on_select=clicked,
        selection_mode="points",
        theme=None,
        alt=alt,
        twin=twin,
    )


def _table(row: SweepRow, device: str, found: Effects, key: str) -> None:
    shown = tuple(dict.fromkeys([key, *found.metrics[:_SHOWN]]))
    name, ids = f"{_TABLE} {row.id} {key}", [e.key for e in _listed(found, key)]
    frame = _told(_key(row, device), shown, tuple(ids), found)
    if st.session_state.pop(_MOVED, False) or name not in st.session_state:
        rows = [ids.index(now)] if (now := chosen()) in ids else []
        st.session_state[name] = {"selection": {"rows": rows, "columns": [], "cells": []}}

    def picked() -> None:
        rows = st.session_state[name]["selection"]["rows"]
        if rows and rows[0] < len(ids):
            st.session_state[OPTION] = st.session_state[_TICKED] = ids[rows[0]]
        elif st.session_state.get(_TICKED) == chosen():
            st.session_state[OPTION] = None
        else:
            # Chosen elsewhere: a table may say that nothing is ticked in it, which puts nothing out.
            st.session_state[_MOVED] = True

    st.dataframe(
        frame,
        hide_index=True,
        **trial_table.row_px(len(frame)),
        selection_mode="single-row",
        on_select=picked,
        key=name,
        column_config={
            "Option": st.column_config.TextColumn("Option", pinned=True, width=trial_table.name_px(frame["Option"]))
        },
        column_order=widths.fewer(frame, ["Option", *frame.columns[3:4]]),
        alt="What each option changes, all else equal; select a row to light up its recipes.",
    )
    if more := len(found.effects) - len(_listed(found)):
        st.caption(f"{more:,} options of fewer pairs are left out here; `paretoscope effects` prints them all.")
