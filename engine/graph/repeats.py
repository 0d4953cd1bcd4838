"""Blocks of a graph that follow each other and are alike, as a transformer's are: found by what their boxes are and how they are joined.

Boxes stand in the order in which they run; a block is a stretch of that order. Blocks repeat where their boxes are pairwise alike, joined
alike inside, each read the one before in the same places, and read of the rest of the graph the same boxes; and where nothing outside
reads of any but the last.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engine.graph.layer_graph import LayerBox

_LEAST_SAVED = 3
"""Fewer boxes than this are not worth hiding."""
_LONGEST = 2000
# Of each stretch that may hold blocks, so many beginnings are tried.
_MOST_PHASES = 200


@dataclass(frozen=True)
class Repeat:
    """`times` blocks of `length` boxes, from the box `first` on."""

    first: int
    length: int
    times: int

    @property
    def end(self) -> int:
        """The box after the last."""
        return self.first + self.length * self.times

    @property
    def saved(self) -> int:
        """How many boxes need not be drawn where one block stands for all."""
        return self.length * (self.times - 1)


def alike(box: LayerBox) -> Hashable | None:
    """What boxes share that can stand for each other: all but names, and numbers that were learned; None for an input or output."""
    if box.kind != "operator":
        return None
    return (
        box.op_type, box.operators, box.shape, box.channels, box.params, box.macs, box.weight_bits, box.activation_bits, box.geometry,
        box.inside,
    )  # fmt: skip


def repeats(kinds: Sequence[Hashable | None], edges: Sequence[tuple[int, int]]) -> tuple[Repeat, ...]:
    """The blocks that repeat, in order, none within another: those that hide most boxes first, of equal ones the shorter.

    `kinds`: for each box what it must share with others, None where it stands for itself; `edges` as in LayerGraph.
    """
    known: dict[Hashable, int] = {}
    codes = np.array([-1 - i if k is None else known.setdefault(k, len(known)) for i, k in enumerate(kinds)])
    joined = _Joined(len(codes), edges)
    stretches = [s for length in range(1, min(len(codes) // 2, _LONGEST) + 1) for s in _stretches(codes, length)]
    stretches.sort(key=lambda s: (-(s[2] - s[1] - s[0]), s[0], s[1]))
    found: list[Repeat] = []
    taken = np.zeros(len(codes), bool)
    for length, start, end in stretches:
        free = _free(taken, start, end)
        best = _best(joined, length, *free) if free[1] - free[0] >= 2 * length else None
        if best is not None:
            found.append(best)
            taken[best.first : best.end] = True
    return tuple(sorted(found, key=lambda repeat: repeat.first))


def collapsed(
    count: int, edges: Sequence[tuple[int, int]], found: Sequence[Repeat]
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """The graph with one box for all blocks of a repeat: where each of its `count` boxes goes, and the edges that are left, each once."""
    places, place, at = [], -1, {repeat.first: repeat for repeat in found}
    end = 0
    for box in range(count):
        if box in at:
            place, end = place + 1, at[box].end
        elif box >= end:
            place += 1
        places.append(place)
    left = dict.fromkeys((places[a], places[b]) for a, b in edges if places[a] != places[b])
    return tuple(places), tuple(left)


class _Joined:
    """Who reads whom."""

    def __init__(self, count: int, edges: Sequence[tuple[int, int]]) -> None:
        self.read: list[set[int]] = [set() for _ in range(count)]
        self.last_reader = [-1] * count
        for a, b in edges:
            self.read[b].add(a)
            self.last_reader[a] = max(self.last_reader[a], b)

    def crossing(self, repeat: Repeat) -> int | None:
        """How many boxes of a block the next one reads; None where the blocks are not joined alike."""
        patterns = [self._pattern(repeat, block) for block in range(repeat.times)]
        first, second = patterns[0], patterns[1]
        if any(pattern != second for pattern in patterns[2:]) or any(p is None for p in (first, second)):
            return None
        assert first is not None
        assert second is not None
        stands_for: dict[int, int] = {}
        for (inner, before, outer), (own, none, around) in zip(second, first, strict=True):
            # What the first block reads of the graph before it stands where the others read the block before them.
            instead = around - outer
            if inner != own or none or not outer <= around or len(instead) != len(before):
                return None
            if len(before) == 1 and stands_for.setdefault(min(before), min(instead)) != min(instead):
                return None
        crossing = {offset for _, before, _ in second for offset in before}
        # Only what the last block gives may be read further on.
        inner_end = repeat.end - repeat.length
        if any(self.last_reader[box] >= repeat.end for box in range(repeat.first, inner_end)):
            return None
        return len(crossing) or None

    def _pattern(self, repeat: Repeat, block: int) -> list[tuple[set[int], set[int], set[int]]] | None:
        """For each box of a block what it reads: offsets in its own block, offsets in the block before, boxes before all blocks."""
        start = repeat.first + block * repeat.length
        before = max(repeat.first, start - repeat.length)
        found = []
        for box in range(start, start + repeat.length):
            read = self.read[box]
            if any(repeat.first <= source < before or source >= start + repeat.length for source in read):
                return None
            found.append(
                (
                    {source - start for source in read if source >= start},
                    {source - before for source in read if before <= source < start},
                    {source for source in read if source < repeat.first},
                )
            )
        return found


def _stretches(codes: npt.NDArray[np.int64], length: int) -> list[tuple[int, int, int]]:
    """(length, begin, end) of where every box is like the one `length` further on, for two blocks at least."""
    same = np.concatenate([[False], codes[:-length] == codes[length:], [False]])
    turns = np.flatnonzero(np.diff(same.astype(np.int8)))
    return [
        (length, int(begin), int(end) + length)
        for begin, end in zip(turns[::2], turns[1::2], strict=True)
        if end - begin >= max(length, _LEAST_SAVED)
    ]


def _free(taken: npt.NDArray[np.bool_], start: int, end: int) -> tuple[int, int]:
    """The longest part of a stretch that no other block has."""
    held = np.flatnonzero(taken[start:end]) + start
    ends = [start - 1, *held.tolist(), end]
    gaps = [(a + 1, b) for a, b in pairwise(ends)]
    return max(gaps, key=lambda gap: gap[1] - gap[0])


def _best(joined: _Joined, length: int, start: int, end: int) -> Repeat | None:
    """The blocks in a stretch: as many as there are, cut where the fewest lines cross, the earliest of equal ones."""
    best: tuple[int, int, Repeat] | None = None
    for phase in range(min(length, end - start - 2 * length + 1, _MOST_PHASES)):
        for times in range((end - start - phase) // length, 1, -1):
            repeat = Repeat(start + phase, length, times)
            if repeat.saved < _LEAST_SAVED or (best and -best[0] > times):
                break
            crossing = joined.crossing(repeat)
            if crossing is not None:
                if best is None or (-times, crossing) < best[:2]:
                    best = (-times, crossing, repeat)
                break
    return best and best[2]
