"""One trial drawn: what its stages bought, where its bytes and its time go, recall by class. Pure `..._info`, then drawing."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.figures.frontier import BLUE, GREEN, GREY, ORANGE, PINK
from engine.quality.statistics import Floats, wilson
from engine.trials.text import shown, stage_rows
from engine.trials.trial import Trial

PARTS = {"weights": BLUE, "scales": ORANGE, "biases": GREEN, "constants": PINK, "graph": GREY}
"""The types of bytes in a file, and the colour of each."""
MOST_LAYERS = 30
MOST_CLASSES = 40
_BINS = 60
# Runs slower than this quantile would squeeze all others into a few bins.
_DRAWN = 0.995
_FONT = 12


@dataclass(frozen=True)
class Bar:
    """One bar: `name` and `text` are plain, `value` is in the unit shown; `colour` is that of the trial's own bars unless said."""

    name: str
    value: float
    text: str
    colour: str = BLUE


def stages_info(trial: Trial) -> dict[str, tuple[Bar, ...]]:
    """What each stage of a recipe left, by metric that all its stages have: accuracy, size, latency; the first is the baseline.

    Nothing for a recipe of no stage beside the baseline.
    """
    found = {}
    for key, column in (("accuracy", "Accuracy"), ("size_bytes", "File size"), ("latency_ms", "Latency")):
        values = [getattr(stage, key) for stage in trial.stages]
        if len(values) > 1 and None not in values:
            found[key] = tuple(
                Bar(row["After"], shown(key, value), row[column], BLUE if i else GREY)
                for i, (row, value) in enumerate(zip(stage_rows(trial), values, strict=True))
            )
    return found


def stages_figure(bars: Sequence[Bar], unit: str) -> go.Figure:
    """The stages from top to bottom, each under its name: accuracies as marks on a cut axis, costs as bars from zero."""
    if unit == "%":
        figure = go.Figure(
            go.Scatter(
                x=[b.value for b in bars],
                y=list(range(len(bars))),
                mode="markers",
                marker={"size": 12, "color": [b.colour for b in bars]},
                customdata=[[html.escape(b.name), html.escape(b.text)] for b in bars],
                hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
            )
        )
        low, high = min(b.value for b in bars), max(b.value for b in bars)
        margin = max(0.2, 0.15 * (high - low))
        axis: dict[str, Any] = {"range": [low - margin, high + margin]}
    else:
        figure, axis = _bars(bars), {"rangemode": "tozero"}
    return _named_above(figure, bars, axis | {"title": {"text": unit}})


def size_types(trial: Trial) -> tuple[Bar, ...]:
    """The file's bytes by type in kB, which add up to the file; nothing where they are not known."""
    parts, total = trial.size_parts or {}, trial.size_bytes or 1
    return tuple(_part(name, parts[name], total, colour) for name, colour in PARTS.items() if parts.get(name))


def size_by_layer(trial: Trial) -> tuple[Bar, ...]:
    """The file's bytes by layer in kB, in the order of the network, and what is no layer's own; together they are the file.

    Of many layers only the largest are named. Where bits were chosen by layer, the texts say them.
    """
    layers, total, bits = trial.size_layers or {}, trial.size_bytes or 1, trial.layer_bits or {}
    if not layers:
        return ()
    named = set(sorted(layers, key=lambda name: -layers[name])[:MOST_LAYERS])
    bars = [
        _part(n, size, total, BLUE, f", {bits[n]} bits" if n in bits else "")
        for n, size in layers.items()
        if n in named
    ]
    if others := [size for name, size in layers.items() if name not in named]:
        bars.append(_part(f"{len(others)} smaller layers", sum(others), total, BLUE))
    return (*bars, _part("no layer’s own", total - sum(layers.values()), total, GREY))


def _part(name: str, size: int, total: int, colour: str, more: str = "") -> Bar:
    return Bar(name, size / 1e3, f"{size:,} bytes, {size / total:.1%}{more}", colour)


def parts_figure(bars: Sequence[Bar]) -> go.Figure:
    """Parts of a file as bars, each under its name and bytes."""
    return _named_above(_bars(bars), bars, {"title": {"text": "kB"}, "rangemode": "tozero"})


def _bars(bars: Sequence[Bar]) -> go.Figure:
    return go.Figure(
        go.Bar(
            orientation="h",
            x=[b.value for b in bars],
            y=list(range(len(bars))),
            width=0.34,
            marker={"color": [b.colour for b in bars]},
            customdata=[[html.escape(b.name), html.escape(b.text)] for b in bars],
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
        )
    )


def _named_above(figure: go.Figure, bars: Sequence[Bar], x_axis: Mapping[str, Any]) -> go.Figure:
    """Names over their bars, not beside them: a phone has no room for both."""
    for place, bar in enumerate(bars):
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=place,
            yshift=17,
            showarrow=False,
            align="left",
            font={"size": _FONT},
            text=f"<b>{html.escape(_short(bar.name))}</b>  {html.escape(bar.text)}",
        )
    figure.update_layout(
        height=60 + 46 * len(bars),
        margin={"l": 6, "r": 10, "t": 6, "b": 6},
        showlegend=False,
        xaxis={"automargin": True, **x_axis},
        yaxis={"showticklabels": False, "showgrid": False, "zeroline": False, "range": [len(bars) - 0.55, -0.75]},
    )
    return figure


def _named_places(names: Sequence[str], most: int) -> dict[str, Any]:
    """An axis of numbered places, downwards, whose ticks are names: two that are alike when shortened stay two."""
    ticks = [html.escape(_short(name, most)) for name in names]
    return {"autorange": "reversed", "automargin": True, "tickvals": list(range(len(names))), "ticktext": ticks}


def _short(name: str, most: int = 34) -> str:
    """A long name by its end, which tells layers apart."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def bars_alt(what: str, bars: Sequence[Bar]) -> str:
    """The bars in words."""
    return f"{what}: {'; '.join(f'{b.name} {b.text}' for b in bars[:12])}."


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
        xaxis={"title": {"text": "ms per image"}, "rangemode": "tozero"},
        yaxis=_named_places([row[0] for row in info.rows], 26),
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
    )
    return figure


def times_alt(info: TimesInfo) -> str:
    """The bars in words."""

    def ms(value: float | None) -> str:
        return "none" if value is None else f"{value:.4f} ms"

    told = "; ".join(f"{name} {ms(own)}, baseline {ms(before)}" for name, own, before in info.rows[:8])
    return f"Milliseconds per image of this recipe and of the baseline: {told}."


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
                "%{customdata[3]}: %{x:.1f} % (%{customdata[0]:.1f} to %{customdata[1]:.1f}) of %{customdata[2]:,} images"
                "<extra>this recipe</extra>"
            ),
        )
    )
    figure.update_layout(
        height=90 + 26 * len(kept),
        margin={"l": 6, "r": 10, "t": 6, "b": 6},
        xaxis={"title": {"text": "Recall (%)"}, "automargin": True},
        yaxis=_named_places([r.name for r in kept], 22),
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
    )
    return figure


def recall_alt(found: Sequence[Recall]) -> str:
    """The marks in words."""
    told = "; ".join(f"{r.name} {r.value:.1%} ({r.low:.1%} to {r.high:.1%})" for r in found[:5])
    return f"Recall of {len(found)} classes with 95 % intervals, the worst first: {told}."
