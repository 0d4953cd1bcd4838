"""What the picture of a network shows: its layers as boxes, coloured by a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.figures.frontier import COLOUR_SCALE, GREEN
from engine.figures.frontier_info import LOG_SPAN
from engine.figures.graph_layout import Point, layered
from engine.figures.graph_together import about_block, block_name, block_title, together
from engine.figures.style import shortened
from engine.graph.layer_graph import LayerBox, LayerGraph
from engine.graph.repeats import alike, collapsed, repeats
from engine.metrics import text_of

COLOURINGS = {
    "bytes": "Bytes",
    "params": "Parameters",
    "macs": "MACs",
    "weight_bits": "Bits per weight",
    "activation_bits": "Bits per activation",
}
"""What of a layer a graph itself can be coloured by, and its name."""
SIMILARITY, SIMILARITY_TITLE = "similarity", "Similarity (SQNR)"
"""A further colouring, by decibels that a graph alone does not have: infinite where nothing differs."""
WIDTH, HEIGHT, GAP_X, GAP_Y = 190, 42, 22, 26
"""Pixels of a box at full size, and between boxes."""
_MOST_SHADES = 7
_NAME, _VALUE = 29, 18
_PADDING = 16
_METRICS = {"bytes": "size_bytes", "time_ms": "latency_ms"}


@dataclass(frozen=True)
class Mark:
    """One box: its left upper corner in pixels, three short texts, `colour` (None: nothing to say), and `about` in full, lines of text.

    `opens`: of blocks that are one box here, the number of the mark that is their first where each layer has its own.
    """

    x: float
    y: float
    title: str
    value: str
    name: str
    colour: str | None
    is_dashed: bool
    about: str
    opens: int | None = None


@dataclass(frozen=True)
class Line:
    """One edge: the points that it passes, in pixels; `colour` None for a plain one."""

    points: tuple[Point, ...]
    colour: str | None
    is_dashed: bool


@dataclass(frozen=True)
class GraphInfo:
    """`legend`: (text, colour, how many boxes), in the order of a scale or by kind of change. `about`: what it is, in a sentence."""

    title: str
    marks: tuple[Mark, ...]
    lines: tuple[Line, ...]
    width: float
    height: float
    legend: tuple[tuple[str, str, int], ...]
    about: str
    together: GraphInfo | None = None


@dataclass(frozen=True)
class _Item:
    """A mark before it has a place and a colour."""

    title: str
    name: str
    number: float | None
    about: str
    opens: int | None = None


def graph_info(
    graph: LayerGraph,
    colour: str = "bytes",
    values: Mapping[str, float] | None = None,
    title: str | None = None,
    least: bool = False,
) -> GraphInfo:
    """A network coloured by a key of `COLOURINGS` or, with `values` by name of layer, by any other number, which `title` names.

    `least`: of several layers in one box the least number counts, not the sum, and low ones stand out. Blocks that repeat are one box in
    `together`.
    """
    boxes, what = graph.boxes, title or COLOURINGS.get(colour, colour)
    numbers = [_number(box, colour, values, least) for box in boxes]

    def told(about: str, number: float | None) -> str:
        return about if values is None or number is None else f"{about}\n{what}: {_text(colour, number)}"

    items = [
        _Item(box.op_type, box.title if box.kind != "operator" else box.name.strip("/"), n, told(about_box(box), n))
        for box, n in zip(boxes, numbers, strict=True)
    ]
    about = f"{_amount(graph)}, coloured by {what[:1].lower() + what[1:] if not what[1:2].isupper() else what}"
    whole = _coloured(items, graph.edges, colour, what, about, least)
    found = repeats([alike(box) for box in boxes], graph.edges)
    if not found:
        return whole
    places, edges = collapsed(len(boxes), graph.edges, found)
    fewer = dict(zip(reversed(places), reversed(items), strict=True))
    for r in found:
        number = together(numbers[r.first : r.end], colour, least)
        text = told(about_block(boxes, r), number)
        fewer[places[r.first]] = _Item(block_title(boxes, r), block_name(boxes, r), number, text, r.first)
    return replace(whole, together=_coloured([fewer[i] for i in range(len(fewer))], edges, colour, what, about, least))


def _coloured(
    items: Sequence[_Item], edges: Sequence[tuple[int, int]], colour: str, what: str, about: str, low_stands_out: bool
) -> GraphInfo:
    shades = _shades([item.number for item in items if item.number is not None], colour, low_stands_out)
    places, lines, size = _placed(len(items), edges)
    marks = []
    for item, (x, y) in zip(items, places, strict=True):
        shade = None if item.number is None else next(s for s in shades if item.number <= s[1])
        text = "" if item.number is None else _text(colour, item.number)
        name = shortened(item.name, _NAME)
        marks.append(Mark(x, y, item.title, text, name, shade and shade[2], False, item.about, item.opens))
    legend = tuple((s[0], s[2], sum(m.colour == s[2] for m in marks)) for s in shades)
    drawn = tuple(Line(points, None, False) for points in lines)
    return GraphInfo(what, tuple(marks), drawn, *size, tuple(entry for entry in legend if entry[2]), about)


def about_box(box: LayerBox) -> str:
    """All that is known of a layer, a line each."""
    lines = [box.title if box.kind == "operator" else f"{box.op_type} {box.title}"]
    if box.operators and box.operators != (box.op_type,):
        lines.append(" → ".join(_runs(box.operators)))
    if box.inside:
        lines.append(f"holds {box.inside}")
    if box.shape is not None:
        lines.append(f"puts out {'×'.join(map(str, box.shape)) or 'one number'}")
    if box.channels:
        lines.append(f"{box.channels[0]:,} → {box.channels[1]:,} channels")
    if box.geometry and any(box.geometry):
        lines.append(", ".join(part for part in box.geometry if part))
    if box.params:
        zeros = 1 - (box.nonzero_params or 0) / box.params
        lines.append(f"{box.params:,} parameters" + (f", {zeros:.0%} of them zero" if zeros >= 0.005 else ""))
    if box.weight_bits:
        lines.append(f"weights in {box.weight_bits} bits")
    if box.activation_bits:
        lines.append(f"activations in {box.activation_bits} bits")
    if box.bytes:
        lines.append(f"{box.bytes:,} bytes")
    if box.macs:
        lines.append(f"{box.macs:,} MACs")
    return "\n".join(lines)


def _runs(operators: Sequence[str]) -> list[str]:
    """Operators, those that repeat at once with how often."""
    found: list[tuple[str, int]] = []
    for operator in operators:
        if found and found[-1][0] == operator:
            found[-1] = (operator, found[-1][1] + 1)
        else:
            found.append((operator, 1))
    return [name if n == 1 else f"{n} × {name}" for name, n in found]


def _number(box: LayerBox, colour: str, values: Mapping[str, float] | None, least: bool) -> float | None:
    if values is not None:
        found = [values[name] for name in box.layers or (box.name,) if name in values]
        return (min(found) if least else sum(found)) if found else None
    number: int | None = getattr(box, colour)
    return float(number) if number else None


def _text(colour: str, number: float) -> str:
    if colour in _METRICS:
        return text_of(_METRICS[colour], number)
    if colour.endswith("_bits"):
        return f"{number:g} bits"
    if colour == SIMILARITY:
        return f"{number:.3g} dB" if math.isfinite(number) else "no difference"
    if colour not in COLOURINGS:
        return f"{number:.4g}"
    # Layers of one network differ by a factor of thousands.
    power = min(3, int(math.log10(max(number, 1))) // 3)
    scaled = number / 1000**power
    return (f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.3g}") + ("", " k", " M", " G")[power]


def _shades(numbers: Sequence[float], colour: str, reverse: bool = False) -> list[tuple[str, float, str]]:
    """(text, up to, colour) of a few steps of a scale, from low to high: one for each value where there are few, else equal steps, in
    logarithms where the values span much. `reverse`: low numbers have the colours of high ones.
    """
    if reverse:
        found = _shades([n for n in numbers if math.isfinite(n)], colour)
        turned = [(text, n, shade) for (text, n, _), (*_, shade) in zip(found, reversed(found), strict=True)]
        return [*turned, *_shades([n for n in numbers if not math.isfinite(n)], colour)]
    unique = sorted(n for n in set(numbers) if math.isfinite(n))
    if len(unique) < len(set(numbers)):
        return [*_shades(unique, colour), (_text(colour, math.inf), math.inf, GREEN)]
    if not unique:
        return []
    # What reads alike has one colour.
    texts = {_text(colour, n): n for n in unique}
    if len(texts) <= _MOST_SHADES:
        colours = [_between(i / max(1, len(texts) - 1)) for i in range(len(texts))]
        return [(text, n, shade) for (text, n), shade in zip(texts.items(), colours, strict=True)]
    low, high = unique[0], unique[-1]
    logarithms = low > 0 and high / low > LOG_SPAN
    ends = []
    for i in range(1, _MOST_SHADES + 1):
        share = i / _MOST_SHADES
        ends.append(low * (high / low) ** share if logarithms else low + (high - low) * share)
    ends[-1] = high
    begins = [low, *ends[:-1]]
    return [
        (f"{_text(colour, a)} to {_text(colour, b)}", b, _between(i / (_MOST_SHADES - 1)))
        for i, (a, b) in enumerate(zip(begins, ends, strict=True))
    ]


def _between(share: float) -> str:
    """A colour of the frontier's scale."""
    colours = [[int(str(colour)[i : i + 2], 16) for i in (1, 3, 5)] for _, colour in COLOUR_SCALE]
    stops = [float(str(stop)) for stop, _ in COLOUR_SCALE]
    return "#" + "".join(f"{round(np.interp(share, stops, channel)):02X}" for channel in zip(*colours, strict=True))


def _placed(
    count: int, edges: Sequence[tuple[int, int]]
) -> tuple[list[Point], list[tuple[Point, ...]], tuple[float, float]]:
    """Upper left corners of boxes, points of edges, and the size of it all, in pixels."""
    layout = layered(count, edges)
    across, down = WIDTH + GAP_X, HEIGHT + GAP_Y
    least = min((x for x, _ in (*layout.places, *(p for route in layout.routes for p in route))), default=0.0)
    most = max((x for x, _ in (*layout.places, *(p for route in layout.routes for p in route))), default=0.0)

    def middle(point: Point) -> Point:
        return _PADDING + WIDTH / 2 + (point[0] - least) * across, _PADDING + HEIGHT / 2 + point[1] * down

    corners = [(x - WIDTH / 2, y - HEIGHT / 2) for x, y in map(middle, layout.places)]
    lines = []
    for (a, b), route in zip(edges, layout.routes, strict=True):
        (x0, y0), (x1, y1) = middle(layout.places[a]), middle(layout.places[b])
        side = math.copysign(HEIGHT / 2, y1 - y0)
        # Past other boxes a line runs straight down.
        bends = [(x, y + way) for x, y in map(middle, route) for way in (-side, side)]
        lines.append(((x0, y0 + side), *bends, (x1, y1 - side)))
    return (
        corners,
        lines,
        (2 * _PADDING + WIDTH + (most - least) * across, 2 * _PADDING + HEIGHT + layout.layers * down),
    )


def _amount(graph: LayerGraph) -> str:
    learned = sum(box.is_layer for box in graph.boxes)
    boxes = sum(box.kind == "operator" for box in graph.boxes)
    return f"{boxes:,} boxes, {learned:,} of them layers with weights"
