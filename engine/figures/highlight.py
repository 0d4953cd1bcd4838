"""One trial made visible in any chart whose marks carry their trial's id as `customdata`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

SELECTED = "#D55E00"
"""The ring around the selected trial, in every chart."""


def with_selected(figure: go.Figure, trial_id: str | None) -> bool:
    """Put a ring around every mark of a trial, and join them where it has several in one pane; whether the chart has any.

    The ring goes as soon as another mark is selected in the chart itself, which then says so in its own way.
    """
    places: dict[tuple[str | None, str | None], dict[tuple[Any, ...], str]] = {}
    in_space = False
    for trace in figure.data:
        for i, owner in enumerate(trace.customdata if trace.customdata is not None else ()):
            if trial_id is None or len(owner) == 0 or owner[0] != trial_id or trace.x[i] is None:
                continue
            in_space = trace.type == "scatter3d"
            pane = (None, None) if in_space else (trace.xaxis, trace.yaxis)
            at = (trace.x[i], trace.y[i], trace.z[i]) if in_space else (trace.x[i], trace.y[i])
            places.setdefault(pane, {}).setdefault(at, trace.hovertext[i])
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
