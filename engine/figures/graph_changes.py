"""What the picture of two networks shows: the layers of both as boxes, coloured by what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from engine.figures.frontier import BLUE, GREEN, GREY, ORANGE, PINK, VIOLET
from engine.figures.graph_info import _NAME, _VALUE, GraphInfo, Line, Mark, _placed, about_box
from engine.figures.graph_together import block_name, block_title
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
from engine.graph.layer_graph import LayerBox
from engine.graph.repeats import Repeat, alike, collapsed, repeats

BOTH = f"{NARROWER}, {BITS}"
CHANGE_COLOURS = {
    SAME: GREY, NARROWER: BLUE, BITS: ORANGE, BOTH: GREEN, SPARSER: VIOLET, OPERATOR: PINK, WIDER: "#56B4E9", GONE: SELECTED,
    NEW: "#B8A500", FIRST_ALONE: SELECTED, SECOND_ALONE: "#B8A500",
}  # fmt: skip
"""By what became of a layer; of the palette that people with any colour vision tell apart (Okabe and Ito)."""
_ONE_SIDED = frozenset({GONE, NEW, FIRST_ALONE, SECOND_ALONE})


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
    whole = GraphInfo("Difference", tuple(marks), tuple(drawn), *size, legend, about)
    return replace(whole, together=_together(difference, whole, kinds, edges))


def _together(
    difference: Difference, whole: GraphInfo, kinds: Sequence[str], edges: Sequence[tuple[int, int, str]]
) -> GraphInfo | None:
    """The same with blocks that repeat, and to which the same was done, as one box; None where there are none."""
    boxes = [difference.box(pair) for pair in difference.pairs]
    sides = [
        None if alike(box) is None else (pair.changes, *(one and alike(one) for one in difference.boxes(pair)))
        for box, pair in zip(boxes, difference.pairs, strict=True)
    ]
    joined = [(a, b) for a, b, _ in edges]
    found = repeats(sides, joined)
    if not found:
        return None
    places, left = collapsed(len(boxes), joined, found)
    what = {(places[a], places[b]): kind for a, b, kind in reversed(edges)}
    corners, lines, size = _placed(max(places) + 1, left)
    first = {place: i for i, place in reversed(list(enumerate(places)))}
    marks = [replace(whole.marks[first[i]], x=x, y=y) for i, (x, y) in enumerate(corners)]
    for r in found:
        marks[places[r.first]] = _block(
            replace(marks[places[r.first]], title=block_title(boxes, r), opens=r.first), boxes, r, kinds, whole.marks
        )
    drawn = (
        Line(p, None if what[e] == SAME else CHANGE_COLOURS[what[e]], what[e] == GONE)
        for p, e in zip(lines, left, strict=True)
    )
    return GraphInfo(whole.title, tuple(marks), tuple(drawn), *size, whole.legend, whole.about)


def _block(
    mark: Mark, boxes: Sequence[LayerBox], repeat: Repeat, kinds: Sequence[str], open_marks: Sequence[Mark]
) -> Mark:
    """The mark of blocks to which the same was done: in the colour of what became of most of their layers that are not as they were."""
    counts = Counter(kind for kind in kinds[repeat.first : repeat.end] if kind != SAME)
    kind = counts.most_common(1)[0][0] if counts else SAME
    inside = open_marks[repeat.first : repeat.first + repeat.length]
    about = [
        f"{block_title(boxes, repeat)}: {repeat.times} that are alike, one after another; click to see each of them"
    ]
    about += [f"{n:,} layers: {kind}" for kind, n in counts.most_common()] or [SAME]
    about.append(" → ".join(part.title for part in inside))
    value = f"{sum(counts.values()):,} of {repeat.end - repeat.first:,}" if counts else ""
    name = shortened(block_name(boxes, repeat), _NAME)
    colour, dashed = CHANGE_COLOURS[kind], kind in _ONE_SIDED
    return replace(mark, value=value, name=name, colour=colour, is_dashed=dashed, about="\n".join(about))


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
