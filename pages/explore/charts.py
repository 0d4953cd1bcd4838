"""The charts of Explore: which one is shown, how a trial is selected in it, and how the selected one is seen in all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from engine.figures.frontier import frontier_alt, frontier_figure
from engine.figures.frontier_info import FrontierInfo
from engine.figures.frontier_info import drawn_text as sampled_text
from engine.figures.highlight import in_sight, with_lit, with_selected
from engine.figures.lineage import lineage_alt, lineage_figure, lineage_info
from engine.figures.many_metrics import drawn_text
from engine.figures.many_metrics_info import (
    LEAST_METRICS,
    MOST_PAIRED,
    Axis,
    marker_sizes,
    matrix_info,
    parallel_info,
    space_info,
)
from engine.figures.parallel_axes import parallel_alt, parallel_figure
from engine.figures.progress import HELP, progress_alt, progress_figure, progress_info, progress_text
from engine.figures.scatter_matrix import matrix_alt, matrix_figure
from engine.figures.space_3d import space_alt, space_figure
from engine.figures.style import style
from engine.frontier.columns import Trials
from engine.frontier.joined import without_points
from engine.frontier.recommendation import Choice, View
from engine.metrics import METRICS, text_of
from engine.store.rows import SweepRow
from pages.explore import brush, chart_events
from pages.explore.brush import Marked, Pane
from pages.explore.options import Lit
from pages.shared import address, plots, share
from pages.shared.explore_address import SHAPES, Chart, third_axis, zoom_text
from pages.shared.pickers import usual_metrics

SHAPE = "explore shape"
_KEYS = {shape: f"explore {'chart' if shape == 'frontier' else shape}" for shape in SHAPES}
# In these, Plotly itself shows which mark was clicked. In the others a trial has several marks, or a mark cannot be selected.
_SELECTABLE = {"frontier", "map", "progress"}
_DRAWN, _ASKED = "chart drawn", "chart zoom asked"


@dataclass(frozen=True)
class _Drawn:
    """The chart that is on the screen. `ring` is the trial that has a ring in it, `visible` the one that it shows as selected."""

    signature: tuple[object, ...]
    ring: str | None
    visible: str | None
    zoom: Mapping[str, Any]


@dataclass(frozen=True)
class _Made:
    """A figure in words and for the eye, and what stands below it."""

    figure: go.Figure
    alt: str
    caption: str = ""
    help: str | None = None
    panes: Mapping[str, Pane] = field(default_factory=dict)
    axes: Sequence[Axis] = ()


def seed(chart: Chart, news: bool) -> Chart:
    """Which chart the page shows: what the address asks for when that is news, otherwise what was chosen on the page."""
    if news or st.session_state.get(SHAPE) not in SHAPES:
        st.session_state[SHAPE] = chart.shape
    return replace(chart, shape=str(st.session_state[SHAPE]))


def pick_shape(trials: Trials) -> None:
    """Draw the choice among the charts. Progress is offered where it is known when recipes were finished."""
    timed = any(s is not None for s in trials.fact("finished_s")) or st.session_state[SHAPE] == "progress"
    st.segmented_control(
        "Chart",
        [s for s in SHAPES if s != "progress" or timed],
        format_func=SHAPES.__getitem__,
        key=SHAPE,
        label_visibility="collapsed",
        required=True,
    )


def show(
    row: SweepRow,
    info: FrontierInfo,
    trials: Trials,
    chart: Chart,
    selected: str | None,
    select: Callable[[str], None],
    lit: Lit | None = None,
    marked: Marked | None = None,
) -> Mapping[str, Any]:
    """Draw the chart; `select` is called with the id of a trial that was clicked. Returns how far in the chart is, for the address.
    What is `lit` has a halo; what a brush has not `marked` fades.

    A figure that has changed is a new element to Streamlit, which would take zoom and selection from under the pointer. So the chart in
    which a trial was clicked stays as it is, and the ring around the selected trial is drawn when the chart is drawn for another reason.
    """
    view, key = info.choice.view, _KEYS[chart.shape]
    asked: Mapping[str, Any] | None = st.session_state.pop(_ASKED, None)
    made = _make(info, trials, chart, selected)
    if made is None:
        return {}
    # A zoom belongs to one sweep's chart on one device: elsewhere it would show a corner without a mark.
    made.figure.layout.uirevision = f"{row.id} {chart.shape} {view.device} {made.figure.layout.uirevision}"
    if asked is not None:
        chart_events.remember(made.figure.layout.uirevision, asked)
    axes = (view.x, view.y, view.colour, view.device, view.imported, *sorted(view.limits.items()))
    narrowed = brush.signature(marked, chart.shape) if marked else None
    signature = (row.id, row.revision, len(info.choice.measured), *axes, chart, lit and lit.key, narrowed)
    drawn: _Drawn | None = st.session_state.get(_DRAWN)
    left_the_page = chart.shape in _SELECTABLE and key not in st.session_state
    elsewhere = drawn is not None and drawn.visible != selected
    if drawn is None or asked is not None or drawn.signature != signature or elsewhere or left_the_page:
        drawn = _Drawn(signature, selected, selected, chart_events.last_zoom(made.figure))
        st.session_state[_DRAWN] = drawn
    if lit is not None:
        with_lit(made.figure, lit.trials, lit.name)
    if marked and marked.ids is not None and chart.shape == "3d":
        with_lit(made.figure, marked.ids, "marked")
    ringed = with_selected(made.figure, drawn.ring)
    if elsewhere and not in_sight(made.figure, drawn.zoom):
        # Chosen in the table or on the page: better seen than zoomed.
        chart_events.remember(made.figure.layout.uirevision, {})
        drawn = replace(drawn, zoom={})
        st.session_state[_DRAWN] = drawn
    chart_events.zoom(made.figure, drawn.zoom)
    # A figure that is drawn comes once more from Streamlit, with its data copied. Where it says that they are the same, and the layout
    # has all that Streamlit would add to it, Plotly has nothing to draw again (tried with 1.67).
    style(made.figure)
    made.figure.update_layout(datarevision=crc32(repr((signature, drawn.ring)).encode()))

    def zoomed() -> None:
        address.amend("explore", {"zoom": zoom_text(chart_events.last_zoom(made.figure)) or None})

    options: dict[str, Any] = {
        "key": key,
        "config": share.picture_config(zoom=True),
        "alt": made.alt,
        "theme": None,
    }
    if chart.shape in _SELECTABLE:
        made.figure.update_layout(clickmode="event+select", dragmode="pan")
        clicked = partial(_clicked, key, select)
        plots.draw(made.figure, on_select=clicked, selection_mode="points", **options)
        chart_events.listen(key, None, zoomed)
    else:
        plots.draw(made.figure, **options)
        chart_events.listen(key, select, zoomed)
    if marked and chart.shape != "3d":
        brush.follow(key, made.figure, made.panes, made.axes, marked, select)
    if drawn.ring and drawn.ring == selected and not ringed:
        st.caption(
            "The selected recipe is not in this chart: it lacks a number that the chart needs, or has no place left."
        )
    if made.caption:
        st.caption(made.caption, help=made.help)
    return chart_events.last_zoom(made.figure)


def ask_zoom(to: Mapping[str, Any]) -> None:
    """Draw the next chart as far in as a link says."""
    st.session_state[_ASKED] = to


def _clicked(key: str, select: Callable[[str], None]) -> None:
    """A click on a mark; the mark says which trial it is. A double click takes the mark off: the ring is drawn instead."""
    points = st.session_state[key]["selection"]["points"]
    drawn: _Drawn | None = st.session_state.get(_DRAWN)
    if points and points[0].get("customdata"):
        trial = str(points[0]["customdata"][0])
        st.session_state[_DRAWN] = drawn and replace(drawn, visible=trial)
        select(trial)
    elif drawn and drawn.ring != drawn.visible:
        st.session_state[_DRAWN] = None


def _make(info: FrontierInfo, trials: Trials, chart: Chart, selected: str | None) -> _Made | None:
    """The chart of a shape; None where there is nothing to draw, which is said then."""
    view = info.choice.view
    also = [selected] if selected else []
    sizes = marker_sizes(trials, chart.size, view.device) if chart.size else None
    # What was not made here has no steps, and was never under way.
    trials = without_points(trials) if chart.shape in {"map", "progress"} else trials
    sized = _size_text(trials, chart.size, view) if chart.size else ""
    if chart.shape == "map":
        tree = lineage_info(trials, info.choice, view.colour or view.y, chart.size or "size_bytes")
        left_out = f"; {tree.left_out} recipes are left out here, the table has them" if tree.left_out else ""
        size = _size_text(trials, chart.size or "size_bytes", view)
        text = f"Each branch is a step; diamonds are on the frontier{left_out}. {size}."
        return _Made(lineage_figure(tree), lineage_alt(tree), text)
    if chart.shape == "3d":
        space = space_info(trials, info.choice, chart.z or third_axis(view, trials.measured(view.device)), also)
        star = "★ is the best within your limits" if view.limits and info.choice.best else ""
        text = _sentences("Drag to turn, scroll to come closer", star, sized, drawn_text(space))
        return _Made(space_figure(space, sizes=sizes), space_alt(space), text) if space.marks else _nothing(view)
    if chart.shape in {"parallel", "matrix"}:
        return _many(trials, info.choice, chart, also)
    if chart.shape == "progress":
        over_time = progress_info(trials, view)
        if not over_time.steps:
            st.info(
                "When the recipes of this sweep were finished was not kept: it ran before Paretoscope did that. Sweeps that are started "
                "now have this chart.",
                icon=":material/info:",
            )
            return None
        return _Made(progress_figure(over_time, 450), progress_alt(over_time), progress_text(over_time), HELP)
    counted = info.total - (0 if view.imported else info.counts.get("imported", 0))
    missing = len(info.choice.measured) - counted
    lacking = (
        f"{missing:,} {'recipes' if view.imported else 'measured recipes'} lack one of these two numbers and are in the table only."
        if missing
        else ""
    )
    figure = frontier_figure(info, height=450, sizes=sizes)
    panes = {"xy": Pane.of(figure, "xy", view.x, view.y)}
    return _Made(figure, frontier_alt(info), _sentences(sized, lacking, sampled_text(info)), panes=panes)


def _many(trials: Trials, choice: Choice, chart: Chart, also: Sequence[str]) -> _Made | None:
    view = choice.view
    metrics = chart.metrics or usual_metrics(trials, view.device)
    if len(metrics) < LEAST_METRICS:
        st.info(f"Choose at least {LEAST_METRICS} metrics above.", icon=":material/tune:")
        return None
    if chart.shape == "parallel":
        found = parallel_info(trials, choice, metrics, also)
        axes = f"{METRICS[view.x].name} and {METRICS[view.y].name}"
        words = (
            f"Each line is a recipe; those in colour are on the frontier of {axes}. Click a mark to select its line, "
            "drag along an axis to mark a range."
        )
        made = _Made(parallel_figure(found), parallel_alt(found), words, axes=found.axes)
    else:
        found = matrix_info(trials, choice, metrics, also)
        beyond = f" The first {MOST_PAIRED} metrics are drawn." if len(metrics) > MOST_PAIRED else ""
        words = f"In each pane, the line is the frontier of its own two metrics; arrows point to better.{beyond}"
        figure, size = matrix_figure(found), len(found.axes) - 1
        numbers = {pair: pair[1] * size + pair[0] + 1 for pair in found.pairs}
        names = {pair: f"x{n}y{n}" if n > 1 else "xy" for pair, n in numbers.items()}
        panes = {n: Pane.of(figure, n, found.axes[a].key, found.axes[b].key) for (a, b), n in names.items()}
        made = _Made(figure, matrix_alt(found), words, panes=panes)
    return replace(made, caption=_sentences(words, drawn_text(found))) if found.marks else _nothing(view)


def _size_text(trials: Trials, key: str, view: View) -> str:
    """What the marks' size says, with its ends."""
    found = trials.numbers(key, view.device).value
    known = found[np.isfinite(found)]
    ends = (
        f", {text_of(key, float(known.min()))} to {text_of(key, float(known.max()))}"
        if len(known)
        else ", not measured"
    )
    return f"Size of the marks: {METRICS[key].name.lower()}{ends}"


def _sentences(*texts: str) -> str:
    return " ".join(t if t.endswith(".") else f"{t}." for t in texts if t)


def _nothing(view: View) -> _Made | None:
    where = "" if view.device == "host" else f" on {view.device}"
    st.info(f"No recipe has all of these numbers{where}. Choose other metrics.", icon=":material/tune:")
    return None
