"""What compression broke, drawn: recall by class, confusion, calibration."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from engine.figures.frontier import BLUE, GREEN, GREY, ORANGE
from engine.figures.style import named_places
from engine.quality.what_broke import ClassChange, Counts, ReliabilityBin
from engine.trials.text import with_minus

# Losses orange, gains blue: told apart with any colour vision, and white or black stays in the middle by opacity alone.
_LOSS_TO_GAIN = [[0.0, "rgba(31, 131, 198, 1)"], [0.5, "rgba(140, 149, 163, 0.06)"], [1.0, "rgba(224, 138, 0, 1)"]]
_MOST_NAMES = 40
_UPRIGHT_LETTERS = 3


def class_figure(changes: Sequence[ClassChange]) -> go.Figure:
    """Change of recall by class in points, with its 95 % interval; the greatest loss on top."""
    shown = list(changes[:_MOST_NAMES])
    points = [c.change * 100 for c in shown]
    figure = go.Figure(
        go.Bar(
            x=points,
            y=list(range(len(shown))),
            orientation="h",
            # Filled where the change is more than chance, an outline where it may be none.
            marker={
                "color": ["rgba(0, 0, 0, 0)" if not c.is_certain else ORANGE if c.change < 0 else GREEN for c in shown],
                "line": {"width": 1.5, "color": [ORANGE if c.change < 0 else GREEN for c in shown]},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [(c.high - c.change) * 100 for c in shown],
                "arrayminus": [(c.change - c.low) * 100 for c in shown],
                "color": GREY,
                "thickness": 1,
                "width": 3,
            },
            customdata=[[c.before * 100, c.after * 100, c.images, html.escape(c.name)] for c in shown],
            hovertemplate=(
                "<b>%{customdata[3]}</b><br>%{customdata[0]:.1f} % → %{customdata[1]:.1f} % of %{customdata[2]:,} samples"
                "<br>%{x:+.1f} points<extra></extra>"
            ),
        )
    )
    figure.update_layout(
        height=max(220, 60 + 28 * len(shown)),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        xaxis={"title": {"text": "Change of recall (points)"}, "zeroline": True, "zerolinecolor": GREY},
        yaxis=named_places([c.name for c in shown], 26),
        showlegend=False,
    )
    return figure


def class_alt(changes: Sequence[ClassChange]) -> str:
    """The bars in words."""
    told = "; ".join(f"{c.name} {with_minus(f'{c.change * 100:+.1f}')} points" for c in changes[:5])
    return f"Bars: change of recall of {len(changes)} classes against the baseline. Largest losses: {told}."


def confusion_figure(change: Counts, classes: Sequence[str]) -> go.Figure:
    """Answers that became more (orange) and fewer (blue) frequent, by true class; right answers are left out."""
    values = change.astype(np.float64)
    np.fill_diagonal(values, np.nan)
    largest = max(1.0, float(np.nanmax(np.abs(values), initial=0.0)))
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=list(classes),
            y=list(classes),
            zmin=-largest,
            zmax=largest,
            colorscale=_LOSS_TO_GAIN,
            xgap=1,
            ygap=1,
            text=[["" if not np.isfinite(v) or v == 0 else with_minus(f"{v:+.0f}") for v in row] for row in values],
            texttemplate="%{text}" if len(classes) <= 20 else None,
            colorbar={"title": {"text": "samples", "side": "right"}, "thickness": 12},
            hovertemplate="%{y} taken for %{x}: %{z:+.0f} samples<extra></extra>",
        )
    )
    turned = -45 if max((len(name) for name in classes), default=0) > _UPRIGHT_LETTERS else 0
    figure.update_layout(
        height=max(320, 90 + 30 * min(len(classes), 25)),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        # Names that are digits are names all the same.
        xaxis={"title": {"text": "Answer"}, "type": "category", "automargin": True, "tickangle": turned},
        yaxis={"title": {"text": "True class"}, "type": "category", "autorange": "reversed", "automargin": True},
    )
    return figure


def confusion_alt(change: Counts, classes: Sequence[str]) -> str:
    """The heat map in words: the mistake that became most frequent."""
    mistakes = change.copy()
    np.fill_diagonal(mistakes, 0)
    i, j = np.unravel_index(int(mistakes.argmax()), mistakes.shape)
    return (
        f"Heat map of mistakes that became more or less frequent. The greatest increase: {classes[int(i)]} taken for "
        f"{classes[int(j)]}, {int(mistakes[i, j]):+d} samples."
    )


def reliability_figure(before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin]) -> go.Figure:
    """Share right against confidence: on the diagonal a network is as often right as it is sure."""
    figure = go.Figure(
        go.Scatter(
            x=[0, 100], y=[0, 100], mode="lines", line={"dash": "dot", "color": GREY}, name="as right as sure",
            hoverinfo="skip",
        )
    )  # fmt: skip
    for name, bins, symbol, colour in (
        ("baseline", before, "square-open", GREY),
        ("this recipe", after, "circle", BLUE),
    ):
        figure.add_trace(
            go.Scatter(
                x=[b.confidence * 100 for b in bins],
                y=[b.right * 100 for b in bins],
                mode="lines+markers",
                name=name,
                marker={"symbol": symbol, "size": 8, "color": colour},
                line={"color": colour, "width": 1.5},
                customdata=[[b.images] for b in bins],
                hovertemplate="%{x:.1f} % sure, %{y:.1f} % right, %{customdata[0]:,} samples<extra>"
                + name
                + "</extra>",
            )
        )
    figure.update_layout(
        height=340,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        xaxis={"title": {"text": "Confidence (%)"}, "range": [0, 102]},
        yaxis={"title": {"text": "Right (%)"}, "range": [0, 102]},
    )
    return figure


def reliability_alt(after: Sequence[ReliabilityBin]) -> str:
    """The calibration chart in words."""
    images = sum(b.images for b in after) or 1
    gap = sum(b.images * (b.confidence - b.right) for b in after) / images
    verdict = f"{abs(gap) * 100:.1f} points {'too sure' if gap > 0 else 'too unsure'}"
    return f"Share right against confidence in {len(after)} bins; on average the recipe is {verdict}."
