"""Bars about one trial: what its stages bought, and where its bytes go. Pure `..._info`, then drawing."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from engine.figures.frontier import BLUE, GREEN, GREY, ORANGE, PINK
from engine.figures.style import in_the_middle
from engine.metrics import METRICS, is_score, shown
from engine.trials.metric_values import judged_by
from engine.trials.text import stage_rows, with_minus
from engine.trials.trial import Trial

PARTS = {"weights": BLUE, "scales": ORANGE, "biases": GREEN, "constants": PINK, "graph": GREY}
"""The types of bytes in a file, and the colour of each."""
MOST_LAYERS = 30
_FONT = 12
_LINE = 56
"""Letters of that size in a third of the page, and across a phone."""


@dataclass(frozen=True)
class Bar:
    """One bar: `name` and `text` are plain, `value` is in the unit shown; `colour` is that of the trial's own bars unless said."""

    name: str
    value: float
    text: str
    colour: str = BLUE


def stages_info(trial: Trial) -> dict[str, tuple[Bar, ...]]:
    """What each stage of a recipe left, by metric that all its stages have: what it is judged by, size, latency; the first is the baseline.

    Nothing for a recipe of no stage beside the baseline.
    """
    found = {}
    quality = judged_by(trial)
    for key, column in ((quality, METRICS[quality].name), ("size_bytes", "File size"), ("latency_ms", "Latency")):
        values = [getattr(stage, "score" if is_score(key) else key, None) for stage in trial.stages]
        if len(values) > 1 and None not in values:
            found[key] = tuple(
                Bar(row["After"], shown(key, float(value or 0)), row[column], BLUE if i else GREY)
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
    return Bar(name, size / 1e3, f"{size:,} bytes, {100 * size / total:.1f} %{more}", colour)


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


def _fitting(bar: Bar) -> str:
    """A bar's name, shorter where its text is long: the two stand on one line, and what does not fit would be cut."""
    return in_the_middle(bar.name, min(34, max(16, _LINE - len(bar.text))))


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
            text=f"<b>{html.escape(_fitting(bar))}</b>  {html.escape(with_minus(bar.text))}",
        )
    figure.update_layout(
        height=60 + 46 * len(bars),
        margin={"l": 6, "r": 10, "t": 6, "b": 6},
        showlegend=False,
        xaxis={"automargin": True, **x_axis},
        yaxis={
            "showticklabels": False,
            "showgrid": False,
            "zeroline": False,
            "range": [len(bars) - 0.55, -0.75],
            "tickvals": list(range(len(bars))),
            "ticktext": [html.escape(b.name) for b in bars],
        },
    )
    return figure


def bars_alt(what: str, bars: Sequence[Bar]) -> str:
    """The bars in words."""
    return f"{what}: {'; '.join(f'{b.name} {b.text}' for b in bars[:12])}."
