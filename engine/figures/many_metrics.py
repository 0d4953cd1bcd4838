"""The charts of `figures_many`, drawn and told in words. Colours and shapes are those of `figures`, and so are the roles.

Every mark carries its trial's id as `customdata`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from engine.figures.frontier import BLUE, COLOUR_SCALE, GREEN, GREY, ORANGE, PINK, role_entry, role_style
from engine.figures.frontier_info import Role
from engine.figures.many_metrics_info import Axis, ManyInfo, Mark
from engine.trials.text import based, text_of

_HOVER = "%{hovertext}<extra></extra>"
# Plots in space know fewer symbols.
_IN_SPACE = {"x-thin-open": "cross"}
ROLES: tuple[Role, ...] = ("over", "beaten", "front")
"""In the order of drawing: what matters most comes last, on top."""
_LINES: dict[Role, dict[str, Any]] = {
    "over": {"width": 0.8, "dash": "dot", "color": "rgba(140, 149, 163, 0.35)"},
    "beaten": {"width": 1, "color": "rgba(140, 149, 163, 0.5)"},
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


def space_alt(info: ManyInfo) -> str:
    """The chart in space in two sentences."""
    names = ", ".join(f"{a.title} ({a.wish})" for a in info.axes)
    return (
        f"Three-dimensional scatter chart of {names}: {counts(info)}, {len(info.front)} on the frontier of the three. "
        "The table lists them all."
    )


def parallel_alt(info: ManyInfo) -> str:
    """The parallel axes in two sentences."""
    names = ", ".join(f"{a.title} ({a.wish})" for a in info.axes)
    return (
        f"Parallel coordinates with one axis each for {names}: {counts(info)}, {len(info.front)} on the frontier are coloured. "
        "The table lists them all."
    )
