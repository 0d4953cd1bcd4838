"""One trial made visible in any chart whose marks carry their trial's id as `customdata`."""

from __future__ import annotations

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
            faded = {"marker": {"opacity": 0}}
            figure.add_trace(
                go.Scatter(marker=ring, xaxis=pane[0], yaxis=pane[1], unselected=faded, selected=faded, **common)
            )
    return bool(places)
