"""Trials over three metrics in space, drawn and told in words."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from engine.figures.frontier import GREY, role_style
from engine.figures.many_metrics import (
    _IN_SPACE,
    ROLES,
    counts,
    is_coloured,
    lay_out,
    marker_of,
    of_marks,
    specials,
    ticks,
)
from engine.figures.many_metrics_info import ManyInfo


def space_figure(info: ManyInfo, height: int = 560, sizes: Mapping[str, float] | None = None) -> go.Figure:
    """Three axes in space, to turn; the frontier of the three stands on stems. `sizes` as in `frontier_figure`."""
    figure = go.Figure(_stems(info))
    for role in ROLES:
        marks = [m for m in info.marks if m.role == role]
        if marks:
            coloured = is_coloured(info, role)
            marker = marker_of(marks, role, coloured, sizes)
            marker["symbol"] = _IN_SPACE.get(marker["symbol"], marker["symbol"])
            x, y, z = zip(*(m.values for m in marks), strict=True)
            figure.add_trace(
                go.Scatter3d(
                    x=x,
                    y=y,
                    z=z,
                    mode="markers",
                    name=role_style(role)[0],
                    showlegend=not coloured,
                    marker=marker | _smaller(marker["size"]),
                    opacity=0.5 if role == "over" else 1,
                    **of_marks(marks),
                )
            )
            if coloured:
                grey = {"symbol": marker["symbol"], "size": 8, "color": GREY}
                unseen: dict[str, Any] = {"x": [None], "y": [None], "z": [None], "mode": "markers"}
                figure.add_trace(go.Scatter3d(name=role_style(role)[0], marker=grey, **unseen))
    for name, mark, symbol, colour, size in specials(info):
        # There are no open stars in space, so that one is written.
        written = symbol == "star-open"
        figure.add_trace(
            go.Scatter3d(
                x=[mark.values[0]],
                y=[mark.values[1]],
                z=[mark.values[2]],
                mode="text" if written else "markers",
                name=name,
                showlegend=not written,
                text=["★"] if written else None,
                textposition="top center",
                textfont={"size": 22, "color": colour},
                marker={"symbol": "circle" if written else symbol, "color": colour} | _smaller(size),
                **of_marks([mark]),
            )
        )
    lay_out(figure, info, height, "3d")
    x_axis, y_axis, z_axis = (
        ticks(a) | {"title": {"text": "<br>".join([*wrap(a.title, 22), a.wish]), "font": {"size": 11}}}
        for a in info.axes
    )
    camera = {"eye": {"x": 1.3, "y": 1.3, "z": 0.75}, "center": {"x": 0, "y": 0, "z": -0.12}}
    figure.update_layout(scene={"xaxis": x_axis, "yaxis": y_axis, "zaxis": z_axis, "camera": camera})
    return figure


def _smaller(size: float | list[float]) -> dict[str, Any]:
    """Marks in space are drawn larger than on paper, for the same number."""
    return {"size": [0.65 * s for s in size] if isinstance(size, list) else 0.65 * size}


def _stems(info: ManyInfo) -> go.Scatter3d:
    """From each frontier point down to the floor, which tells how deep in the picture it is."""
    x: list[float | None] = []
    y: list[float | None] = []
    z: list[float | None] = []
    for mark in (m for m in info.marks if m.role == "front"):
        x += [mark.values[0], mark.values[0], None]
        y += [mark.values[1], mark.values[1], None]
        z += [mark.values[2], info.axes[2].low, None]
    line = {"width": 2, "color": "#7FB5DC"}
    return go.Scatter3d(x=x, y=y, z=z, mode="lines", line=line, hoverinfo="skip", showlegend=False, name="stems")


def space_alt(info: ManyInfo) -> str:
    """The chart in space in two sentences."""
    names = ", ".join(f"{a.title} ({a.wish})" for a in info.axes)
    return (
        f"Three-dimensional scatter chart of {names}: {counts(info)}, {len(info.front)} on the frontier of the three. "
        "The table lists them all."
    )
