"""Trials -> plotly figures. A pure `..._info` computes, a small function draws; nothing here knows of streamlit.

Colours follow the palette of Okabe and Ito (jfly.uni-koeln.de/color), which people with any colour vision tell apart, and each role
has a shape of its own as well. Each can be read on a light and on a dark page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from engine.certainty import Certainty
from engine.choice import Choice, View, choose
from engine.frontier import Floats
from engine.record import METRICS, Trial, metric_value
from engine.selection import objective_points
from engine.words import axis_title, is_estimated, metric_range, seeds_text, share_text, shown, text_of

Role = Literal["front", "tied", "beaten", "over"]
"""front: no other drawn trial beats it; tied: one does, but the measurements cannot tell; beaten: one does; over: outside the limits."""

BLUE, GREEN, ORANGE, PINK, GREY = "#1F83C6", "#009E73", "#E08A00", "#CC79A7", "#8C95A3"
# Blue to orange: the same for any colour vision, and neither end is lost on a light or a dark page.
COLOUR_SCALE = [[0.0, "#2166D1"], [0.5, "#9A93A5"], [1.0, "#E58600"]]
# A wider span than this is easier to read in logarithms.
LOG_SPAN = 25.0


@dataclass(frozen=True)
class Point:
    """One drawn trial. Values and (low, high) ranges are in the units shown; `hover` is escaped HTML."""

    trial_id: str
    role: Role
    x: float
    y: float
    colour: float | None
    x_range: tuple[float, float] | None
    y_range: tuple[float, float] | None
    hover: str
    seeds: tuple[float, float, float] | None = None
    """Mean, least and greatest over the seeds, on the upright axis, in the unit shown; None where that axis is not accuracy."""


@dataclass(frozen=True)
class FrontierInfo:
    """What the chart draws: `points` are the finished trials with both axes measured; titles are in words, with units."""

    choice: Choice
    points: tuple[Point, ...]
    x_title: str
    y_title: str
    colour_title: str | None
    certainty: Certainty | None = None


def frontier_info(trials: Sequence[Trial], view: View, certainty: Certainty | None = None) -> FrontierInfo:
    """Everything that `frontier_figure` draws, computed; without `certainty` no trial is shown as tied.

    Raises SpecError where times of two machines would come onto one axis.
    """
    choice = choose(trials, view)
    on_front = set(choice.front)

    def title(key: str) -> str:
        return axis_title(key, view.device, any(is_estimated(t, key, view.device) for t in trials))

    def role(trial: Trial) -> Role:
        if trial.id in on_front:
            return "front"
        if trial.id not in choice.kept:
            return "over"
        return "tied" if certainty and trial.id in certainty.tied else "beaten"

    drawn = [t for t in trials if t.state == "done"]
    values = objective_points(drawn, (view.x, view.y), view.device)
    return FrontierInfo(
        choice=choice,
        points=tuple(
            _point(t, row, view, role(t), certainty)
            for t, row in zip(drawn, values, strict=True)
            if np.isfinite(row).all()
        ),
        x_title=title(view.x),
        y_title=title(view.y),
        colour_title=title(view.colour) if view.colour else None,
        certainty=certainty,
    )


def _point(trial: Trial, row: Floats, view: View, role: Role, certainty: Certainty | None) -> Point:
    colour = metric_value(trial, view.colour, view.device) if view.colour else None
    ranges = [metric_range(trial, k, view.device) for k in (view.x, view.y)]
    x_range, y_range = (
        (shown(k, r[0]), shown(k, r[1])) if r else None for k, r in zip((view.x, view.y), ranges, strict=True)
    )
    return Point(
        trial_id=trial.id,
        role=role,
        x=shown(view.x, float(row[0])),
        y=shown(view.y, float(row[1])),
        colour=None if colour is None or view.colour is None else shown(view.colour, colour),
        x_range=x_range,
        y_range=y_range,
        hover=_hover(trial, view, role, certainty),
        seeds=_seeds(trial, view),
    )


def _seeds(trial: Trial, view: View) -> tuple[float, float, float] | None:
    if trial.seeds is None or view.y != "accuracy":
        return None
    mean, low, high = (shown("accuracy", v) for v in (trial.seeds.mean, trial.seeds.low, trial.seeds.high))
    return mean, low, high


def _hover(trial: Trial, view: View, role: Role, certainty: Certainty | None) -> str:
    """The recipe and every number that is on an axis, with ranges and truth labels."""
    lines = [f"<b>{html.escape(trial.label)}</b>"]
    for key in dict.fromkeys(k for k in ("accuracy", "size_bytes", view.x, view.y, view.colour) if k):
        text = f"{METRICS[key].name}: {text_of(key, metric_value(trial, key, view.device))}"
        ends = metric_range(trial, key, view.device)
        if ends:
            text += f" ({text_of(key, ends[0], unit=False)} to {text_of(key, ends[1], unit=False)})"
        lines.append(text + (" estimated" if is_estimated(trial, key, view.device) else ""))
    if trial.provenance != "deployed":
        lines.append(trial.provenance)
    if trial.accuracy and trial.accuracy.tied_with_baseline:
        lines.append("tied with the baseline in accuracy")
    if trial.seeds:
        lines.append(f"over seeds: {seeds_text(trial)}")
    if certainty and role in {"front", "tied"}:
        standing = "tied with the frontier; " if role == "tied" else ""
        lines.append(f"{standing}on it in {share_text(certainty.p_front.get(trial.id, 0.0))} of redraws")
    if role == "over":
        lines.append("outside your limits")
    return "<br>".join(lines)


def frontier_figure(info: FrontierInfo, height: int = 520, sizes: Mapping[str, float] | None = None) -> go.Figure:
    """Scatter with the frontier, knee, baseline and best choice marked; every mark carries its trial's id as `customdata`.

    `sizes` are diameters in pixels by trial id; without them a mark's role gives its size.
    """
    choice, by_id = info.choice, {p.trial_id: p for p in info.points}
    figure = go.Figure(_staircase([by_id[i] for i in choice.front], choice.view))
    if repeated := [p for p in info.points if p.seeds and p.role != "over"]:
        figure.add_trace(_seed_spread(repeated))
    for role in ("over", "beaten", "tied", "front"):
        points = [p for p in info.points if p.role == role]
        if points:
            coloured = info.colour_title is not None and role != "over"
            figure.add_trace(_cloud(points, role, coloured, sizes))
            if coloured:
                figure.add_trace(_legend_entry(role))
    for name, trial_id, (symbol, colour, size) in (
        ("baseline", choice.baseline, ("square-open", PINK, 19)),
        ("knee", choice.knee, ("diamond-open", ORANGE, 21)),
        ("best within your limits", choice.best if choice.view.limits else None, ("star-open", GREEN, 26)),
    ):
        if trial_id in by_id:
            figure.add_trace(_ring(by_id[trial_id], name, symbol, colour, size))
    _lay_out(figure, info, height)
    return figure


_STYLE: dict[Role, tuple[str, str, str, int]] = {
    "front": ("frontier", "circle", BLUE, 11),
    "tied": ("tied with the frontier", "triangle-up-open", BLUE, 10),
    "beaten": ("beaten by another", "circle-open", GREY, 8),
    "over": ("outside your limits", "x-thin-open", GREY, 7),
}


def role_style(role: Role) -> tuple[str, str, str, int]:
    """How a role looks in every chart: its name in the legend, symbol, colour, and diameter in pixels."""
    return _STYLE[role]


def _cloud(points: Sequence[Point], role: Role, coloured: bool, sizes: Mapping[str, float] | None = None) -> go.Scatter:
    name, symbol, colour, size = _STYLE[role]
    diameters = size if sizes is None else [sizes.get(p.trial_id, size) for p in points]
    marker: dict[str, Any] = {
        "symbol": symbol,
        "size": diameters,
        "color": colour,
        "line": {"width": 1.5, "color": colour},
    }
    whiskers: dict[str, Any] = {}
    if role != "over":
        whiskers = {"error_x": _whiskers(points, "x"), "error_y": _whiskers(points, "y")}
    if coloured:
        # Open symbols show the colour scale on their outline.
        line = {"width": 1, "color": GREY} if role == "front" else {"width": 2}
        marker |= {"color": [p.colour for p in points], "coloraxis": "coloraxis", "line": line}
    return go.Scatter(
        x=[p.x for p in points],
        y=[p.y for p in points],
        mode="markers",
        name=name,
        showlegend=not coloured,
        marker=marker,
        opacity=0.55 if role == "over" else 1,
        customdata=[[p.trial_id] for p in points],
        hovertext=[p.hover for p in points],
        hovertemplate="%{hovertext}<extra></extra>",
        # What is selected is described beside the chart, so the others may stay readable.
        unselected={"marker": {"opacity": 0.45}},
        **whiskers,
    )


def _seed_spread(points: Sequence[Point]) -> go.Scatter:
    """Mean and range over the seeds, beside the points themselves, which are files that exist."""
    spans = [p.seeds for p in points if p.seeds]
    return go.Scatter(
        x=[p.x for p in points],
        y=[mean for mean, _, _ in spans],
        mode="markers",
        name="mean and range over seeds",
        marker={"symbol": "line-ew-open", "size": 16, "color": ORANGE, "line": {"width": 2, "color": ORANGE}},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [high - mean for mean, _, high in spans],
            "arrayminus": [mean - low for mean, low, _ in spans],
            "color": ORANGE,
            "thickness": 1.5,
            "width": 5,
        },
        customdata=[[p.trial_id] for p in points],
        hovertext=[p.hover for p in points],
        hovertemplate="%{hovertext}<extra></extra>",
        unselected={"marker": {"opacity": 0.45}},
    )


def _legend_entry(role: Role) -> go.Scatter:
    """A mark for the legend alone, where the drawn ones are of many colours."""
    name, symbol, _, size = _STYLE[role]
    return go.Scatter(
        x=[None], y=[None], mode="markers", name=name, marker={"symbol": symbol, "size": size, "color": GREY}
    )


def _whiskers(points: Sequence[Point], axis: Literal["x", "y"]) -> dict[str, Any] | None:
    spans = [(p.x, p.x_range) if axis == "x" else (p.y, p.y_range) for p in points]
    if not any(ends for _, ends in spans):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [ends[1] - value if ends else 0 for value, ends in spans],
        "arrayminus": [value - ends[0] if ends else 0 for value, ends in spans],
        "color": "rgba(140, 149, 163, 0.55)",
        "thickness": 1,
        "width": 0,
    }


def _ring(point: Point, name: str, symbol: str, colour: str, size: int) -> go.Scatter:
    """An outline around a point, larger than the point, so that one trial can carry several."""
    return go.Scatter(
        x=[point.x],
        y=[point.y],
        mode="markers",
        name=name,
        marker={"symbol": symbol, "size": size, "line": {"width": 2.5}, "color": colour},
        customdata=[[point.trial_id]],
        hovertext=[f"{point.hover}<br><i>{name}</i>"],
        hovertemplate="%{hovertext}<extra></extra>",
        unselected={"marker": {"opacity": 1}},
    )


def _staircase(front: Sequence[Point], view: View) -> go.Scatter:
    """The edge of what can be had: between two frontier points nothing better than the worse of them is known."""
    return go.Scatter(
        x=[p.x for p in front],
        y=[p.y for p in front],
        mode="lines",
        # Along x, y changes where x gets worse: at a step's end when less x is better, at its start when more is.
        line={"shape": "vh" if METRICS[view.x].maximise else "hv", "width": 2, "color": BLUE},
        hoverinfo="skip",
        showlegend=False,
        name="frontier line",
    )


def _axis(title: str, maximise: bool, values: Sequence[float], may_be_log: bool) -> dict[str, Any]:
    low, high = min(values, default=1.0), max(values, default=1.0)
    # On the upright axis the arrows point up and down, because its title is turned.
    axis = {
        "title": {"text": f"{title}, better →" if maximise else f"← better, {title}"},
        "automargin": True,
        "zeroline": False,
    }
    if may_be_log and low > 0 and high / low > LOG_SPAN:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [m * 10.0**power for power in powers for m in (1, 2, 5)]
        return axis | {"type": "log", "tickvals": ticks, "ticktext": [f"{t:,.10g}" for t in ticks]}
    return axis | {"type": "linear"}


def _lay_out(figure: go.Figure, info: FrontierInfo, height: int) -> None:
    view = info.choice.view
    x, y = METRICS[view.x], METRICS[view.y]
    figure.update_layout(
        xaxis=_axis(info.x_title, x.maximise, [p.x for p in info.points], view.x != "accuracy"),
        yaxis=_axis(info.y_title, y.maximise, [p.y for p in info.points], view.y != "accuracy"),
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "itemsizing": "constant"},
        hovermode="closest",
        # Zoom stays when limits change, as long as the axes are the same.
        uirevision=f"{view.x} {view.y} {view.device}",
    )
    if info.colour_title is not None:
        bar = {"title": {"text": info.colour_title, "side": "right"}, "thickness": 12}
        figure.update_layout(coloraxis={"colorscale": COLOUR_SCALE, "colorbar": bar})


def frontier_alt(info: FrontierInfo) -> str:
    """The chart in two sentences, for those who cannot see it."""
    choice = info.choice
    count = sum(p.role == "tied" for p in info.points)
    tied = f", {count} more are statistically tied with it" if count else ""
    return (
        f"Scatter chart of {info.y_title} against {info.x_title}: {len(info.points)} of {len(choice.measured)} measured recipes "
        f"are drawn, {len(choice.kept)} are within the limits and {len(choice.front)} on the frontier{tied}. The table lists them all."
    )
