"""What the picture of a network shows: its layers as boxes, coloured by a number, or by what became of them in another recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.figures.frontier import BLUE, COLOUR_SCALE, GREEN, GREY, ORANGE, PINK, VIOLET
from engine.figures.frontier_info import LOG_SPAN
from engine.figures.graph_layout import Point, layered
from engine.figures.highlight import SELECTED
from engine.figures.style import shortened
from engine.graph.graph_difference import (
    BITS,
    CHANGES,
    FIRST_ALONE,
    GONE,
    NARROWER,
    NEW,
    OPERATOR,
    SAME,
    SECOND_ALONE,
    SPARSER,
    WIDER,
    Difference,
    Pair,
)
from engine.graph.layer_graph import LayerBox, LayerGraph
from engine.metrics import text_of

COLOURINGS = {
    "bytes": "Bytes",
    "params": "Parameters",
    "macs": "MACs",
    "weight_bits": "Bits per weight",
    "activation_bits": "Bits per activation",
}
"""What of a layer a graph itself can be coloured by, and its name."""
WIDTH, HEIGHT, GAP_X, GAP_Y = 190, 42, 22, 26
"""Pixels of a box at full size, and between boxes."""
BOTH = f"{NARROWER}, {BITS}"
CHANGE_COLOURS = {
    SAME: GREY, NARROWER: BLUE, BITS: ORANGE, BOTH: GREEN, SPARSER: VIOLET, OPERATOR: PINK, WIDER: "#56B4E9", GONE: SELECTED,
    NEW: "#B8A500", FIRST_ALONE: SELECTED, SECOND_ALONE: "#B8A500",
}  # fmt: skip
"""By what became of a layer; of the palette that people with any colour vision tell apart (Okabe and Ito)."""
_ONE_SIDED = frozenset({GONE, NEW, FIRST_ALONE, SECOND_ALONE})
_MOST_SHADES = 7
_NAME, _VALUE = 29, 18
_PADDING = 16
_METRICS = {"bytes": "size_bytes", "time_ms": "latency_ms"}


@dataclass(frozen=True)
class Mark:
    """One box: its left upper corner in pixels, three short texts, `colour` (None: nothing to say), and `about` in full, lines of text."""

    x: float
    y: float
    title: str
    value: str
    name: str
    colour: str | None
    is_dashed: bool
    about: str


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


def graph_info(
    graph: LayerGraph, colour: str = "bytes", values: Mapping[str, float] | None = None, title: str | None = None
) -> GraphInfo:
    """A network coloured by a key of `COLOURINGS` or, with `values` by name of layer, by any other number, which `title` names."""
    numbers = [_number(box, colour, values) for box in graph.boxes]
    shades = _shades([n for n in numbers if n is not None], colour)
    places, lines, size = _placed(len(graph.boxes), graph.edges)
    marks = []
    for box, number, (x, y) in zip(graph.boxes, numbers, places, strict=True):
        shade = None if number is None else next(s for s in shades if number <= s[1])
        text = "" if number is None else _text(colour, number)
        about = about_box(box)
        if values is not None and number is not None:
            about += f"\n{title or colour}: {text}"
        name = box.title if box.kind != "operator" else box.name.strip("/")
        marks.append(Mark(x, y, box.op_type, text, shortened(name, _NAME), shade and shade[2], False, about))
    legend = tuple((s[0], s[2], sum(m.colour == s[2] for m in marks)) for s in shades)
    what = title or COLOURINGS.get(colour, colour)
    return GraphInfo(
        what,
        tuple(marks),
        tuple(Line(points, None, False) for points in lines),
        *size,
        tuple(entry for entry in legend if entry[2]),
        f"{_amount(graph)}, coloured by {what[:1].lower() + what[1:] if not what[1:2].isupper() else what}",
    )


def difference_info(difference: Difference, about: str, names: tuple[str, str] = ("first", "second")) -> GraphInfo:
    """Two networks as one picture: every layer of both, coloured by what became of it. `names`: what the two are called."""
    edges = difference.edges()
    places, lines, size = _placed(len(difference.pairs), [(a, b) for a, b, _ in edges])
    kinds = [_kind(pair) for pair in difference.pairs]
    marks = []
    for pair, kind, (x, y) in zip(difference.pairs, kinds, places, strict=True):
        box, name = difference.box(pair), difference.title(pair)
        text = _short(pair, kind, difference, names) if kind != SAME else ""
        colour = CHANGE_COLOURS[kind] if box.kind == "operator" else None
        name = shortened(name if name != box.op_type else "", _NAME)
        about = _about_pair(difference, pair, names)
        marks.append(Mark(x, y, box.op_type, text, name, colour, kind in _ONE_SIDED, about))
    drawn = [
        Line(points, None if what == SAME else CHANGE_COLOURS[what], what == GONE)
        for points, (_, _, what) in zip(lines, edges, strict=True)
    ]
    drawn_kinds = [k for k, p in zip(kinds, difference.pairs, strict=True) if difference.box(p).kind == "operator"]
    counts = {kind: drawn_kinds.count(kind) for kind in CHANGE_COLOURS}
    words = {FIRST_ALONE: f"in {names[0]} alone", SECOND_ALONE: f"in {names[1]} alone"}
    legend = tuple((words.get(k, k), CHANGE_COLOURS[k], n) for k, n in counts.items() if n)
    return GraphInfo("Difference", tuple(marks), tuple(drawn), *size, legend, about)


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


def _about_pair(difference: Difference, pair: Pair, names: tuple[str, str]) -> str:
    one, other = difference.boxes(pair)
    if one is None or other is None:
        side = names[0] if one is not None else names[1]
        return f"in {side} alone\n{about_box(difference.box(pair))}"
    how = {"name": "the same name", "weights": "the same weights", "place": "the same place in the graph", None: ""}[
        pair.how
    ]
    said = [", ".join(pair.changes), *pair.said] if pair.changes != (SAME,) else [SAME]
    if one == other:
        return "\n".join([*said, f"matched by {how}", about_box(other)])
    return "\n".join(
        [*said, f"matched by {how}", f"— in {names[0]}:", about_box(one), f"— in {names[1]}:", about_box(other)]
    )


def _kind(pair: Pair) -> str:
    if NARROWER in pair.changes and BITS in pair.changes:
        return BOTH
    return next(change for change in CHANGES if change in pair.changes)


def _short(pair: Pair, kind: str, difference: Difference, names: tuple[str, str]) -> str:
    """What became of a layer in as many characters as a box has room for."""
    one, other = difference.boxes(pair)
    if one is None or other is None:
        alone = f"{names[0] if one is not None else names[1]} alone"
        return {GONE: "gone", NEW: "new"}.get(kind, alone if len(alone) <= _VALUE else "alone")
    parts = []
    if NARROWER in pair.changes or WIDER in pair.changes:
        before, after = one.channels or (0, 0), other.channels or (0, 0)
        side = 0 if before[1] == after[1] else 1
        parts.append(f"{before[side]}→{after[side]}" + (" in" if side == 0 else ""))
    if BITS in pair.changes:
        bits = [b for b in (other.weight_bits, other.activation_bits) if b]
        parts.append(f"{'/'.join(map(str, bits))} bits" if len(set(bits)) > 1 else f"{bits[0]} bits")
    text = ", ".join(parts)
    return text if text and len(text) <= _VALUE else parts[0] if parts else kind


def _number(box: LayerBox, colour: str, values: Mapping[str, float] | None) -> float | None:
    if values is not None:
        found = [values[name] for name in box.layers or (box.name,) if name in values]
        return sum(found) if found else None
    number: int | None = getattr(box, colour)
    return float(number) if number else None


def _text(colour: str, number: float) -> str:
    if colour in _METRICS:
        return text_of(_METRICS[colour], number)
    if colour.endswith("_bits"):
        return f"{number:g} bits"
    if colour not in COLOURINGS:
        return f"{number:.4g}"
    # Layers of one network differ by a factor of thousands.
    power = min(3, int(math.log10(max(number, 1))) // 3)
    scaled = number / 1000**power
    return (f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.3g}") + ("", " k", " M", " G")[power]


def _shades(numbers: Sequence[float], colour: str) -> list[tuple[str, float, str]]:
    """(text, up to, colour) of a few steps of a scale, from low to high: one for each value where there are few, else equal steps, in
    logarithms where the values span much.
    """
    unique = sorted(set(numbers))
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
