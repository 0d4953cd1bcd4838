"""The frontier chart drawn, and the looks that other charts share with it: roles, colours, legend, axes. `frontier_info.py` computes.

Colours follow the palette of Okabe and Ito (jfly.uni-koeln.de/color), which people with any colour vision tell apart, and each role
has a shape of its own as well. Each can be read on a light and on a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from engine.figures.frontier_info import FrontierInfo, Point, Role, is_log
from engine.frontier.recommendation import View
from engine.metrics import METRICS, number_text
from engine.trials.stated import NOT_HERE

BLUE, GREEN, ORANGE, PINK, GREY, VIOLET = "#1F83C6", "#009E73", "#E08A00", "#CC79A7", "#8C95A3", "#9A6BD0"
# Blue to orange: the same for any colour vision, and neither end is lost on a light or a dark page.
COLOUR_SCALE = [[0.0, "#2166D1"], [0.5, "#9A93A5"], [1.0, "#E58600"]]


def frontier_figure(info: FrontierInfo, height: int = 520, sizes: Mapping[str, float] | None = None) -> go.Figure:
    """Scatter with the frontier, knee, baseline and best choice marked; every mark carries its trial's id as `customdata`.

    `sizes` are diameters in pixels by trial id; without them a mark's role gives its size.
    """
    choice, by_id = info.choice, {p.trial_id: p for p in info.points}
    # As dictionaries, so that Plotly goes through the numbers once, when it checks the whole.
    traces = [_staircase([by_id[i] for i in choice.front], choice.view)]
    if repeated := [p for p in info.points if p.seeds and p.role != "over"]:
        traces.append(_seed_spread(repeated))
    whiskers: list[dict[str, Any]] = []
    for role in ("over", "beaten", "imported", "tied", "front"):
        points = [p for p in info.points if p.role == role]
        if points:
            coloured = info.colour_title is not None and role != "over"
            if role != "over":
                whiskers += _whiskers(points, role, info)
            traces.append(_cloud(points, role, coloured, _named(info), sizes))
            if coloured:
                traces.append(role_entry(role))
    for name, trial_id, (symbol, colour, size) in (
        ("baseline", choice.baseline, ("square-open", PINK, 19)),
        ("knee", choice.knee, ("diamond-open", ORANGE, 21)),
        ("best within your limits", choice.best if choice.view.limits else None, ("star-open", GREEN, 26)),
    ):
        if trial_id in by_id:
            traces.append(_ring(by_id[trial_id], name, symbol, colour, size, _named(info)))
    return go.Figure(traces, {**_layout(info, height), "shapes": whiskers})


_STYLE: dict[Role, tuple[str, str, str, int]] = {
    "front": ("frontier", "circle", BLUE, 11),
    "tied": ("tied with the frontier", "triangle-up-open", BLUE, 10),
    "beaten": ("beaten by another", "circle-open", GREY, 8),
    "over": ("outside your limits", "x-thin-open", GREY, 7),
    "imported": (NOT_HERE, "pentagon-open", VIOLET, 10),
}


def role_style(role: Role) -> tuple[str, str, str, int]:
    """How a role looks in every chart: its name in the legend, symbol, colour, and diameter in pixels."""
    return _STYLE[role]


def _named(info: FrontierInfo) -> str:
    """The hover text of marks that carry their name alone: the browser adds where they are, four digits of it."""
    where = [f"{title}: %{{{axis}:,.4~r}}" for axis, title in (("x", info.x_title), ("y", info.y_title))]
    return "<br>".join(["<b>%{hovertext}</b>", *where])


def _words(point: Point, names_alone: str) -> str:
    """The template for a mark, and for those of its role."""
    return "%{hovertext}" if point.wordy else names_alone


def _cloud(
    points: Sequence[Point], role: Role, coloured: bool, names_alone: str, sizes: Mapping[str, float] | None = None
) -> dict[str, Any]:
    name, symbol, colour, size = _STYLE[role]
    width = 1.5
    if not points[0].wordy:
        # So many that they would hide each other.
        size, width = 5, 1
    marker: dict[str, Any] = {
        "symbol": symbol,
        "size": size if sizes is None else [sizes.get(p.trial_id, size) for p in points],
        "color": colour,
        "line": {"width": width, "color": colour},
    }
    if coloured:
        # Open symbols show the colour scale on their outline.
        line = {"width": 1, "color": GREY} if role == "front" else {"width": 2}
        marker |= {"color": [p.colour for p in points], "coloraxis": "coloraxis", "line": line}
    return {
        "type": "scatter",
        "x": [p.x for p in points],
        "y": [p.y for p in points],
        "mode": "markers",
        "name": name,
        "showlegend": not coloured,
        "marker": marker,
        "opacity": 0.55 if role == "over" else 1,
        "customdata": [[p.trial_id] for p in points],
        "hovertext": [p.hover for p in points],
        "hovertemplate": f"{_words(points[0], names_alone)}<extra></extra>",
        # What is selected is described beside the chart, so the others may stay readable.
        "unselected": {"marker": {"opacity": 0.45}},
        "legendgroup": role,
    }


def _seed_spread(points: Sequence[Point]) -> dict[str, Any]:
    """Mean and range over the seeds, beside the points themselves, which are files that exist."""
    spans = [p.seeds for p in points if p.seeds]
    return {
        "type": "scatter",
        "x": [p.x for p in points],
        "y": [mean for mean, _, _ in spans],
        "mode": "markers",
        "name": "mean and range over seeds",
        "marker": {"symbol": "line-ew-open", "size": 16, "color": ORANGE, "line": {"width": 2, "color": ORANGE}},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [high - mean for mean, _, high in spans],
            "arrayminus": [mean - low for mean, low, _ in spans],
            "color": ORANGE,
            "thickness": 1.5,
            "width": 5,
        },
        "customdata": [[p.trial_id] for p in points],
        "hovertext": [p.hover for p in points],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "unselected": {"marker": {"opacity": 0.45}},
    }


def legend_entry(name: str, marker: Mapping[str, Any]) -> dict[str, Any]:
    """A mark for the legend alone, where the drawn ones are of many colours: grey, where `marker` says nothing else."""
    return {
        "type": "scatter",
        "x": [None],
        "y": [None],
        "mode": "markers",
        "name": name,
        "marker": {"color": GREY, **marker},
    }


def role_entry(role: Role) -> dict[str, Any]:
    """A mark for the legend alone, for a role whose marks are of many colours."""
    name, symbol, _, size = _STYLE[role]
    return {**legend_entry(name, {"symbol": symbol, "size": size}), "legendgroup": role}


def _whiskers(points: Sequence[Point], role: Role, info: FrontierInfo) -> list[dict[str, Any]]:
    """The intervals of the points, both ways, as one shape, or none.

    As Plotly's error bars, or as a line with gaps, they would be two shapes a point, which take a browser longer to draw than the points.
    """
    view = info.choice.view
    log_x, log_y = is_log(view.x, info.x_span), is_log(view.y, info.y_span)
    lines: list[str] = []
    # Shapes count where Plotly looks for the ends of an axis: rounded beside the one value that all marks have, they would make an axis of
    # that rounding's length, on which nothing can be drawn.
    x_digits, y_digits = (9 if high - low > 1e-6 * abs(high) else 17 for low, high in (info.x_span, info.y_span))
    for p in points:
        x, y = f"{p.x:.{x_digits}g}", f"{p.y:.{y_digits}g}"
        if p.x_range:
            low, high = _ends(p.x_range, p.x, log_x)
            lines.append(f"M{low:.9g},{y}L{high:.9g},{y}")
        if p.y_range:
            low, high = _ends(p.y_range, p.y, log_y)
            lines.append(f"M{x},{low:.9g}L{x},{high:.9g}")
    shape = {
        "type": "path",
        "path": "".join(lines),
        "line": {"width": 1, "color": "rgba(140, 149, 163, 0.55)"},
        "layer": "below",
        # Hidden with its points by a click on them in the legend.
        "legendgroup": role,
    }
    return [shape] if lines else []


def _ends(span: tuple[float, float], value: float, logarithmic: bool) -> tuple[float, float]:
    """An interval as it can be drawn: a logarithmic axis has no place for zero."""
    return (max(span[0], value / 1000) if logarithmic else span[0], span[1])


def _ring(point: Point, name: str, symbol: str, colour: str, size: int, names_alone: str) -> dict[str, Any]:
    """An outline around a point, larger than the point, so that one trial can carry several."""
    return {
        "type": "scatter",
        "x": [point.x],
        "y": [point.y],
        "mode": "markers",
        "name": name,
        "marker": {"symbol": symbol, "size": size, "line": {"width": 2.5}, "color": colour},
        "customdata": [[point.trial_id]],
        "hovertext": [point.hover],
        "hovertemplate": f"{_words(point, names_alone)}<br><i>{name}</i><extra></extra>",
        "unselected": {"marker": {"opacity": 1}},
    }


def _staircase(front: Sequence[Point], view: View) -> dict[str, Any]:
    """The edge of what can be had: between two frontier points nothing better than the worse of them is known."""
    return {
        "type": "scatter",
        "x": [p.x for p in front],
        "y": [p.y for p in front],
        "mode": "lines",
        # Along x, y changes where x gets worse: at a step's end when less x is better, at its start when more is.
        "line": {"shape": "vh" if METRICS[view.x].maximise else "hv", "width": 2, "color": BLUE},
        "hoverinfo": "skip",
        "showlegend": False,
        "name": "frontier line",
    }


def _axis(title: str, key: str, span: tuple[float, float]) -> dict[str, Any]:
    (low, high), maximise = span, METRICS[key].maximise
    # On the upright axis the arrows point up and down, because its title is turned.
    axis = {
        "title": {"text": f"{title}, better →" if maximise else f"← better, {title}"},
        "automargin": True,
        "zeroline": False,
    }
    if is_log(key, span):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [m * 10.0**power for power in powers for m in (1, 2, 5)]
        return axis | {"type": "log", "tickvals": ticks, "ticktext": [number_text(t) for t in ticks]}
    return axis | {"type": "linear"}


def _layout(info: FrontierInfo, height: int) -> dict[str, Any]:
    view = info.choice.view
    coloured = info.colour_title is not None
    layout: dict[str, Any] = {
        "xaxis": _axis(info.x_title, view.x, info.x_span),
        "yaxis": _axis(info.y_title, view.y, info.y_span),
        "height": height,
        # Room for usual labels, a legend of one row, and a colour bar, which makes that two rows: where it is not enough, Plotly draws
        # everything once more with wider margins.
        "margin": {"l": 60, "r": 96 if coloured else 20, "t": 70 if coloured else 50, "b": 48},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "itemsizing": "constant"},
        "hovermode": "closest",
        # Zoom stays when limits change, as long as the axes are the same.
        "uirevision": f"{view.x} {view.y} {view.device}",
    }
    if coloured:
        bar = {"title": {"text": info.colour_title, "side": "right"}, "thickness": 12}
        layout["coloraxis"] = {"colorscale": COLOUR_SCALE, "colorbar": bar}
    return layout


def frontier_alt(info: FrontierInfo) -> str:
    """The chart in two sentences, for those who cannot see it."""
    choice = info.choice
    count = info.counts.get("tied", 0)
    imported = sum(p.role == "imported" for p in info.points)
    others = f" Beside them {imported} imported points, which were not measured here." if imported else ""
    tied = f", {count} more are statistically tied with it" if count else ""
    return (
        f"Scatter chart of {info.y_title} against {info.x_title}: {len(info.points) - imported} of {len(choice.measured)} measured recipes "
        f"are drawn, {len(choice.kept)} are within the limits and {len(choice.front)} on the frontier{tied}.{others} The table lists "
        "them all."
    )
