"""The charts of `figures_many`, drawn and told in words. Colours and shapes are those of `figures`, and so are the roles.

Every mark carries its trial's id as `customdata`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from engine.figures import BLUE, COLOUR_SCALE, GREEN, GREY, ORANGE, PINK, Role, role_style
from engine.figures_many import Axis, ManyInfo, Mark
from engine.record import METRICS
from engine.words import based, text_of

_HOVER = "%{hovertext}<extra></extra>"
# Plots in space know fewer symbols.
_IN_SPACE = {"x-thin-open": "x"}
_ROLES: tuple[Role, ...] = ("over", "beaten", "front")
_LINES: dict[Role, dict[str, Any]] = {
    "over": {"width": 0.8, "dash": "dot", "color": "rgba(140, 149, 163, 0.35)"},
    "beaten": {"width": 1, "color": "rgba(140, 149, 163, 0.5)"},
    "front": {"width": 2, "color": BLUE},
}


def _specials(info: ManyInfo) -> list[tuple[str, Mark, str, str, int]]:
    """The trials with a ring of their own: name, mark, symbol, colour, diameter."""
    choice, by_id = info.choice, {m.trial_id: m for m in info.marks}
    rings = (
        ("baseline", choice.baseline, "square-open", PINK, 19),
        ("knee", info.knee, "diamond-open", ORANGE, 21),
        ("best within your limits", choice.best if choice.view.limits else None, "star-open", GREEN, 26),
    )
    return [(name, by_id[i], symbol, colour, size) for name, i, symbol, colour, size in rings if i in by_id]


def _marker(marks: Sequence[Mark], role: Role, coloured: bool, sizes: Mapping[str, float] | None) -> dict[str, Any]:
    _, symbol, colour, size = role_style(role)
    marker: dict[str, Any] = {
        "symbol": symbol,
        "size": size if sizes is None else [sizes.get(m.trial_id, size) for m in marks],
        "color": colour,
        "line": {"width": 1.5, "color": colour},
    }
    if coloured and role != "over":
        line = {"width": 1, "color": GREY} if role == "front" else {"width": 2}
        marker |= {"color": [m.colour for m in marks], "coloraxis": "coloraxis", "line": line}
    return marker


def _of_marks(marks: Sequence[Mark]) -> dict[str, Any]:
    return {
        "customdata": [[m.trial_id] for m in marks],
        "hovertext": [m.hover for m in marks],
        "hovertemplate": _HOVER,
    }


def _ticks(axis: Axis) -> dict[str, Any]:
    """The kind of a Plotly axis, with round numbers on a logarithmic one."""
    if not axis.logarithmic:
        return {"type": "linear", "nticks": 5}
    digits = (1, 2, 5) if axis.high / axis.low < 100 else (1,)
    powers = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    values = [d * 10.0**p for p in powers for d in digits]
    return {"type": "log", "tickvals": values, "ticktext": [f"{v:,.10g}" for v in values]}


def _lay_out(figure: go.Figure, info: ManyInfo, height: int, kind: str) -> None:
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
        figure.update_layout(coloraxis={"colorscale": COLOUR_SCALE, "colorbar": {**bar, "yanchor": "top", "ypad": 50}})


def space_figure(info: ManyInfo, height: int = 560, sizes: Mapping[str, float] | None = None) -> go.Figure:
    """Three axes in space, to turn; the frontier of the three stands on stems. `sizes` as in `frontier_figure`."""
    figure = go.Figure(_stems(info))
    for role in _ROLES:
        marks = [m for m in info.marks if m.role == role]
        if marks:
            marker = _marker(marks, role, info.colour_title is not None, sizes)
            marker["symbol"] = _IN_SPACE.get(marker["symbol"], marker["symbol"])
            x, y, z = zip(*(m.values for m in marks), strict=True)
            small = sizes is None and role == "over"
            figure.add_trace(
                go.Scatter3d(
                    x=x,
                    y=y,
                    z=z,
                    mode="markers",
                    name=role_style(role)[0],
                    marker=marker | ({"size": 3} if small else {}),
                    opacity=0.5 if role == "over" else 1,
                    **_of_marks(marks),
                )
            )
    for name, mark, symbol, colour, size in _specials(info):
        # There are no open stars in space, so that one is written.
        written = symbol == "star-open"
        figure.add_trace(
            go.Scatter3d(
                x=[mark.values[0]],
                y=[mark.values[1]],
                z=[mark.values[2]],
                mode="text" if written else "markers",
                name=name,
                text=["★"] if written else None,
                textfont={"size": 22, "color": colour},
                marker={"symbol": "circle" if written else symbol, "size": size * 0.8, "color": colour},
                **_of_marks([mark]),
            )
        )
    _lay_out(figure, info, height, "3d")
    x_axis, y_axis, z_axis = (
        _ticks(a) | {"title": {"text": f"{a.title}<br>{a.wish}", "font": {"size": 11}}} for a in info.axes
    )
    camera = {"eye": {"x": 1.5, "y": 1.5, "z": 0.9}, "center": {"x": 0, "y": 0, "z": -0.15}}
    figure.update_layout(scene={"xaxis": x_axis, "yaxis": y_axis, "zaxis": z_axis, "camera": camera})
    return figure


def _stems(info: ManyInfo) -> go.Scatter3d:
    """From each frontier point down to the floor, which tells how deep in the picture it is."""
    x: list[float | None] = []
    y: list[float | None] = []
    z: list[float | None] = []
    for mark in (m for m in info.marks if m.role == "front"):
        x += [mark.values[0], mark.values[0], None]
        y += [mark.values[1], mark.values[1], None]
        z += [mark.values[2], info.axes[2].low, None]
    line = {"width": 1.5, "color": "rgba(31, 131, 198, 0.45)"}
    return go.Scatter3d(x=x, y=y, z=z, mode="lines", line=line, hoverinfo="skip", showlegend=False, name="stems")


def parallel_figure(info: ManyInfo, height: int | None = None) -> go.Figure:
    """One axis under the other, better to the right on each; a line is a recipe, its marks are to hover and click."""
    figure = go.Figure()
    last = len(info.axes) - 1
    for role in _ROLES:
        marks = [m for m in info.marks if m.role == role]
        if marks:
            _add_lines(figure, info, marks, role)
    for name, mark, symbol, colour, size in _specials(info):
        places = [(a.place(v), last - k) for k, (a, v) in enumerate(zip(info.axes, mark.values, strict=True))]
        known = [(x, y) for x, y in places if math.isfinite(x)]
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in known],
                y=[y for _, y in known],
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": size * 0.8, "color": colour, "line": {"width": 2}},
                **_of_marks([mark] * len(known)),
            )
        )
    _lay_out(figure, info, height or 90 + 78 * len(info.axes), "parallel")
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
    marker = _marker(owners, role, info.colour_title is not None, None)
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode="lines+markers",
            name=name,
            line=_LINES[role],
            marker=marker | {"symbol": symbol, "size": 9 if role == "front" else 6},
            opacity=0.6 if role == "over" else 1,
            **_of_marks(owners),
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
        for role in _ROLES:
            marks = [m for m in known if _role_in(m, ids) == role]
            if marks:
                marker = _marker(marks, role, info.colour_title is not None, None)
                figure.add_trace(
                    go.Scatter(
                        x=[m.values[across] for m in marks],
                        y=[m.values[up] for m in marks],
                        mode="markers",
                        name=role_style(role)[0],
                        legendgroup=role,
                        showlegend=role not in named,
                        marker=marker | {"size": 8 if role == "front" else 6},
                        opacity=0.55 if role == "over" else 1,
                        **_of_marks(marks),
                        **axes,
                    )
                )
                named.add(role)
        for name, mark, symbol, colour, diameter in _specials(info):
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
                        **_of_marks([mark]),
                        **axes,
                    )
                )
                named.add(name)
        figure.update_layout(_pane(info, across, up, number, size))
    _lay_out(figure, info, height or 120 + 190 * size, "matrix")
    return figure


def _role_in(mark: Mark, front: Sequence[str]) -> Role:
    return "over" if mark.role == "over" else "front" if mark.trial_id in front else "beaten"


def _pane(info: ManyInfo, across: int, up: int, number: int, size: int) -> dict[str, Any]:
    """The two axes of one pane; what stands at the foot of a column and the left of a row is written there alone."""
    gap, row = 0.04, size - up
    width = (1 - gap * (size - 1)) / size
    x, y = info.axes[across], info.axes[up]
    name_x, name_y = METRICS[x.key].name, METRICS[y.key].name
    unit_x, unit_y = (f" ({METRICS[a.key].unit})" if METRICS[a.key].unit else "" for a in (x, y))
    arrows_x = f"{name_x}{unit_x} →" if x.maximise else f"← {name_x}{unit_x}"
    arrows_y = f"{name_y}{unit_y} →" if y.maximise else f"← {name_y}{unit_y}"
    foot, left = up == size, across == 0
    shared = {"automargin": True, "zeroline": False}
    return {
        f"xaxis{number}": _ticks(x)
        | shared
        | {
            "domain": [across * (width + gap), across * (width + gap) + width],
            "anchor": f"y{number}",
            "showticklabels": foot,
            "matches": None if foot else f"x{size * size + across + 1}",
            "title": {"text": arrows_x if foot else "", "font": {"size": 12}},
        },
        f"yaxis{number}": _ticks(y)
        | shared
        | {
            "domain": [row * (width + gap), row * (width + gap) + width],
            "anchor": f"x{number}",
            "showticklabels": left,
            "matches": None if left else f"y{up * size + 1}",
            "title": {"text": arrows_y if left else "", "font": {"size": 12}},
        },
    }


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


def _counts(info: ManyInfo) -> str:
    return f"{len(info.marks)} of {len(info.choice.measured)} measured recipes are drawn, {info.kept} of them within the limits"


def space_alt(info: ManyInfo) -> str:
    """The chart in space in two sentences."""
    names = ", ".join(f"{a.title} ({a.wish})" for a in info.axes)
    return (
        f"Three-dimensional scatter chart of {names}: {_counts(info)}, {len(info.front)} on the frontier of the three. "
        "The table lists them all."
    )


def parallel_alt(info: ManyInfo) -> str:
    """The parallel axes in two sentences."""
    names = ", ".join(f"{a.title} ({a.wish})" for a in info.axes)
    return (
        f"Parallel coordinates with one axis each for {names}: {_counts(info)}, {len(info.front)} on the frontier are coloured. "
        "The table lists them all."
    )


def matrix_alt(info: ManyInfo) -> str:
    """The matrix in two sentences."""
    fronts = "; ".join(
        f"{METRICS[info.axes[up].key].name} against {METRICS[info.axes[across].key].name} {len(ids)}"
        for (across, up), ids in info.pairs.items()
    )
    return f"Scatter charts of every pair: {_counts(info)}. Recipes on the frontier of each pair: {fronts}. The table lists them all."
