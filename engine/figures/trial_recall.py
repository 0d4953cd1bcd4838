"""Recall by class of a trial and its baseline, drawn."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from engine.figures.frontier import BLUE, GREY
from engine.figures.style import named_places
from engine.quality.statistics import wilson

MOST_CLASSES = 40


@dataclass(frozen=True)
class Recall:
    """Recall of a class of `images` with the ends of its Wilson interval, and the baseline's; shares, None where not known."""

    name: str
    value: float
    low: float
    high: float
    images: int
    before: float | None


def recall_info(
    recall: Sequence[float | None],
    before: Sequence[float | None] | None,
    images: Sequence[int],
    classes: Sequence[str],
) -> tuple[Recall, ...]:
    """Every class that has images, the worst first."""
    found = []
    for i, (name, value, n) in enumerate(zip(classes, recall, images, strict=True)):
        if value is not None and n:
            low, high = wilson(round(value * n), n)
            found.append(Recall(name, value, low, high, n, before[i] if before else None))
    return tuple(sorted(found, key=lambda r: r.value))


def recall_figure(found: Sequence[Recall]) -> go.Figure:
    """A mark and its 95 % interval for each class, the baseline's as a hollow square; the worst on top."""
    kept = list(found[:MOST_CLASSES])
    known = [(place, r) for place, r in enumerate(kept) if r.before is not None]
    figure = go.Figure(
        go.Scatter(
            x=[r.before * 100 for _, r in known if r.before is not None],
            y=[place for place, _ in known],
            customdata=[[html.escape(r.name)] for _, r in known],
            mode="markers",
            name="baseline",
            marker={"symbol": "square-open", "size": 10, "color": GREY, "line": {"width": 2}},
            hovertemplate="%{customdata[0]}: %{x:.1f} %<extra>baseline</extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[r.value * 100 for r in kept],
            y=list(range(len(kept))),
            mode="markers",
            name="this recipe",
            marker={"size": 8, "color": BLUE},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [(r.high - r.value) * 100 for r in kept],
                "arrayminus": [(r.value - r.low) * 100 for r in kept],
                "thickness": 1.5,
                "width": 4,
            },
            customdata=[[r.low * 100, r.high * 100, r.images, html.escape(r.name)] for r in kept],
            hovertemplate=(
                "%{customdata[3]}: %{x:.1f} % (%{customdata[0]:.1f} to %{customdata[1]:.1f}) of %{customdata[2]:,} samples"
                "<extra>this recipe</extra>"
            ),
        )
    )
    figure.update_layout(
        height=90 + 26 * len(kept),
        margin={"l": 6, "r": 10, "t": 6, "b": 6},
        xaxis={"title": {"text": "Recall (%)"}, "automargin": True},
        yaxis=named_places([r.name for r in kept], 22),
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
    )
    return figure


def recall_alt(found: Sequence[Recall]) -> str:
    """The marks in words."""
    told = "; ".join(f"{r.name} {r.value:.1%} ({r.low:.1%} to {r.high:.1%})" for r in found[:5])
    return f"Recall of {len(found)} classes with 95 % intervals, the worst first: {told}."
