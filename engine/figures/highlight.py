"""One trial, or all that have an option, made visible in any chart whose marks carry their trial's id as `customdata`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

SELECTED = "#D55E00"
"""The ring around the selected trial, in every chart."""
LIT = "#E3B505"
"""The halo around those that have the option that is looked at."""


def with_selected(figure: go.Figure, trial_id: str | None) -> bool:
    """Put a ring around every mark of a trial, and join them where it has several in one pane; whether the chart has any.

    The ring goes as soon as another mark is selected in the chart itself, which then says so in its own way.
    """
    places, in_space = _places(figure, {trial_id} if trial_id is not None else ())
    for number, (pane, found) in enumerate(places.items()):
        points = list(found)
        common: dict[str, Any] = {
            "x": [p[0] for p in points],
            "y": [p[1] for p in points],
            "mode": "lines+markers" if len(points) > 1 else "markers",
            "line": {"width": 3, "color": SELECTED},
            "name": "selected",
            "showlegend": number == 0,
            "legendgroup": "selected",
            "customdata": [[trial_id]] * len(points),
            "hovertext": list(found.values()),
            "hovertemplate": "%{hovertext}<extra></extra>",
        }
        if in_space:
            ring = {"symbol": "circle-open", "size": 18, "color": SELECTED}
            figure.add_trace(go.Scatter3d(z=[p[2] for p in points], marker=ring, **common))
        else:
            ring = {"symbol": "circle-open", "size": 24, "color": SELECTED, "line": {"width": 3, "color": SELECTED}}
            seen, gone = {"marker": {"opacity": 1}}, {"marker": {"opacity": 0}}
            figure.add_trace(
                go.Scatter(marker=ring, xaxis=pane[0], yaxis=pane[1], unselected=gone, selected=seen, **common)
            )
    return bool(places)


_Places = dict[tuple[str | None, str | None], dict[tuple[Any, ...], str]]


def _places(figure: go.Figure, trial_ids: Collection[str]) -> tuple[_Places, bool]:
    """By pane, where the marks of some trials are and what they say; and whether that is in space."""
    places: _Places = {}
    in_space = False
    for trace in figure.data if trial_ids else ():
        for i, owner in enumerate(trace.customdata if trace.customdata is not None else ()):
            if len(owner) == 0 or owner[0] not in trial_ids or trace.x[i] is None:
                continue
            in_space = trace.type == "scatter3d"
            pane = (None, None) if in_space else (trace.xaxis, trace.yaxis)
            at = (trace.x[i], trace.y[i], trace.z[i]) if in_space else (trace.x[i], trace.y[i])
            places.setdefault(pane, {}).setdefault(at, trace.hovertext[i] if trace.hovertext is not None else "")
    return places, in_space


def with_lit(figure: go.Figure, trial_ids: Collection[str], name: str) -> None:
    """Put a halo behind every mark of some trials, which the legend calls `name`; a click goes to the marks themselves."""
    places, in_space = _places(figure, trial_ids)
    halos: list[Any] = []
    for number, (pane, found) in enumerate(places.items()):
        points = list(found)
        common: dict[str, Any] = {
            "x": [p[0] for p in points],
            "y": [p[1] for p in points],
            "mode": "markers",
            "name": name,
            "showlegend": number == 0,
            "legendgroup": "lit",
            "hoverinfo": "skip",
        }
        if in_space:
            ring = {"symbol": "circle", "size": 16, "color": LIT, "opacity": 0.35}
            halos.append(go.Scatter3d(z=[p[2] for p in points], marker=ring, **common))
        else:
            ring = {"symbol": "circle", "size": 20, "color": LIT, "opacity": 0.45}
            same = {"marker": {"opacity": 0.45}}
            halos.append(
                go.Scatter(marker=ring, xaxis=pane[0], yaxis=pane[1], selected=same, unselected=same, **common)
            )
    before = len(figure.data)
    figure.add_traces(halos)
    # Drawn first, so that they lie behind.
    figure.data = figure.data[before:] + figure.data[:before]


def in_sight(figure: go.Figure, ranges: Mapping[str, Sequence[float]]) -> bool:
    """Whether a ring that `with_selected` drew can be seen when the axes are zoomed to `ranges`, by their name in the layout.

    Ranges are as Plotly has them, logarithms on a logarithmic axis. In space, and without a ring, the answer is yes.
    """
    rings = [t for t in figure.data if t.name == "selected" and t.type == "scatter"]
    return not rings or any(
        _inside(figure, f"xaxis{(r.xaxis or 'x')[1:]}", x, ranges)
        and _inside(figure, f"yaxis{(r.yaxis or 'y')[1:]}", y, ranges)
        for r in rings
        for x, y in zip(r.x, r.y, strict=True)
    )


def _inside(figure: go.Figure, axis: str, value: float, ranges: Mapping[str, Sequence[float]]) -> bool:
    if axis not in ranges:
        return True
    at = math.log10(value) if figure.layout[axis].type == "log" else value
    return min(ranges[axis]) <= at <= max(ranges[axis])
