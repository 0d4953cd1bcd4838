"""What a trial's latency is made of, drawn: time by layer, and every timed call."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.figures.frontier import BLUE, GREY
from engine.figures.style import named_places
from engine.quality.statistics import Floats

_BINS = 60
# Runs slower than this quantile would squeeze all others into a few bins.
_DRAWN = 0.995


@dataclass(frozen=True)
class TimesInfo:
    """Milliseconds by name, (name, trial, baseline), None where it has none; those beyond the first few are summed as others."""

    rows: tuple[tuple[str, float | None, float | None], ...]


def times_info(rows: Sequence[Mapping[str, Any]], most: int = 12, nameless: str = "no layer’s own") -> TimesInfo:
    """`by_type` or `by_layer` of `diagnose.Why` -> what is drawn; the order is kept."""

    def total(side: str) -> float | None:
        known = [r[side] for r in rows[most:] if r[side] is not None]
        return sum(known) if known else None

    kept = [(r["name"] or nameless, r["trial_ms"], r["baseline_ms"]) for r in rows[:most]]
    others = [(f"{len(rows) - most} others", total("trial_ms"), total("baseline_ms"))] if len(rows) > most else []
    return TimesInfo((*kept, *others))


def times_figure(info: TimesInfo) -> go.Figure:
    """Two bars a name: the trial's milliseconds and, hatched, the baseline's."""
    figure = go.Figure()
    for side, (name, colour, hatch) in enumerate((("this recipe", BLUE, ""), ("baseline", GREY, "/")), 1):
        figure.add_trace(
            go.Bar(
                orientation="h",
                name=name,
                x=[row[side] for row in info.rows],
                y=list(range(len(info.rows))),
                marker={"color": colour, "pattern": {"shape": hatch, "solidity": 0.3, "fillmode": "overlay"}},
                customdata=[[html.escape(row[0])] for row in info.rows],
                hovertemplate="<b>%{customdata[0]}</b><br>%{x:.4f} ms<extra>" + name + "</extra>",
            )
        )
    figure.update_layout(
        barmode="group",
        height=90 + 34 * len(info.rows),
        margin={"l": 6, "r": 10, "t": 6, "b": 6},
        xaxis={"title": {"text": "ms per sample"}, "rangemode": "tozero"},
        yaxis=named_places([row[0] for row in info.rows], 26),
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
    )
    return figure


def times_alt(info: TimesInfo) -> str:
    """The bars in words."""

    def ms(value: float | None) -> str:
        return "none" if value is None else f"{value:.4f} ms"

    told = "; ".join(f"{name} {ms(own)}, baseline {ms(before)}" for name, own, before in info.rows[:8])
    return f"Milliseconds per sample of this recipe and of the baseline: {told}."


@dataclass(frozen=True)
class Side:
    """One side of a histogram: its name, the share of its runs in each bin in %, its median in ms, how many runs, and those not drawn."""

    name: str
    shares: Floats
    median_ms: float
    runs: int
    beyond: int


@dataclass(frozen=True)
class HistogramInfo:
    """Bins of equal width, `edges` (bins + 1,) in ms, and the sides: the trial, and the baseline where it took turns."""

    edges: Floats
    sides: tuple[Side, ...]


def histogram_info(trial_ms: Sequence[float], baseline_ms: Sequence[float]) -> HistogramInfo:
    """Every timed call of both sides, over the span in which nearly all of either lie."""
    samples = {"this recipe": np.array(trial_ms), "baseline": np.array(baseline_ms)}
    sides = {name: ms for name, ms in samples.items() if len(ms)}
    low = min(float(ms.min()) for ms in sides.values())
    high = max(float(np.quantile(ms, _DRAWN)) for ms in sides.values())
    edges = np.linspace(low, max(high, low * (1 + 1e-6)), _BINS + 1)
    return HistogramInfo(
        edges,
        tuple(
            Side(
                name,
                np.histogram(ms, edges)[0] / len(ms) * 100,
                float(np.median(ms)),
                len(ms),
                int(np.count_nonzero(ms > edges[-1])),
            )
            for name, ms in sides.items()
        ),
    )


def histogram_figure(info: HistogramInfo) -> go.Figure:
    """Steps with their median as a line; the baseline dashed."""
    figure = go.Figure()
    looks = {
        "this recipe": (BLUE, "solid", "rgba(31, 131, 198, 0.25)"),
        "baseline": (GREY, "dash", "rgba(140, 149, 163, 0.2)"),
    }
    for side in info.sides:
        colour, dash, fill = looks[side.name]
        figure.add_trace(
            go.Scatter(
                x=info.edges,
                y=[*side.shares, side.shares[-1]],
                name=f"{side.name}, median {side.median_ms:.3g} ms",
                mode="lines",
                line={"shape": "hv", "color": colour, "dash": dash, "width": 1.5},
                fill="tozeroy",
                fillcolor=fill,
                hovertemplate="from %{x:.4g} ms: %{y:.1f} % of runs<extra>" + side.name + "</extra>",
            )
        )
        figure.add_vline(x=side.median_ms, line={"color": colour, "width": 1.5, "dash": dash})
    figure.update_layout(
        height=300,
        margin={"l": 6, "r": 10, "t": 6, "b": 6},
        xaxis={"title": {"text": "One call (ms)"}, "range": [info.edges[0], info.edges[-1]], "automargin": True},
        yaxis={"title": {"text": "Share of runs (%)"}, "rangemode": "tozero", "automargin": True},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    )
    return figure


def histogram_alt(info: HistogramInfo) -> str:
    """The histogram in words."""
    told = "; ".join(f"{s.name} {s.runs:,} runs, median {s.median_ms:.3g} ms" for s in info.sides)
    return f"Histogram of every timed call: {told}."
