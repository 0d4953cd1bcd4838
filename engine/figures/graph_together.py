"""Blocks that repeat, as one box of the picture of a network: what it is called, what it holds, and its number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from engine.graph.layer_graph import LayerBox
from engine.graph.repeats import Repeat

BITS = ("weight_bits", "activation_bits")


def block_title(boxes: Sequence[LayerBox], repeat: Repeat) -> str:
    """`6 × block of 12`, or of one box each `4 × Conv`."""
    what = boxes[repeat.first].op_type if repeat.length == 1 else f"block of {repeat.length}"
    return f"{repeat.times} × {what}"


def block_name(boxes: Sequence[LayerBox], repeat: Repeat) -> str:
    """Where names of the first and the last block part: `blocks.0 … blocks.5`; the first operators where names do not say."""
    ends = (repeat.first, repeat.end - repeat.length)
    for offset in range(repeat.length):
        parts = [boxes[start + offset].name.strip("/").split("/") for start in ends]
        for first, last in zip(*parts, strict=False):
            if first != last and any(letter.isdigit() for letter in first + last):
                return f"{first} … {last}"
    operators = dict.fromkeys(box.op_type for box in boxes[repeat.first : repeat.first + repeat.length])
    return ", ".join(operators)


def about_block(boxes: Sequence[LayerBox], repeat: Repeat) -> str:
    """All that is known of blocks that repeat, a line each."""
    inside = boxes[repeat.first : repeat.end]
    lines = [
        f"{block_title(boxes, repeat)}: {repeat.times} that are alike, one after another; click to see each of them",
        " → ".join(box.op_type for box in inside[: repeat.length]),
    ]
    for name, unit in (("params", "parameters"), ("bytes", "bytes"), ("macs", "MACs")):
        amounts = [n for box in inside if (n := getattr(box, name)) is not None]
        if sum(amounts):
            lines.append(f"{sum(amounts):,} {unit}, all of them together")
    for name, what in zip(BITS, ("weights", "activations"), strict=True):
        found = sorted({n for box in inside if (n := getattr(box, name)) is not None})
        if found:
            lines.append(f"{what} in {' and '.join(map(str, found))} bits")
    return "\n".join(lines)


def together(numbers: Sequence[float | None], colour: str, least: bool) -> float | None:
    """One number for many boxes: of bits the one that all have, None where they differ; else the sum, or the `least`."""
    known = [n for n in numbers if n is not None]
    if not known:
        return None
    if colour in BITS:
        return known[0] if all(a == b for a, b in pairwise(known)) else None
    return min(known) if least else sum(known)
