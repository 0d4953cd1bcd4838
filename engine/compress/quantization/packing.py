"""Weights in exactly N bits: numbers to bytes, densely or sparsely; unpacking.py has the way back in ONNX operators.

Codes are stored unsigned, with an offset of 2^(N-1), as N rows of bytes: N is split into pieces of 4, 2 and 1 bits (7 = 4 + 2 + 1, highest
first), and a piece of b bits takes b rows, each byte holding 8 / b codes, the first in its highest bits. So a byte is looked up in a table.

Sparse forms of a flat array of codes, both exact:
- mask: one bit per weight, and the codes that are not zero;
- gaps: for each code that is not zero, how many zeros stand before it, in g bits; a run longer than 2^g - 1 is broken by a stored zero
  (the relative indexing of Han et al. 2016, "Deep Compression", arXiv:1510.00149).
Below about a fifth of non-zeros the gaps are the smaller.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

PER_BYTE = 8
"""Rows of packed bits hold a multiple of so many codes."""
_GAP_BITS = (1, 2, 3, 4, 5, 6, 7)


@dataclass(frozen=True)
class Form:
    """How a flat array of codes is stored."""

    kind: Literal["dense", "mask", "gaps"]
    gap_bits: int = 0


DENSE, MASK = Form("dense"), Form("mask")
FORMS = (DENSE, MASK, *(Form("gaps", g) for g in _GAP_BITS))


def pieces(bits: int) -> list[tuple[int, int]]:
    """(width, lowest bit) of each piece, highest first: 7 -> [(4, 3), (2, 1), (1, 0)]."""
    result, left = [], bits
    for width in (4, 2, 1):
        if left >= width:
            left -= width
            result.append((width, left))
    return result


def shifts(width: int) -> UInt8:
    """How far each of the 8 / width codes of a byte is shifted, as a row."""
    return np.arange(8 - width, -1, -width, dtype=np.uint8)[None, :]


def pack(codes: npt.NDArray[Any], bits: int) -> UInt8:
    """Numbers 0 .. 2^bits - 1 of any shape, 1 to 7 bits -> bytes of shape (bits, ceil(codes.size / 8))."""
    padded = np.zeros(-(-codes.size // PER_BYTE) * PER_BYTE, np.uint8)
    padded[: codes.size] = codes.reshape(-1)
    rows = []
    for width, lowest in pieces(bits):
        part = (padded >> lowest) & (2**width - 1)
        octets = np.bitwise_or.reduce(part.reshape(-1, 8 // width) << shifts(width), axis=1)
        rows.append(octets.reshape(width, -1))
    return np.concatenate(rows).astype(np.uint8)


def packed_bytes(count: int, bits: int) -> int:
    """What `count` numbers take, packed, or as they are with 8 bits and more."""
    return count * bits // 8 if bits >= 8 else bits * math.ceil(count / PER_BYTE)


def split_gaps(used: npt.NDArray[np.bool_], gap_bits: int) -> tuple[UInt8, Int64]:
    """Positions of True in a flat array -> (gaps, positions), the breaks of long runs among them.

    An entry lies gap + 1 after the one before; the first counts from -1.
    """
    longest = 2**gap_bits
    positions = np.flatnonzero(used)
    steps = np.diff(positions, prepend=-1)
    breaks = (steps - 1) // longest
    entries = np.repeat(steps - breaks * longest, breaks + 1)
    # Of the entries of one step all but the last are breaks, each a whole run on.
    last = np.cumsum(breaks + 1) - 1
    is_break = np.ones(len(entries), bool)
    is_break[last] = False
    entries[is_break] = longest
    return (entries - 1).astype(np.uint8), np.cumsum(entries) - 1


def form_bytes(used: npt.NDArray[np.bool_], bits: int, form: Form) -> int:
    """What a flat array takes in a form, `used` where it is not zero; nodes and padding left out."""
    if form.kind == "dense":
        return packed_bytes(used.size, bits)
    nonzero = int(np.count_nonzero(used))
    if form.kind == "mask":
        return packed_bytes(used.size, 1) + packed_bytes(nonzero, bits)
    entries = nonzero + int(((np.diff(np.flatnonzero(used), prepend=-1) - 1) // 2**form.gap_bits).sum())
    return packed_bytes(entries, form.gap_bits) + packed_bytes(entries, bits)


def smallest_forms(arrays: Iterable[npt.NDArray[np.bool_]], bits: int, node_bytes: int) -> list[Form]:
    """The form of each array that makes the file smallest; a sparse form in use costs `node_bytes` of nodes, and gaps have one width."""
    used = list(arrays)
    costs = {form: [form_bytes(u, bits, form) for u in used] for form in FORMS}
    best, least = [DENSE] * len(used), sum(costs[DENSE])
    for gaps in FORMS[2:]:
        for allowed in ((DENSE, MASK), (DENSE, gaps), (DENSE, MASK, gaps)):
            chosen = [min(allowed, key=lambda form, i=i: costs[form][i]) for i in range(len(used))]
            total = sum(costs[form][i] for i, form in enumerate(chosen)) + node_bytes * len(set(chosen) - {DENSE})
            if total < least:
                best, least = chosen, total
    return best
