"""The difference of two networks, layer by layer: gone, new, narrower, other bits, another operator, more zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.graph.layer_graph import LayerBox, LayerGraph
from engine.graph.match_graphs import How, match_graphs

SAME, GONE, NEW, NARROWER, WIDER, BITS, SPARSER, OPERATOR = (
    "same", "gone", "new", "narrower", "wider", "other bits", "more zeros", "other operator",
)  # fmt: skip
FIRST_ALONE, SECOND_ALONE = "first alone", "second alone"
CHANGES = (SAME, GONE, NEW, NARROWER, WIDER, BITS, SPARSER, OPERATOR, FIRST_ALONE, SECOND_ALONE)
"""What may have happened to a layer; the last two where nothing says which layer of the one network became which of the other."""
_MORE_ZEROS = 0.01
_ACTIVATIONS = frozenset(
    {
        "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu", "Gelu", "Mish",
        "Softplus", "Softsign", "ThresholdedRelu", "QuickGelu", "FastGelu", "BiasGelu",
    }
)  # fmt: skip
_MOST_NAMES = 3


@dataclass(frozen=True)
class Pair:
    """One layer of both networks, or of one: positions in each, None where it has none. `changes` are of `CHANGES`, several at once;
    `said`: each in words and numbers. `how` it is known to be the same layer, None for one that is in one network alone.
    """

    first: int | None
    second: int | None
    how: How | None
    changes: tuple[str, ...]
    said: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """`pairs`: in the order in which the layers run. `lineage`: whether one was made from the other or both from a third; where not, what
    is in one alone may have a counterpart that could not be told for certain.
    """

    first: LayerGraph
    second: LayerGraph
    pairs: tuple[Pair, ...]
    lineage: bool

    def boxes(self, pair: Pair) -> tuple[LayerBox | None, LayerBox | None]:
        """The layer in each network."""
        return (
            None if pair.first is None else self.first.boxes[pair.first],
            None if pair.second is None else self.second.boxes[pair.second],
        )

    def box(self, pair: Pair) -> LayerBox:
        """The layer, as the second network has it, or else the first."""
        one, other = self.boxes(pair)
        box = other or one
        assert box is not None  # a pair is of one network at least
        return box

    def title(self, pair: Pair) -> str:
        """What the layer is called, in the second network or, where a step has lost its name, in the first."""
        one, other = self.boxes(pair)
        return next((box.title for box in (other, one) if box and box.name), self.box(pair).title)

    def edges(self) -> list[tuple[int, int, str]]:
        """(from, to, SAME | GONE | NEW), positions among the pairs."""
        at = (
            {p.first: i for i, p in enumerate(self.pairs) if p.first is not None},
            {p.second: i for i, p in enumerate(self.pairs) if p.second is not None},
        )
        sides = [
            {(place[a], place[b]) for a, b in graph.edges}
            for place, graph in zip(at, (self.first, self.second), strict=True)
        ]
        both = dict.fromkeys(sorted(sides[0] & sides[1]), SAME)
        both |= dict.fromkeys(sorted(sides[0] - sides[1]), GONE) | dict.fromkeys(sorted(sides[1] - sides[0]), NEW)
        return [(a, b, what) for (a, b), what in both.items()]


def graph_difference(first: LayerGraph, second: LayerGraph, by_name: bool = True) -> Difference:
    """What became of each layer of `first` in `second`; `by_name`: whether names may be believed."""
    matches = match_graphs(first, second, by_name)
    partner = dict(matches.pairs.keys())
    back = {b: a for a, b in partner.items()}
    gone, new = (GONE, NEW) if matches.lineage else (FIRST_ALONE, SECOND_ALONE)
    pairs: list[Pair] = []
    waiting = 0
    for b in range(len(second.boxes)):
        a = back.get(b)
        if a is None:
            pairs.append(Pair(None, b, None, (new,), ()))
            continue
        # What is gone stands where it was: before the next layer that is still there.
        pairs += [Pair(i, None, None, (gone,), ()) for i in range(waiting, a) if i not in partner]
        waiting = max(waiting, a + 1)
        changes, said = _changes(first.boxes[a], second.boxes[b])
        pairs.append(Pair(a, b, matches.pairs[a, b], changes, said))
    pairs += [Pair(a, None, None, (gone,), ()) for a in range(waiting, len(first.boxes)) if a not in partner]
    return Difference(first, second, tuple(pairs), matches.lineage)


def _changes(a: LayerBox, b: LayerBox) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    if a.channels and b.channels and a.is_layer and b.is_layer:
        for what, x, y in zip(("inputs", "channels"), a.channels, b.channels, strict=True):
            if x != y:
                found.setdefault(NARROWER if y < x else WIDER, []).append(f"{x:,} → {y:,} {what}")
    bits = (("weights", a.weight_bits, b.weight_bits), ("activations", a.activation_bits, b.activation_bits))
    for what, before, after in bits:
        if before and after and before != after:
            found.setdefault(BITS, []).append(f"{what} {before} → {after} bits")
    zeros = _zeros(a), _zeros(b)
    if a.weight_bits == b.weight_bits and zeros[1] - zeros[0] > _MORE_ZEROS:
        found[SPARSER] = [f"{zeros[0]:.0%} → {zeros[1]:.0%} of its weights are zero"]
    if (other := _operators(a, b, BITS in found)) is not None:
        found[OPERATOR] = [other]
    return tuple(found) or (SAME,), tuple(text for texts in found.values() for text in texts)


def _zeros(box: LayerBox) -> float:
    """The share of its parameters that are zero."""
    return 1 - (box.nonzero_params or 0) / box.params if box.params else 0.0


def _operators(a: LayerBox, b: LayerBox, other_bits: bool) -> str | None:
    """What else computes now; an integer form of the operator, and an activation within the range of a rounding, are other bits' own."""
    if a.op_type != b.op_type and not other_bits:
        return f"{a.op_type} → {b.op_type}"
    active = [[op for op in box.operators if op in _ACTIVATIONS] for box in (a, b)]
    rounds = any(
        op.endswith("QuantizeLinear") or op.startswith(("QLinear", "DynamicQuantize"))
        for op in b.operators + a.operators
    )
    if active[0] != active[1] and not rounds and not other_bits:
        return " → ".join(", ".join(ops) or "no activation" for ops in active)
    return None


_WORDS = {
    NARROWER: "narrower",
    WIDER: "wider",
    BITS: "in other bits",
    SPARSER: "with more zeros",
    OPERATOR: "with another operator",
}
_UNSURE = "names and weights do not say which layer became which, so layers are matched by place, where it is certain"


def summary(difference: Difference) -> str:
    """The difference in one sentence, without a full stop: "9 of 10 layers narrower, 10 in other bits, 1 gone (Softmax)"."""
    boxes = [(p, difference.box(p)) for p in difference.pairs]
    total = sum(box.is_layer for box in difference.first.boxes)
    parts: list[str] = []
    for change, words in _WORDS.items():
        of_layers = [box.is_layer for p, box in boxes if change in p.changes]
        if learned := sum(of_layers):
            count = f"{learned}" if parts else f"{learned} of {_count(total, 'layer')}"
            parts.append(f"{count} {words}")
        if others := len(of_layers) - learned:
            parts.append(f"{_count(others, 'operator')} without weights {words}")
    for change, words in (
        (GONE, "gone"), (NEW, "new"), (FIRST_ALONE, "in the first alone"), (SECOND_ALONE, "in the second alone"),
    ):  # fmt: skip
        if found := [box for p, box in boxes if change in p.changes]:
            parts.append(f"{len(found)} {words} ({_named(found)})")
    said = ", ".join(parts) if parts else f"the same {_count(total, 'layer')} in the same bits"
    return said if difference.lineage else f"{said}; {_UNSURE}"


def _named(boxes: Sequence[LayerBox]) -> str:
    kinds: dict[str, int] = {}
    for box in boxes:
        kinds[box.op_type] = kinds.get(box.op_type, 0) + 1
    names = [kind if n == 1 else f"{n} {kind}" for kind, n in kinds.items()]
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (
        f" and {more} more kinds" if more > 1 else f", {names[-1]}" if more == 1 else ""
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


IN_SHORT = ("layer", "operator", "changes", "details", "matched_by")
"""What of `difference_rows` says what became of a layer; the rest are the numbers of both."""


def difference_rows(difference: Difference) -> list[dict[str, Any]]:
    """The difference as a table, a row for each layer and operator; None where a network has none, or it is not known."""
    rows = []
    for pair in difference.pairs:
        one, other = difference.boxes(pair)
        if difference.box(pair).kind != "operator":
            continue
        row: dict[str, Any] = {
            "layer": difference.title(pair),
            "operator": difference.box(pair).op_type,
            "changes": ", ".join(pair.changes),
            "details": ", ".join(pair.said),
            "matched_by": pair.how,
        }
        for side, box in (("first", one), ("second", other)):
            row |= {f"{side}_{key}": value for key, value in box_row(box).items()}
        rows.append(row)
    return rows


def box_row(box: LayerBox | None) -> dict[str, Any]:
    """What is known of a layer, for a table; all None for none."""
    takes, gives = (box.channels or (None, None)) if box else (None, None)
    return {
        "operators": " ".join(box.operators) if box else None,
        "shape": "×".join(map(str, box.shape)) if box and box.shape is not None else None,
        "inputs": takes,
        "channels": gives,
        **{
            key: getattr(box, key, None)
            for key in ("params", "nonzero_params", "macs", "bytes", "weight_bits", "activation_bits")
        },
    }
