"""Which layer of one network is which of another: by the names that every step keeps, by the weights themselves, by place where certain.

Names are taken for lineage only where the layers that bear them are of one kind and geometry and are at least half of all: exporters number
layers alike in networks that have nothing to do with each other. Place is taken only where it is one: a box whose neighbour is matched
and that is alone of its kind beside it, and which counting from the inputs and from the outputs does not find twice in different places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.graph.layer_graph import LayerBox, LayerGraph

How = Literal["name", "weights", "place"]
_PRODUCTS = {"Gemm", "MatMul", "QGemm", "QLinearMatMul", "DynamicQuantizeMatMul", "MatMulNBits"}


@dataclass(frozen=True)
class Matches:
    """`pairs`: (position in the first, in the second) -> how it is known. `lineage`: whether one was made from the other, or both from a
    third, so that what is not matched is gone or new, not merely unknown.
    """

    pairs: dict[tuple[int, int], How]
    lineage: bool


def match_graphs(first: LayerGraph, second: LayerGraph, by_name: bool = True) -> Matches:
    """What of both is the same layer; `by_name`: whether names may be believed, which recipes know (engine/explain/network.py)."""
    least = max(1, min(_layers(first), _layers(second)) / 2)
    named = _unique(first, second, lambda box: box.name) if by_name else {}
    lineage = _count(first, named) >= least
    found: dict[tuple[int, int], How] = dict.fromkeys(named, "name") if lineage else {}
    _add(found, _unique(first, second, lambda box: box.weights), "weights")
    lineage = lineage or _count(first, found) >= least
    for kind in ("input", "output"):
        ends = [[i for i, box in enumerate(graph.boxes) if box.kind == kind] for graph in (first, second)]
        if len(ends[0]) == len(ends[1]):
            _add(found, dict.fromkeys(zip(*ends, strict=True)), "place")
    return Matches(_by_place(first, second, found, lineage), lineage)


def family(op_type: str) -> str:
    """The operator that a form for integers or a fused one stands for."""
    if op_type in _PRODUCTS or op_type.startswith(("FusedMatMul", "FusedGemm", "MatMulInteger")):
        return "MatMul"
    bare = op_type.removeprefix("Nhwc").removeprefix("Fused").removeprefix("QLinear").removeprefix("DynamicQuantize")
    return {"ConvInteger": "Conv", "GatherBlockQuantized": "Gather"}.get(bare, bare)


def alike(a: LayerBox, b: LayerBox) -> bool:
    """Whether two boxes may be one layer: of one family, with the same kernel, strides and groups as far as both are known."""
    geometry = zip(a.geometry, b.geometry, strict=False)
    return (
        a.kind == b.kind
        and family(a.op_type) == family(b.op_type)
        and all(x == y or not x or not y for x, y in geometry)
    )


def _layers(graph: LayerGraph) -> int:
    """Layers that hold weights or, where that is not known, whatever has a name."""
    return sum(box.is_layer for box in graph.boxes) or sum(
        box.kind == "operator" and bool(box.name) for box in graph.boxes
    )


def _count(graph: LayerGraph, pairs: Mapping[tuple[int, int], object]) -> int:
    boxes = [graph.boxes[a] for a, _ in pairs]
    known = any(box.is_layer for box in graph.boxes)
    return sum(box.is_layer if known else box.kind == "operator" for box in boxes)


def _unique(first: LayerGraph, second: LayerGraph, key: Callable[[LayerBox], str]) -> dict[tuple[int, int], None]:
    """Boxes that alone in their graph have a key, and the same one."""
    places = []
    for graph in (first, second):
        keys = [key(box) if box.kind == "operator" else "" for box in graph.boxes]
        counts = Counter(keys)
        places.append({k: i for i, k in enumerate(keys) if k and counts[k] == 1})
    both = ((i, places[1][k]) for k, i in places[0].items() if k in places[1])
    return {(a, b): None for a, b in both if alike(first.boxes[a], second.boxes[b])}


def _add(found: dict[tuple[int, int], How], pairs: Mapping[tuple[int, int], object], how: How) -> None:
    taken = {a for a, _ in found}, {b for _, b in found}
    for a, b in pairs:
        if a not in taken[0] and b not in taken[1]:
            found[a, b] = how


def _by_place(
    first: LayerGraph, second: LayerGraph, known: dict[tuple[int, int], How], lineage: bool
) -> dict[tuple[int, int], How]:
    """What is known, and what follows from it by the place in the graph.

    Counting from the inputs and from the outputs may contradict each other, as in a network of fewer blocks that are all alike. What
    rests on a contradiction is not taken, and without a lineage nothing of which either network has several.
    """
    down = _neighbours(first, True), _neighbours(second, True)
    up = _neighbours(first, False), _neighbours(second, False)
    found = dict(known)
    repeated = _repeated(first), _repeated(second)
    # Networks of different depth are not laid upon each other, either.
    strict = not lineage and _layers(first) != _layers(second)
    while True:
        grown = _grown(first, second, found, down, up), _grown(first, second, found, up, down)
        proposed = {**grown[0], **grown[1]}
        one = _one_to_one(proposed)
        strict = strict or (not lineage and len(one) < len(proposed))
        if strict:
            one = _one_to_one([(a, b) for a, b in proposed if a not in repeated[0] and b not in repeated[1]])
        agreed: dict[tuple[int, int], How] = {}
        for one_way in grown:
            for pair, parent in one_way.items():
                if pair in one and (strict or parent in found or parent in agreed):
                    agreed[pair] = "place"
        if not agreed:
            return found
        found |= agreed


def _one_to_one(pairs: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those that no other of the pairs contradicts."""
    known = set(pairs)
    times = Counter(a for a, _ in known), Counter(b for _, b in known)
    return {(a, b) for a, b in known if times[0][a] == times[1][b] == 1}


def _repeated(graph: LayerGraph) -> set[int]:
    """Boxes of which a graph has several that are alike, channels included."""
    kinds = [(box.kind, family(box.op_type), box.geometry, box.channels) for box in graph.boxes]
    counts = Counter(kinds)
    return {i for i, kind in enumerate(kinds) if counts[kind] > 1}


def _grown(
    first: LayerGraph,
    second: LayerGraph,
    known: Mapping[tuple[int, int], How],
    ahead: tuple[list[list[int]], list[list[int]]],
    behind: tuple[list[list[int]], list[list[int]]],
) -> dict[tuple[int, int], tuple[int, int]]:
    """Pairs that follow, one from the other, in one direction alone, each with the pair that it follows from."""
    partner = dict(known.keys())
    taken = set(partner.values())
    waiting = list(known)
    grown: dict[tuple[int, int], tuple[int, int]] = {}
    while waiting:
        a, b = waiting.pop()
        left = _alone(first, [x for x in ahead[0][a] if x not in partner])
        right = _alone(second, [y for y in ahead[1][b] if y not in taken])
        for key in (key for key in left if key in right):
            x, y = left[key], right[key]
            # What is known to come before the one comes before the other, too.
            if all(partner[p] in behind[1][y] for p in behind[0][x] if p in partner):
                partner[x] = y
                taken.add(y)
                grown[x, y] = a, b
                waiting.append((x, y))
    return grown


def _alone(graph: LayerGraph, places: Sequence[int]) -> dict[Hashable, int]:
    """Boxes that alone among these are of their kind."""
    kinds = [(graph.boxes[i].kind, family(graph.boxes[i].op_type), graph.boxes[i].geometry) for i in places]
    counts = Counter(kinds)
    return {kind: i for kind, i in zip(kinds, places, strict=True) if counts[kind] == 1}


def _neighbours(graph: LayerGraph, ahead: bool) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in graph.boxes]
    for a, b in graph.edges:
        found[a if ahead else b].append(b if ahead else a)
    return found
