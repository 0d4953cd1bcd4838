"""What rounding each layer alone costs and saves, as a heat map of layers and bits. An `..._info` computes, a small function draws."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale, unlabel_rgb

from engine.figures.frontier import COLOUR_SCALE, GREY
from engine.figures.style import TEXT, shortened, style
from engine.trials.layer_texts import bytes_text, is_told, tail_name, time_text, unit_text

HARM, DIVERGENCE = "harm", "divergence"
BY = (HARM, DIVERGENCE)
"""What cells can be coloured by: what the metric lost, or how far the answers moved."""
# Of many layers, cells show what is lost alone.
_FEW = 24
_ROW_PX, _CELL_PX = (66, 40), (36, 20)
_NAME = 34


@dataclass(frozen=True)
class Cell:
    """One layer at one width. `shade` is what its colour shows, None where it was not counted; `text` is short HTML, `hover` longer."""

    layer: str
    bits: int
    shade: float | None
    text: str
    hover: str


@dataclass(frozen=True)
class SensitivityInfo:
    """Layers down, in graph order, widths across. `title` says what colours are, `ticks` are (shade, text) of the colour bar, which
    ends at `top`: one sample more or less is no loss to be coloured as the worst.

    `worst`: the cell that loses most, None where nothing was counted; `told`: how many cells lose more than chance, None where
    nothing is left to it.
    """

    title: str
    bits: tuple[int, ...]
    layers: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    ticks: tuple[tuple[float, str], ...]
    low: float
    top: float
    worst: Cell | None
    told: int | None


def sensitivity_info(found: Mapping[str, Any], by: str = HARM) -> SensitivityInfo:
    """Everything that `sensitivity_figure` draws of what `paretoscope sensitivity` found; `by` is one of `BY`."""
    unit = found["metric"]["unit"] if by == HARM else found["divergence"]["unit"]
    name = f"{found['metric']['name']}: what it loses" if by == HARM else found["divergence"]["name"]
    cells = tuple(tuple(_cell(found, layer, cell, by) for cell in layer["cells"]) for layer in found["layers"])
    counted = [
        (c["harm"]["value"], cell)
        for layer, row in zip(found["layers"], cells, strict=True)
        for c, cell in zip(layer["cells"], row, strict=True)
        if c["harm"]
    ]
    shades = [c.shade for row in cells for c in row if c.shade is not None]
    low = 0.0 if by == HARM else min(shades, default=0.0)
    top = max([low + 1e-9, *shades, *([_chance(found)] if by == HARM else [])])
    return SensitivityInfo(
        title=f"{name} ({unit})" if unit else name,
        bits=tuple(found["bits"]),
        layers=tuple(layer["name"] for layer in found["layers"]),
        rows=tuple(_row(layer, found["kernels"]) for layer in found["layers"]),
        cells=cells,
        ticks=_ticks(low, top, by),
        low=low,
        top=top,
        worst=max(counted, key=lambda pair: pair[0])[1] if counted else None,
        told=sum(is_told(c, found["metric"]) for layer in found["layers"] for c in layer["cells"])
        if found["metric"]["tested"]
        else None,
    )


def _row(layer: Mapping[str, Any], kernels: str) -> str:
    shared = f" (and {len(layer['also'])} that share it)" if layer["also"] else ""
    name = html.escape(shortened(tail_name(layer["name"], layer["op_type"]), _NAME))
    return f"<b>{name}</b>{shared} · {layer['params']:,} weights · {time_text(layer, kernels)}"


def _cell(found: Mapping[str, Any], layer: Mapping[str, Any], cell: Mapping[str, Any], by: str) -> Cell:
    harm, unit, other = cell["harm"], found["metric"]["unit"], cell["divergence"]
    lines = [f"<b>{html.escape(layer['name'].strip('/'))}</b> at {cell['bits']} bits, alone"]
    if harm:
        between = f"{harm['low']:.3g} to {harm['high']:.3g}"
        lines.append(
            f"{html.escape(found['metric']['name'])}: {unit_text(harm['value'], html.escape(unit))} lost (95 %: {between})"
        )
    if other is not None:
        lines.append(f"{found['divergence']['name']}: {other:.3g} {found['divergence']['unit']}")
    lines.append(f"saves {bytes_text(cell['bytes_saved'])}; {_saved_time(cell, found['kernels'])}")
    text = _short(harm["value"], is_told(cell, found["metric"])) if by == HARM and harm else "–"
    if by == DIVERGENCE:
        text = "–" if other is None else f"{other:.1g}"
    if len(found["layers"]) <= _FEW:
        text += f"<br>{bytes_text(cell['bytes_saved'])}"
    return Cell(layer["name"], cell["bits"], _shade(cell, by), text, "<br>".join(lines))


def _saved_time(cell: Mapping[str, Any], kernels: str) -> str:
    if kernels == "none":
        return "not faster: no kernel here computes in fewer bits"
    return (
        "time not told apart" if cell["ms_saved"] is None else f"{cell['ms_saved']:.3g} ms a sample saved in its kernel"
    )


def _chance(found: Mapping[str, Any]) -> float:
    """The shade of what chance alone may be: half of a usual interval."""
    known = [c["harm"] for layer in found["layers"] for c in layer["cells"] if c["harm"]]
    if not known or not found["metric"]["tested"]:
        return 0.0
    return math.sqrt(max(0.0, statistics.median(h["high"] - h["low"] for h in known) / 2))


def _short(value: float, told: bool) -> str:
    text = f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"
    return f"<b>{text}</b>" if told else text


def _shade(cell: Mapping[str, Any], by: str) -> float | None:
    """Square roots of losses, so that small ones are told apart beside large ones, and logarithms of divergences."""
    if by == HARM:
        return math.sqrt(max(0.0, cell["harm"]["value"])) if cell["harm"] else None
    value = cell["divergence"]
    return None if value is None else math.log10(max(value, 1e-6))


def _ticks(low: float, top: float, by: str) -> tuple[tuple[float, str], ...]:
    if by == HARM:
        return tuple((top * part, f"{(top * part) ** 2:.2g}") for part in (0.0, 0.5, 1.0))
    powers = range(math.ceil(low), math.floor(top) + 1)
    return tuple((float(p), f"{10.0**p:.10g}") for p in powers) or ((low, f"{10**low:.1g}"),)


def sensitivity_figure(info: SensitivityInfo, picked: Mapping[str, int]) -> go.Figure:
    """The heat map, made of bars, which can be clicked; every cell carries its layer and bits as `customdata`. Cells that are `picked`,
    {layer: bits}, are framed.
    """
    cells = [(row, column, cell) for row, line in enumerate(info.cells) for column, cell in enumerate(line)]
    framed = [picked.get(c.layer) == c.bits for _, _, c in cells]
    marker = {
        "color": [_colour(info, c.shade) for _, _, c in cells],
        "line": {"width": [3 if f else 0 for f in framed], "color": TEXT},
    }
    px, cell_px = (sizes[len(info.rows) > _FEW] for sizes in (_ROW_PX, _CELL_PX))
    figure = go.Figure(
        go.Bar(
            orientation="h",
            base=[column + 0.03 for _, column, _ in cells],
            x=[0.94] * len(cells),
            y=[row for row, _, _ in cells],
            width=[cell_px / px] * len(cells),
            marker=marker,
            text=[f"✓ {c.text}" if f else c.text for f, (_, _, c) in zip(framed, cells, strict=True)],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            insidetextfont={"size": 12, "color": [_readable(colour) for colour in marker["color"]]},
            constraintext="none",
            customdata=[[c.layer, c.bits] for _, _, c in cells],
            hovertext=[c.hover for _, _, c in cells],
            hovertemplate="%{hovertext}<extra></extra>",
            showlegend=False,
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )
    )
    figure.add_trace(_colour_bar(info))
    figure.update_layout(
        height=144 + px * len(info.rows),
        margin={"l": 4, "r": 4, "t": 44, "b": 10},
        bargap=0,
        clickmode="event+select",
        dragmode=False,
        xaxis={
            "side": "top",
            "range": [0, len(info.bits)],
            "tickvals": [i + 0.5 for i in range(len(info.bits))],
            "ticktext": [f"{b} bits" for b in info.bits],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        yaxis={
            "visible": False,
            "range": [len(info.rows) - 1 + (0.5 * cell_px + 4) / px, -(0.5 * cell_px + 20) / px],
            "fixedrange": True,
        },
        annotations=[
            {
                "text": text,
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": row - 0.5 * cell_px / px - 9 / px,
                "yanchor": "middle",
                "showarrow": False,
                "font": {"size": 12},
            }
            for row, text in enumerate(info.rows)
        ],
    )
    style(figure)
    return figure


def _colour(info: SensitivityInfo, shade: float | None) -> str:
    if shade is None:
        return GREY
    found: list[str] = sample_colorscale(COLOUR_SCALE, [(shade - info.low) / (info.top - info.low)], colortype="rgb")
    return found[0]


def _readable(colour: str) -> str:
    """White or our dark, whichever has more contrast with a colour: relative luminance as WCAG 2.2 defines it."""
    hexes = [int(colour[i : i + 2], 16) for i in (1, 3, 5)] if colour.startswith("#") else None
    parts = [x / 255 for x in hexes or unlabel_rgb(colour)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#FFFFFF" if luminance < 0.18 else "#10151C"


def _colour_bar(info: SensitivityInfo) -> go.Scatter:
    """What the colours are, of a trace that draws nothing else."""
    bar = {
        "title": {"text": info.title, "side": "top", "font": {"size": 12}},
        "orientation": "h",
        "thickness": 10,
        "y": 0,
        "yanchor": "top",
        "len": 0.9,
        "outlinewidth": 0,
        "tickvals": [t for t, _ in info.ticks],
        "ticktext": [t for _, t in info.ticks],
    }
    scale = {"colorscale": COLOUR_SCALE, "cmin": info.low, "cmax": info.top, "color": [info.low], "colorbar": bar}
    return go.Scatter(x=[None], y=[None], mode="markers", hoverinfo="skip", showlegend=False, marker=scale)


def sensitivity_alt(info: SensitivityInfo) -> str:
    """The heat map in words."""
    worst = f" The worst is {info.worst.layer.strip('/')} at {info.worst.bits} bits." if info.worst else ""
    told = "" if info.told is None else f" In {info.told} cells more is lost than by chance."
    widths = ", ".join(map(str, info.bits))
    return f"Heat map of {info.title}: {len(info.rows)} layers at {widths} bits, each rounded alone.{told}{worst}"
