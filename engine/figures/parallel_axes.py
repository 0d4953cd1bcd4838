"""Trials as lines over parallel axes, drawn and told in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from engine.figures.frontier import role_entry, role_style
from engine.figures.frontier_info import Role
from engine.figures.many_metrics import _LINES, ROLES, counts, is_coloured, lay_out, marker_of, of_marks, specials
from engine.figures.many_metrics_info import Axis, ManyInfo, Mark
from engine.metrics import based, text_of


def parallel_figure(info: ManyInfo, height: int | None = None) -> go.Figure:
    """One axis under the other, better to the right on each; a line is a recipe, its marks are to hover and click."""
    figure = go.Figure()
    last = len(info.axes) - 1
    for role in ROLES:
        marks = [m for m in info.marks if m.role == role]
        if marks:
            _add_lines(figure, info, marks, role)
    for name, mark, symbol, colour, size in specials(info):
        places = [(a.place(v), last - k) for k, (a, v) in enumerate(zip(info.axes, mark.values, strict=True))]
        known = [(x, y) for x, y in places if math.isfinite(x)]
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in known],
                y=[y for _, y in known],
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": size * 0.8, "color": colour, "line": {"width": 2}},
                **of_marks([mark] * len(known)),
            )
        )
    bar = 70 if info.colour_title else 0
    lay_out(figure, info, height or 90 + 78 * len(info.axes) + bar, "parallel")
    figure.update_layout(
        xaxis={"visible": False, "range": [-0.06, 1.06], "fixedrange": True},
        yaxis={"visible": False, "range": [-0.45, last + 0.5], "fixedrange": True},
        dragmode=False,
    )
    for k, axis in enumerate(info.axes):
        _add_axis(figure, axis, last - k)
    return figure


def _add_lines(figure: go.Figure, info: ManyInfo, marks: Sequence[Mark], role: Role) -> None:
    last = len(info.axes) - 1
    x: list[float | None] = []
    y: list[float | None] = []
    owners: list[Mark] = []
    for mark in marks:
        for k, (axis, value) in enumerate(zip(info.axes, mark.values, strict=True)):
            x.append(axis.place(value) if math.isfinite(value) else None)
            y.append(last - k)
            owners.append(mark)
        x.append(None)
        y.append(None)
        owners.append(mark)
    name, symbol, _, _ = role_style(role)
    coloured = is_coloured(info, role)
    marker = marker_of(owners, role, coloured, None)
    if coloured:
        figure.add_trace(role_entry(role))
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode="lines+markers",
            name=name,
            showlegend=not coloured,
            line=_LINES[role],
            marker=marker | {"symbol": symbol, "size": 9 if role == "front" else 6},
            opacity=0.6 if role == "over" else 1,
            **of_marks(owners),
        )
    )


def _add_axis(figure: go.Figure, axis: Axis, y: float) -> None:
    figure.add_shape(
        type="line", x0=0, x1=1, y0=y, y1=y, line={"width": 1.5, "color": "rgba(140, 149, 163, 0.8)"}, layer="below"
    )
    text = {"showarrow": False, "y": y, "font": {"size": 11}}
    figure.add_annotation(
        text | {"text": f"<b>{axis.title}</b>, better →", "x": 0, "xanchor": "left", "yshift": 24, "font": {"size": 12}}
    )
    for place, anchor in ((0.0, "left"), (0.5, "center"), (1.0, "right")):
        value = text_of(axis.key, based(axis.key, axis.value_at(place)), unit=False)
        if place == 0 or axis.high > axis.low:
            figure.add_annotation(text | {"text": value, "x": place, "xanchor": anchor, "yshift": -17})


def parallel_alt(info: ManyInfo) -> str:
    """The parallel axes in two sentences."""
    names = ", ".join(f"{a.title} ({a.wish})" for a in info.axes)
    return (
        f"Parallel coordinates with one axis each for {names}: {counts(info)}, {len(info.front)} on the frontier are coloured. "
        "The table lists them all."
    )
