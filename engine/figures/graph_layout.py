"""Where the boxes of a directed graph go, in layers from the top, and how the lines between them run.

The layout is fast-sugiyama's (MIT; no dependencies, 0.3 MB; bindings of the Rust crate rust-sugiyama): layers by network simplex, few
crossings, places after Brandes and Köpf 2002. Of the others grandalf and igraph are under the GPL, Graphviz is a program or needs a runtime
for WebAssembly, and graphlay, whose lines are finer, took 20 s for two blocks of 24 layers each of which reads all before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import fast_sugiyama

Point = tuple[float, float]
_SPACING = 10.0
_MOST_BENDS = 15_000
"""A line bends in every layer that it passes; of more the longest are drawn straight, or a mask that all layers read costs seconds."""
# A line takes as much room between boxes as this share of a box.
_LANE = 0.3


@dataclass(frozen=True)
class Layout:
    """`places`: the middle of each box, in widths of a box to the right and layers downwards, from 0. `routes`: what each edge passes on
    its way, in the same units, without its ends. `columns`, `layers`: the furthest place.
    """

    places: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    columns: float
    layers: float


def layered(count: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """The places of boxes 0 to `count` - 1 and the ways of the edges, of which each is there once and none leads from a box to itself."""
    routed = _short_enough(count, edges)
    # Numbered without gaps: the library numbers what it puts into long edges from there.
    number = {box: i for i, box in enumerate(sorted({end for edge in routed for end in edge}))}
    box_of = {i: box for box, i in number.items()}
    places: dict[int, Point] = {}
    routes: dict[tuple[int, int], tuple[Point, ...]] = {}
    right = 0.0
    for part, lines in _parts([(number[a], number[b]) for a, b in routed]):
        leftmost, top = min(x for x, _ in part.values()), max(y for _, y in part.values())
        at = {i: (right + (x - leftmost) / _SPACING, (top - y) / _SPACING) for i, (x, y) in part.items()}
        places |= {box_of[i]: point for i, point in at.items() if i in box_of}
        onward = {a: b for a, b in lines if a not in box_of}
        for a, b in lines:
            passed = []
            while a in box_of and b not in box_of:
                passed.append(at[b])
                b = onward[b]
            if a in box_of:
                routes[box_of[a], box_of[b]] = tuple(passed)
        # Parts that nothing connects stand side by side.
        right = max(x for x, _ in at.values()) + 1
    for box in range(count):
        if box not in places:
            places[box], right = (right, 0.0), right + 1
    return Layout(
        tuple(places[box] for box in range(count)),
        tuple(routes.get(edge, ()) for edge in edges),
        max((x for x, _ in places.values()), default=0.0),
        max((y for _, y in places.values()), default=0.0),
    )


def _parts(edges: list[tuple[int, int]]) -> list[tuple[dict[int, Point], list[tuple[int, int]]]]:
    """Each connected part: where its boxes and the bends of its lines are, and the pieces of the lines."""
    if not edges:
        return []
    found = fast_sugiyama.from_edges(
        edges, minimum_length=1, vertex_spacing=_SPACING, dummy_vertices=True, dummy_size=_LANE
    )
    return [
        ({int(i): (float(x), float(y)) for i, (x, y) in part}, [(int(a), int(b)) for a, b in lines or []])
        for part, _, _, lines in found
    ]


def _short_enough(count: int, edges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The edges without the longest, as far as all of them would bend too often."""
    depth = [0] * count
    for a, b in sorted(edges, key=lambda edge: edge[1]):
        if a < b:
            depth[b] = max(depth[b], depth[a] + 1)
    bends, kept = 0, []
    for a, b in sorted(edges, key=lambda edge: abs(depth[edge[1]] - depth[edge[0]])):
        bends += max(0, abs(depth[b] - depth[a]) - 1)
        if bends > _MOST_BENDS:
            break
        kept.append((a, b))
    return sorted(kept)
