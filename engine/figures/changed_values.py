"""How far a recipe moved each sample's outputs, drawn."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from engine.figures.compare import REFERENCE
from engine.figures.frontier import BLUE
from engine.metrics import METRICS, shown
from engine.quality.changed_values import Changes

_BINS = 60


def changes_figure(found: Changes, key: str | None) -> go.Figure:
    """A histogram of the change of every sample, no change marked."""
    values = found.moved * (shown(key, 1.0) if key and found.by_metric else 1.0)
    counts, edges = np.histogram(values, bins=min(_BINS, max(5, len(values) // 4)))
    middles = (edges[:-1] + edges[1:]) / 2
    figure = go.Figure(
        go.Bar(
            x=middles,
            y=counts,
            width=np.diff(edges),
            marker={"color": BLUE},
            hovertemplate="%{x:.4g}: %{y} samples<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"width": 2, "dash": "dash", "color": REFERENCE})
    figure.update_layout(
        height=300,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        bargap=0,
        xaxis={"title": {"text": _title(found, key)}, "automargin": True, "zeroline": False},
        yaxis={"title": {"text": "samples"}, "automargin": True},
    )
    return figure


def changes_alt(found: Changes, key: str | None) -> str:
    """The histogram in words."""
    low, middle, high = np.percentile(found.moved, [5, 50, 95]) * (shown(key, 1.0) if key and found.by_metric else 1.0)
    return f"Histogram of {len(found.moved):,} samples: {_title(found, key)}, median {middle:.4g}, 5 to 95 % from {low:.4g} to {high:.4g}."


def _title(found: Changes, key: str | None) -> str:
    if not key or not found.by_metric:
        return "length of the difference, as a share of the typical length"
    metric = METRICS[key]
    unit = "points" if metric.unit == "%" else metric.unit
    return f"change of {metric.name}{f' ({unit})' if unit else ''}, {'more' if metric.maximise else 'less'} is better"
