"""Blocks that repeat: where they begin, how often they follow each other, and what is none although its boxes are alike."""

from __future__ import annotations

import numpy as np
import pytest

from engine.graph.repeats import Repeat, collapsed, repeats

BLOCK = ["norm", "up", "act", "down", "add"]


def chain(times: int, block: list[str] = BLOCK) -> tuple[list[str | None], list[tuple[int, int]]]:
    """An input, a stem, so many residual blocks, a norm as each block begins with, a head and an output."""
    kinds: list[str | None] = [None, "stem"]
    edges = [(0, 1)]
    before = 1
    for _ in range(times):
        first = len(kinds)
        kinds += block
        edges += [(before, first), (before, first + len(block) - 1)]
        edges += [(i, i + 1) for i in range(first, first + len(block) - 1)]
        before = first + len(block) - 1
    end = len(kinds)
    kinds += [block[0], "head", None]
    return kinds, [*edges, (before, end), (end, end + 1), (end + 1, end + 2)]


@pytest.mark.parametrize("times", [2, 3, 6, 24])
def test_blocks_are_cut_where_one_line_crosses(times: int) -> None:
    kinds, edges = chain(times)
    assert repeats(kinds, edges) == (Repeat(2, 5, times),)
    places, left = collapsed(len(kinds), edges, repeats(kinds, edges))
    assert places == (0, 1, *([2] * 5 * times), 3, 4, 5)
    assert left == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5))


def test_what_all_blocks_read_is_no_obstacle_and_what_one_reads_is() -> None:
    kinds, edges = chain(4)
    mask = [(1, 2 + 5 * block + 2) for block in range(4)]  # the stem, read by each activation
    assert repeats(kinds, edges + mask) == (Repeat(2, 5, 4),)
    assert repeats(kinds, [*edges, mask[2]]) == (Repeat(2, 5, 2),)
    # What one in the middle gives is read after the last: a U-shaped network.
    late = (3 + 5 * 1, len(kinds) - 2)
    assert all(r.first >= 12 or r.end <= 12 for r in repeats(kinds, [*edges, late]))


def test_a_block_that_differs_ends_the_run_and_short_ones_are_left() -> None:
    kinds, edges = chain(6)
    kinds[2 + 5 * 3 + 1] = "wider up"
    assert repeats(kinds, edges) == (Repeat(2, 5, 3), Repeat(22, 5, 2))
    assert repeats(*chain(1)) == ()
    line: list[str | None] = [None, *["conv"] * 3]
    assert repeats(line, [(0, 1), (1, 2), (2, 3)]) == ()
    assert repeats([*line, "conv"], [(0, 1), (1, 2), (2, 3), (3, 4)]) == (Repeat(1, 1, 4),)


def test_boxes_side_by_side_are_no_blocks_in_a_row() -> None:
    kinds: list[str | None] = [None, *["head", "scale"] * 4, "concat"]
    edges = [e for i in range(1, 9, 2) for e in ((0, i), (i, i + 1), (i + 1, 9))]
    assert repeats(kinds, edges) == ()


def test_random_graphs_lose_nothing() -> None:
    """Whatever is found, blocks do not overlap, are alike box by box, and the collapsed graph has every other box and edge."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        count = int(rng.integers(5, 60))
        kinds: list[str | None] = [str(k) for k in rng.integers(0, 3, count)]
        edges = sorted({(max(0, i - int(rng.integers(1, 3))), i) for i in range(1, count)})
        found = repeats(kinds, edges)
        inside: set[int] = set()
        for r in found:
            blocks = [kinds[r.first + b * r.length : r.first + (b + 1) * r.length] for b in range(r.times)]
            assert all(block == blocks[0] for block in blocks)
            assert inside.isdisjoint(range(r.first, r.end))
            inside.update(range(r.first, r.end))
        places, left = collapsed(count, edges, found)
        assert max(places) + 1 == count - sum(r.saved + r.length - 1 for r in found)
        assert {(places[a], places[b]) for a, b in edges if places[a] != places[b]} == set(left)
