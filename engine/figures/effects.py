"""What options do to one metric, drawn: a dot for each with its 95 % interval. A pure `..._info`, then drawing."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from engine.figures.frontier import BLUE, GREEN, GREY, ORANGE
from engine.figures.style import named_places
from engine.frontier.effect_texts import basis_text, change_text, name_text
from engine.frontier.effects import Effects
from engine.frontier.estimates import RATIOS
from engine.metrics import METRICS, shown

MOST_DRAWN, MOST_LETTERS = 40, 32


@dataclass(frozen=True)
class Dot:
    """One option: its key, its name, the change in the unit shown (a ratio as it is) with the ends of its interval, and in words.

    `role`: better or worse where that is more than chance, else chance; unknown without an interval.
    """

    key: str
    name: str
    value: float
    low: float
    high: float
    text: str
    basis: str
    role: str


def effects_info(found: Effects, key: str) -> tuple[Dot, ...]:
    """The options that have this metric, in their order; of very many those of the most pairs."""
    there = [e for e in found.effects if key in e.estimates]
    kept = {e.key for e in sorted(there, key=lambda e: -e.pairs)[:MOST_DRAWN]}
    none, better_up = (1.0 if key in RATIOS else 0.0), METRICS[key].maximise
    dots = []
    for e in (e for e in there if e.key in kept):
        one = e.estimates[key]
        told = one.told_apart(key)
        role = "unknown" if told is None else "chance" if not told else "worse"
        if told and (one.value > none) == better_up:
            role = "better"
        ends = (one.value if v is None else v for v in (one.value, one.low, one.high))
        value, low, high = (v if key in RATIOS else shown(key, v) for v in ends)
        dots.append(Dot(e.key, name_text(e), value, low, high, change_text(key, one), basis_text(e), role))
    return tuple(dots)


_STYLE = {
    "better": ("better", "circle", GREEN),
    "worse": ("worse", "diamond", ORANGE),
    "chance": ("within chance", "circle-open", GREY),
    "unknown": ("without an interval", "square-open", BLUE),
}


def effects_figure(dots: Sequence[Dot], key: str) -> go.Figure:
    """Dots with whiskers, one option a line, the first on top; each carries its option's key as `customdata`."""
    figure = go.Figure()
    for role, (name, symbol, colour) in _STYLE.items():
        kept = [(place, d) for place, d in enumerate(dots) if d.role == role]
        if not kept:
            continue
        figure.add_trace(
            go.Scatter(
                x=[d.value for _, d in kept],
                y=[place for place, _ in kept],
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": 11, "color": colour, "line": {"width": 2, "color": colour}},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [d.high - d.value for _, d in kept],
                    "arrayminus": [d.value - d.low for _, d in kept],
                    "color": colour,
                    "thickness": 1.5,
                    "width": 4,
                },
                customdata=[[d.key] for _, d in kept],
                hovertext=[f"<b>{html.escape(d.name)}</b><br>{d.text}<br>{d.basis}" for _, d in kept],
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    metric, ratio = METRICS[key], key in RATIOS
    unit = "times" if ratio else "points" if metric.unit == "%" else metric.unit
    title = f"Change of {metric.name}{f' ({unit})' if unit else ''}"
    figure.add_vline(x=1.0 if ratio else 0.0, line={"width": 1, "color": GREY, "dash": "dot"})
    axis = named_places([d.name for d in dots], MOST_LETTERS, lines=2)
    figure.update_layout(
        height=max(200, 110 + (38 if any("<br>" in name for name in axis["ticktext"]) else 30) * len(dots)),
        margin={"l": 10, "r": 16, "t": 30, "b": 10},
        # Twice and half are equally far from the same.
        xaxis={"title": {"text": title}, "automargin": True, "type": "log" if ratio else "linear", "zeroline": False},
        yaxis={**axis, "zeroline": False},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
    )
    return figure


def effects_alt(dots: Sequence[Dot], key: str) -> str:
    """The chart in words."""
    told = "; ".join(f"{d.name} {d.text}" for d in dots[:5])
    return f"What {len(dots)} options change of {METRICS[key].name}, all else equal, with 95 % intervals: {told}. The table lists them all."
