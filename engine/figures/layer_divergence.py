"""Where a trial's answers begin to differ, along the graph: one mark a layer. An `..._info` computes, a small function draws."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from engine.figures.frontier import BLUE, GREY, ORANGE
from engine.figures.style import named_places, style
from engine.trials.layer_texts import tail_name

_NAME = 26


@dataclass(frozen=True)
class Place:
    """One layer: decibels of what it reads and hands on, at the top of the scale where nothing differs, None without a number."""

    name: str
    short: str
    before: float | None
    after: float | None
    largest: bool
    hover: str


@dataclass(frozen=True)
class DivergenceInfo:
    """Layers in graph order; `top`: where "no difference" is drawn, in dB; None where every number is one."""

    places: tuple[Place, ...]
    top: float | None


def divergence_info(found: Mapping[str, Any]) -> DivergenceInfo:
    """Everything that `divergence_figure` draws of what `paretoscope layers` found."""
    layers = found["layers"]
    known = [x[key] for x in layers for key in ("before_db", "sqnr_db") if x[key] is not None]
    exact = any(x["exact"] or x["before_exact"] for x in layers)
    top = 10 * (max(known, default=40.0) // 10 + 1) if exact else None
    return DivergenceInfo(tuple(_place(x, top, x["name"] == found["largest"]) for x in layers), top)


def _place(layer: Mapping[str, Any], top: float | None, largest: bool) -> Place:
    name = layer["name"].strip("/")
    before, after = (
        top if layer[exact] else layer[key] for key, exact in (("before_db", "before_exact"), ("sqnr_db", "exact"))
    )
    cosine = "" if layer["cosine"] is None else f"<br>cosine {layer['cosine']:.5f}"
    hover = (
        f"<b>{html.escape(name)}</b> ({html.escape(layer['op_type'])})<br>reads {_db(layer['before_db'], layer['before_exact'])}"
        f"<br>hands on {_db(layer['sqnr_db'], layer['exact'])}{cosine}"
    )
    return Place(name, tail_name(name, layer["op_type"]), before, after, largest, hover)


def _db(ratio: float | None, exact: bool) -> str:
    return "what does not differ" if exact else "what has no ratio" if ratio is None else f"{ratio:.1f} dB"


def divergence_figure(info: DivergenceInfo) -> go.Figure:
    """A line from what each layer reads, hollow, to what it hands on; further left is further from the baseline."""
    figure = go.Figure()
    rows = range(len(info.places))
    lines_x: list[float | None] = []
    lines_y: list[float | None] = []
    for row, place in zip(rows, info.places, strict=True):
        if place.before is not None and place.after is not None:
            lines_x += [place.before, place.after, None]
            lines_y += [row, row, None]
    figure.add_trace(
        go.Scatter(
            x=lines_x, y=lines_y, mode="lines", line={"color": GREY, "width": 2}, hoverinfo="skip", showlegend=False
        )
    )
    colours = [ORANGE if p.largest else BLUE for p in info.places]
    for name, values, marker in (
        (
            "what it reads",
            [p.before for p in info.places],
            {"symbol": "circle-open", "size": 9, "color": GREY, "line": {"width": 2}},
        ),
        ("what it hands on", [p.after for p in info.places], {"symbol": "circle", "size": 10, "color": colours}),
    ):
        figure.add_trace(
            go.Scatter(
                x=values,
                y=list(rows),
                mode="markers",
                name=name,
                marker=marker,
                hovertext=[p.hover for p in info.places],
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    ticks = {} if info.top is None else _ticks(info)
    figure.update_layout(
        height=120 + 24 * len(info.places),
        margin={"l": 6, "r": 12, "t": 6, "b": 46},
        xaxis={
            "title": {"text": "Signal to noise against the baseline (dB)"},
            "showgrid": True,
            "zeroline": False,
            **ticks,
        },
        yaxis=named_places([p.short for p in info.places], _NAME)
        | {"range": [len(info.places) - 0.4, -0.6], "zeroline": False, "showgrid": False},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
    )
    figure.layout.yaxis.autorange = None
    style(figure)
    return figure


def _ticks(info: DivergenceInfo) -> dict[str, Any]:
    assert info.top is not None
    known = [v for p in info.places for v in (p.before, p.after) if v is not None]
    step = 10 if info.top - min(known) <= 70 else 20
    below = range(int(info.top) - step, int(min(known)) - step, -step)
    return {"tickvals": [*below, info.top], "ticktext": [*map(str, below), "none"]}


def divergence_alt(info: DivergenceInfo, sentence: str) -> str:
    """The chart in words."""
    known = [p for p in info.places if p.after is not None]
    least = min(known, key=lambda p: p.after or 0.0, default=None)
    lowest = "" if least is None else f" The lowest is {least.name} with {least.after:.0f} dB."
    return f"Signal to noise of {len(info.places)} layers along the graph. {sentence}{lowest}"
