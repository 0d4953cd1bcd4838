"""What the charts of many metrics (`space_3d.py`, `parallel_axes.py`, `scatter_matrix.py`) share: marks, ticks, layout, words.

Colours, shapes and roles are those of `frontier.py`.

Every mark carries its trial's id as `customdata`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from engine.figures.frontier import BLUE, COLOUR_SCALE, GREEN, GREY, ORANGE, PINK, VIOLET, role_style
from engine.figures.frontier_info import Role
from engine.figures.many_metrics_info import Axis, ManyInfo, Mark

_HOVER = "%{hovertext}<extra></extra>"
# Plots in space know fewer symbols.
_IN_SPACE = {"x-thin-open": "cross", "pentagon-open": "diamond"}
ROLES: tuple[Role, ...] = ("over", "beaten", "imported", "front")
"""In the order of drawing: what matters most comes last, on top."""
_LINES: dict[Role, dict[str, Any]] = {
    "over": {"width": 0.8, "dash": "dot", "color": "rgba(140, 149, 163, 0.35)"},
    "beaten": {"width": 1, "color": "rgba(140, 149, 163, 0.5)"},
    "imported": {"width": 1.5, "dash": "dash", "color": VIOLET},
    "front": {"width": 2, "color": BLUE},
}


def specials(info: ManyInfo) -> list[tuple[str, Mark, str, str, int]]:
    """The trials with a ring of their own: name, mark, symbol, colour, diameter."""
    choice, by_id = info.choice, {m.trial_id: m for m in info.marks}
    rings = (
        ("baseline", choice.baseline, "square-open", PINK, 19),
        ("knee", info.knee, "diamond-open", ORANGE, 21),
        ("best within your limits", choice.best if choice.view.limits else None, "star-open", GREEN, 26),
    )
    return [(name, by_id[i], symbol, colour, size) for name, i, symbol, colour, size in rings if i in by_id]


def marker_of(marks: Sequence[Mark], role: Role, coloured: bool, sizes: Mapping[str, float] | None) -> dict[str, Any]:
    """Plotly's `marker` of trials of one role: shape and colour of the role, or its shape in the colours of a metric."""
    _, symbol, colour, size = role_style(role)
    marker: dict[str, Any] = {
        "symbol": symbol,
        "size": size if sizes is None else [sizes.get(m.trial_id, size) for m in marks],
        "color": colour,
        "line": {"width": 1.5, "color": colour},
    }
    if coloured:
        line = {"width": 1, "color": GREY} if role == "front" else {"width": 2}
        marker |= {"color": [m.colour for m in marks], "coloraxis": "coloraxis", "line": line}
    return marker


def is_coloured(info: ManyInfo, role: Role) -> bool:
    """Whether the marks of a role are coloured by a metric."""
    return info.colour_title is not None and role != "over"


def of_marks(marks: Sequence[Mark]) -> dict[str, Any]:
    """What every trace of trials carries: whose each mark is, and what it says under the pointer."""
    return {
        "customdata": [[m.trial_id] for m in marks],
        "hovertext": [m.hover for m in marks],
        "hovertemplate": _HOVER,
    }


def ticks(axis: Axis) -> dict[str, Any]:
    """The kind of a Plotly axis, with round numbers on a logarithmic one."""
    if not axis.logarithmic:
        return {"type": "linear", "nticks": 5}
    # Few, because panes are small.
    digits = (1, 3) if axis.high / axis.low < 1000 else (1,)
    powers = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    values = [d * 10.0**p for p in powers for d in digits]
    return {"type": "log", "tickvals": values, "ticktext": [f"{v:,.10g}" for v in values]}


def lay_out(figure: go.Figure, info: ManyInfo, height: int, kind: str) -> None:
    """Height in pixels, legend and colour bar; `kind` names the chart in `uirevision`, which says what a zoom belongs to."""
    view = info.choice.view
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "itemsizing": "constant"},
        hovermode="closest",
        uirevision=f"{kind} {' '.join(a.key for a in info.axes)} {view.device}",
    )
    if info.colour_title is not None:
        # Below, where it takes nothing off the width that narrow screens need.
        bar = {"title": {"text": info.colour_title, "side": "top"}, "orientation": "h", "thickness": 10, "y": 0}
        figure.update_layout(coloraxis={"colorscale": COLOUR_SCALE, "colorbar": {**bar, "yanchor": "top"}})


def drawn_text(info: ManyInfo) -> str:
    """How many recipes the chart shows and why not all, in words; empty where it shows all."""
    parts = []
    if info.left_out:
        total = len(info.marks) + info.left_out
        parts.append(
            f"{len(info.marks):,} of {total:,} recipes are drawn, the frontier and an even sample of the others"
        )
    if info.lacking:
        parts.append(f"{info.lacking:,} lack one of these numbers")
    return "; ".join([*parts, "the table has all"]) if parts else ""


def counts(info: ManyInfo) -> str:
    """How many trials are drawn, for the charts in words."""
    return f"{len(info.marks)} of {len(info.choice.measured)} measured recipes are drawn, {info.kept} of them within the limits"
