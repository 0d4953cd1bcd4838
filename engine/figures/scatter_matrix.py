"""The scatter matrix of many metrics, drawn and told in words: the lower triangle of all pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from engine.figures.frontier import BLUE, role_entry, role_style
from engine.figures.frontier_info import Role
from engine.figures.many_metrics import ROLES, counts, is_coloured, lay_out, marker_of, of_marks, specials, ticks
from engine.figures.many_metrics_info import ManyInfo, Mark
from engine.metrics import METRICS


def matrix_figure(info: ManyInfo, height: int | None = None) -> go.Figure:
    """Each metric against each other one, once; the frontier of every pair is marked."""
    figure = go.Figure()
    size = len(info.axes) - 1
    named: set[str] = set()
    for (across, up), ids in info.pairs.items():
        number = up * size + across + 1
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        known = [m for m in info.marks if math.isfinite(m.values[across]) and math.isfinite(m.values[up])]
        front = {m.trial_id: m for m in known}
        line = [front[i] for i in ids if i in front]
        figure.add_trace(
            go.Scatter(
                x=[m.values[across] for m in line],
                y=[m.values[up] for m in line],
                mode="lines",
                line={"shape": "vh" if info.axes[across].maximise else "hv", "width": 1.5, "color": BLUE},
                hoverinfo="skip",
                showlegend=False,
                **axes,
            )
        )
        for role in ROLES:
            marks = [m for m in known if _role_in(m, ids) == role]
            if marks:
                coloured = is_coloured(info, role)
                if coloured and role not in named:
                    figure.add_trace({**role_entry(role), **axes})
                marker = marker_of(marks, role, coloured, None)
                figure.add_trace(
                    go.Scatter(
                        x=[m.values[across] for m in marks],
                        y=[m.values[up] for m in marks],
                        mode="markers",
                        name=role_style(role)[0],
                        legendgroup=role,
                        showlegend=role not in named and not coloured,
                        marker=marker | {"size": 8 if role == "front" else 6},
                        opacity=0.55 if role == "over" else 1,
                        **of_marks(marks),
                        **axes,
                    )
                )
                named.add(role)
        for name, mark, symbol, colour, diameter in specials(info):
            if mark in known:
                figure.add_trace(
                    go.Scatter(
                        x=[mark.values[across]],
                        y=[mark.values[up]],
                        mode="markers",
                        name=name,
                        legendgroup=name,
                        showlegend=name not in named,
                        marker={"symbol": symbol, "size": diameter * 0.7, "color": colour, "line": {"width": 2}},
                        **of_marks([mark]),
                        **axes,
                    )
                )
                named.add(name)
        figure.update_layout(_pane(info, across, up, number, size))
    lay_out(figure, info, height or 120 + 190 * size, "matrix")
    if size > 1:
        # The upper right corner is empty.
        corner = {"x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "len": 0.9 * (size - 1) / size}
        figure.update_layout(coloraxis_colorbar=corner)
    elif info.colour_title:
        figure.update_layout(
            coloraxis_colorbar={"orientation": "v", "y": 0.5, "yanchor": "middle", "title_side": "right"}
        )
    return figure


def _role_in(mark: Mark, front: Sequence[str]) -> Role:
    if mark.role == "imported":
        return mark.role
    return "over" if mark.role == "over" else "front" if mark.trial_id in front else "beaten"


def _pane(info: ManyInfo, across: int, up: int, number: int, size: int) -> dict[str, Any]:
    """The two axes of one pane; what stands at the foot of a column and the left of a row is written there alone."""
    gap, row = 0.04, size - up
    width = (1 - gap * (size - 1)) / size
    x, y = info.axes[across], info.axes[up]
    # Whole titles: they say of which device a number is, and that it is estimated.
    arrows_x, arrows_y = ("<br>".join(wrap(f"{a.title} →" if a.maximise else f"← {a.title}", 24)) for a in (x, y))
    foot, left = up == size, across == 0
    shared = {"automargin": True, "zeroline": False}
    return {
        f"xaxis{number}": ticks(x)
        | shared
        | {
            "domain": [across * (width + gap), across * (width + gap) + width],
            "anchor": f"y{number}",
            "showticklabels": foot,
            "matches": None if foot else f"x{size * size + across + 1}",
            "title": {"text": arrows_x if foot else "", "font": {"size": 12}},
        },
        f"yaxis{number}": ticks(y)
        | shared
        | {
            "domain": [row * (width + gap), row * (width + gap) + width],
            "anchor": f"x{number}",
            "showticklabels": left,
            "matches": None if left else f"y{up * size + 1}",
            "title": {"text": arrows_y if left else "", "font": {"size": 12}},
        },
    }


def matrix_alt(info: ManyInfo) -> str:
    """The matrix in two sentences."""
    fronts = "; ".join(
        f"{METRICS[info.axes[up].key].name} against {METRICS[info.axes[across].key].name} {len(ids)}"
        for (across, up), ids in info.pairs.items()
    )
    return f"Scatter charts of every pair: {counts(info)}. Recipes on the frontier of each pair: {fronts}. The table lists them all."
