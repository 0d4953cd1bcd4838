"""Explore: one sweep's frontier, limits, and the recipe behind every point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import streamlit as st

from engine.errors import NotFoundError
from engine.figures.frontier_info import FrontierInfo
from engine.frontier.columns import Trials
from engine.frontier.joined import is_imported, without_points
from engine.frontier.recommendation import Choice, View, choose
from engine.metrics import METRICS, is_score, text_of
from engine.store.rows import SweepRow
from engine.trials.text import best_text, share_text
from pages.explore import brush, charts, filter, limits, options, presentation, time_lapse, views
from pages.explore.brush import Marked
from pages.shared import (
    address,
    comparison,
    how_far,
    live,
    narrowed,
    notes,
    pickers,
    queries,
    recommended,
    share,
    shell,
    table_columns,
    trial_panel,
    trial_table,
    widths,
)
from pages.shared import explore_address as state
from pages.shared.narrowed import Narrowed

MISSING = "explore sweep that is not here"
IMPORTED = "explore imported"
LOOKED_AT = "you are zoomed in or have a recipe selected"
TABLE, SELECTED, TICKED, MOVED = "explore table", "explore trial", "explore ticked", "explore selection moved"


def render() -> None:
    """Draw the page."""
    rows = queries.sweeps()
    if not rows:
        st.info("Nothing has been measured yet. Start a sweep, and its frontier appears here.", icon=":material/info:")
        st.page_link(shell.pages()["new-sweep"], label="New sweep")
        return
    params, news = address.read("explore")
    asked = state.parse(params)
    if news:
        st.session_state[SELECTED] = asked.trial
        st.session_state[MISSING] = None
    options.seed(asked.option, news)
    if presentation.is_on():
        presentation.show(_wanted_row(rows, asked.sweep), asked.view, asked.narrowing)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row = pickers.pick_sweep(rows, _wanted_row(rows, asked.sweep).id, news, "pick sweep")
        trials = queries.explored(row, pickers.wanted_device(asked.view, news))
        view, chart = pickers.pick_view(asked.view, charts.seed(asked.chart, news), trials, news)
    done = trials.done
    by, columns = brush.seed(asked.narrowing, row.id, news), table_columns.seed(asked.columns, news)
    if news and params and len(done):
        charts.ask_zoom(asked.zoom)
    if missing := st.session_state.get(MISSING):
        st.warning(missing, icon=":material/link_off:")
    _say_what_this_is(row, done)
    shown = state.Explore(row.id, _selected(done), view, chart, narrowing=by, columns=columns)
    if len(done):
        shown = _frontier(row, trials, done, shown, news)
    trial_table.unfinished(trials)
    address.write("explore", state.to_params(shown))


def _frontier(row: SweepRow, trials: Trials, done: Trials, asked: state.Explore, news: bool) -> state.Explore:
    """Chart and limits beside the selected recipe, and the table below; what is shown, with the limits, metrics and zoom that are set."""
    view, chart = asked.view, asked.chart
    only = narrowed.narrowed(row, view.device, done, asked.narrowing)
    left = only.trials
    advice = st.container(key="explore advice place")
    widths.chart_first("explore advice place", "explore chart place")
    wide, right = st.columns([3, 2], gap="medium")
    chart_only = shell.chart_first("explore")
    marked = brush.marked(only, view.device, still=chart_only)
    lit = None if chart_only else options.lit(row, view.device)
    with wide:
        # The chart is drawn above the sliders that it depends on.
        above = st.container(key="explore chart place")
        if not chart_only:
            scope = f"{row.id} {view.device}"
            wanted, new = brush.limits(view.limits)
            view = replace(view, limits=limits.sliders(done, view.device, wanted, scope, news or new))
            view = replace(view, imported=_tick(view, done, news))
        info = queries.info(row, view, _selected(done), left, only.key)
        with above:
            if not chart_only:
                charts.pick_shape(done)
                chart = pickers.pick_metrics(view.device, chart, done, news)
            zoom = charts.show(row, info, left, chart, _selected(done), _select, lit, marked) if len(left) else {}
            if len(left):
                if chart.shape == "progress" and not chart_only:
                    time_lapse.show(row, left, view)
                brush.bar(marked, only)
                _remaining(info, left, bool(only.key))
            else:
                filter.nothing_left(only)
            notes.pinned(row, done, _select)
    if not chart_only:
        with advice:
            recommended.box(row, recommended.recommended(row, view, left, only.key), "explore advice", _select)
        with right:
            _selection(row, info, done)
        _table(row, info, trials, only, marked, lit)
        options.section(row, view.device, *(len(without_points(t)) for t in (done, left)))
    return replace(asked, trial=_selected(done), view=view, chart=chart, zoom=zoom, option=options.chosen())


def _tick(view: View, done: Trials, news: bool) -> bool:
    """Whether imported points count; asked only where there are any."""
    if not is_imported(done).any():
        return view.imported
    if news or IMPORTED not in st.session_state:
        st.session_state[IMPORTED] = view.imported
    return st.checkbox(
        "Imported points count",
        key=IMPORTED,
        help="They were measured elsewhere, perhaps on other samples, and have no intervals. Without the tick they are drawn, and are on "
        "no frontier and under no limit.",
    )


def _wanted_row(rows: Sequence[SweepRow], ref: str | None) -> SweepRow:
    """The sweep that the address names, otherwise the newest with something to show."""
    shown = next((r for r in rows if r.trials), rows[0])
    if ref is None:
        return shown
    try:
        return pickers.find_sweep(rows, ref)
    except NotFoundError:
        # The address will say what is shown instead, so what it asked for is kept for the runs that follow.
        st.session_state[MISSING] = (
            f"There is no sweep {shell.plain(repr(ref))} here; this is {shell.plain(repr(shown.name))}."
        )
        return shown


def _say_what_this_is(row: SweepRow, done: Trials) -> None:
    """Where the numbers come from, and what is still to come."""
    points = is_imported(done).sum()
    done = without_points(done)
    machines = sorted(set(done.machines.values()))
    where = f"measured on {' and on '.join(machines)}" if machines else "nothing measured yet"
    example = "Example that ships with Paretoscope, really run: " if row.example else ""
    st.caption(
        f"{example}{len(done):,} of {row.recipes:,} recipes {where}{f'; beside them {points:,} imported' if points else ''}"
    )
    how_far.found(row)
    if row.state == "running":
        # Read when it is asked for: neither a zoom nor a click runs the page at once.
        live.show(
            [(row, len(done))], lambda: bool(st.query_params.get("zoom")) or _selected(done) is not None, LOOKED_AT
        )
    elif not len(done):
        st.info(
            f"This sweep is {row.state} and has no measured recipe. {shell.plain(row.error or '') or 'Start it again to go on.'}",
            icon=":material/info:",
        )
        st.page_link(shell.pages()["new-sweep"], label="Open it", query_params={"run": row.id})


def _select(trial_id: str) -> None:
    st.session_state[SELECTED] = trial_id
    # The next run puts the table's own selection where this one is.
    st.session_state[MOVED] = True


def _selected(done: Trials) -> str | None:
    wanted = st.session_state.get(SELECTED)
    return wanted if wanted in done.place else None


def _remaining(info: FrontierInfo, done: Trials, narrowed_down: bool) -> None:
    """How many recipes remain within the limits, and which of them to take."""
    choice = info.choice
    count, total = len(choice.kept), len(choice.measured)
    if not total and is_imported(done).all():
        st.markdown("**Limits**: only imported points are left, which do not count.")
    elif not choice.view.limits:
        looked_at = " that are looked at" if narrowed_down else ""
        st.markdown(
            f"**Limits**: none set, all {total:,} recipes{looked_at} remain. Move a slider to what you can afford."
            if total > 1
            else "**Limits**: with one recipe there is nothing to choose between."
        )
    elif choice.best is None:
        st.warning("**0 recipes** keep all these limits. Loosen one.", icon=":material/block:")
    else:
        best = done.place[choice.best]
        with st.container(border=True, horizontal=True, wrap=False, vertical_alignment="center"):
            st.markdown(
                f"**{count:,} of {total:,}** recipes remain. :green[:material/star:] Best under your limits: "
                f"**{shell.plain(done.fact('label')[best])}**  \n:small[{_reason(done, best, choice)}{_doubt(info)}]"
            )
            st.button("Show it", on_click=_select, args=(choice.best,))


def _doubt(info: FrontierInfo) -> str:
    """How sure that choice is, and how much picking it flatters."""
    sure = info.certainty
    text = best_text(sure.best, sure.optimism, sure.candidates) if sure else ""
    return f" {text}." if text else ""


def _reason(done: Trials, best: int, choice: Choice) -> str:
    """Why the row `best` is best."""
    key = done.judged_by
    values = done.numbers(key).value
    value = float(values[best])
    if key in {"agreement", "relative_error"}:
        return f"The one that answers most like the baseline ({_text(done, best, key)})."
    equals = sum(done.ids[i] in choice.kept for i in np.flatnonzero(values == value)) - 1
    tie = f", and the smallest of the {equals + 1:,} that share it" if equals else ""
    size = _text(done, best, "size_bytes")
    metric = METRICS[key]
    name = metric.name if is_score(key) else metric.name.lower()
    return f"The {'highest' if metric.maximise else 'lowest'} {name} that remains ({text_of(key, value)}){tie}; {size}."


def _text(done: Trials, row: int, key: str, device: str = "host") -> str:
    return text_of(key, float(done.numbers(key, device).value[row]))


def _selection(row: SweepRow, info: FrontierInfo, done: Trials) -> None:
    """The selected recipe, or how to select one."""
    choice = info.choice
    chosen = _selected(done)
    if chosen:
        baseline = None if done.baseline is None else done[done.baseline]
        trial_panel.show(row, done[done.place[chosen]], baseline, choice.view.device)
        return
    wanted = st.session_state.get(SELECTED)
    if wanted:
        st.warning(f"This sweep has no measured trial {shell.plain(repr(wanted))}.", icon=":material/link_off:")
    with st.container(border=True):
        st.markdown(
            ":material/ads_click: **Click a point**, or select a row of the table, to see its recipe, every number with its "
            "range, and to export it."
        )
        if choice.front:
            knee = info.certainty.knee if info.certainty and choice.knee else None
            sure = "" if knee is None else f" (the same point in {share_text(knee)} of redraws of the measurements)"
            st.markdown(f"**On the frontier**{KNEE if choice.knee else ''}{sure}{':' if choice.knee else ''}")
        view = choice.view
        for name in choice.front[:FRONT_SHOWN]:
            place = done.place[name]
            numbers = [_text(done, place, key, view.device) for key in dict.fromkeys((done.judged_by, view.x, view.y))]
            mark = "◆ " if name == choice.knee else ""
            with st.container(gap=None):
                st.button(
                    f"{mark}**{shell.plain(done.fact('label')[place])}**",
                    key=f"front {name}",
                    type="tertiary",
                    on_click=_select,
                    args=(name,),
                )
                st.caption(" · ".join(numbers))
        if len(choice.front) > FRONT_SHOWN:
            st.caption(f"and {len(choice.front) - FRONT_SHOWN:,} more, in the table")


KNEE = "; past the knee ◆, giving up more on one axis buys little on the other"
FRONT_SHOWN = 8


def _table(
    row: SweepRow, info: FrontierInfo, trials: Trials, only: Narrowed, marked: Marked, lit: options.Lit | None
) -> None:
    tied = info.certainty.tied if info.certainty else frozenset[str]()
    wanted, done = table_columns.now(), brush.listed(only, marked)
    chosen = _selected(done)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        filter.box()
        table_columns.picker(only.trials, info.choice.view.device)
        views.picker(row)
    filter.said(only)
    listed = done.take(trial_table.rows(done, info.choice, tied, chosen, wanted.sort))
    ids, key, before = listed.ids, f"{TABLE} {row.id}", f"{TABLE} {row.id} lists"
    # The selection is a row's number: where the rows are others than before, it is put where the selected trial is now.
    others = st.session_state.get(before) != ids
    if st.session_state.pop(MOVED, False) or others or key not in st.session_state:
        st.session_state[before] = ids
        rows = [listed.place[chosen]] if chosen and chosen in listed.place else []
        st.session_state[key] = {"selection": {"rows": rows, "columns": [], "cells": []}}

    def selected() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows and rows[0] < len(ids):
            st.session_state[SELECTED] = st.session_state[TICKED] = ids[rows[0]]
        elif st.session_state.get(TICKED) == st.session_state.get(SELECTED):
            st.session_state[SELECTED] = None
        else:
            # Chosen elsewhere: a table that has only just appeared may say that nothing is ticked in it, which unticks nothing.
            st.session_state[MOVED] = True

    trial_table.selectable(
        listed, info.choice, tied, key, selected, len(done) - len(listed), lit.trials if lit else None, wanted
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        # It gives all recipes, and says of each whether it is on the frontier of them all.
        share.of_sweep(row, trials, choose(trials, info.choice.view) if only.key else info.choice)
        comparison.link(row)
        comparison.link_to_sweeps(row)
        presentation.link(row, info.choice.view, replace(brush.now(), brush=None))


with shell.one_line_errors():
    shell.guard()
    render()
