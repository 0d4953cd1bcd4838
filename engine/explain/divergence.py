"""How far each layer's output in one file is from the same layer's in another: cosine and signal-to-noise ratio, along the graph.

Both files run side by side in ONNX Runtime with tensors inside them as further outputs, in small batches of which only sums are kept. A
layer is known by its node's name, which files that are made of a network keep. What is compared is what the layer hands on: after its
activation function, and after its rounding where it is rounded. Layers that give other shapes (pruned ones) are counted and left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engine.compress.quantize import prepare
from engine.errors import StepError
from engine.graph.counts import is_quantized
from engine.graph.graph import constant_names, open_session, with_outputs
from engine.graph.inline import inlined
from engine.graph.inputs import Feeds, Inputs, padded
from engine.graph.multiplying import factors_of, rounds_as_it_runs

Array = npt.NDArray[Any]

ALIKE_DB = 40.0
"""Beyond it the error is below 1 % of the signal, and counts as none where the largest fall is looked for."""
_LEAST_FALL_DB = 1.0
# Bytes that one run of a file may hand out, and samples in it at most.
_RUN_BYTES, _MOST_SAMPLES = 32 * 2**20, 64
# What a layer's output passes through and stays the layer's: activation functions that rounding takes in, and rounding.
_THROUGH = frozenset({"Relu", "Clip", "QuantizeLinear", "DequantizeLinear", "Cast"})
_INTEGER_SUMS = frozenset({"MatMulInteger", "ConvInteger"})


@dataclass(frozen=True)
class _Point:
    """Where a layer can be looked at: the tensor that it reads and the one that it hands on, both of floats."""

    op_type: str
    data: str
    output: str


@dataclass
class _Sums:
    """Of a tensor `a` of the one file and `b` of the other: Σab, Σa², Σb² and Σ(a − b)², in float64."""

    product: float = 0.0
    signal: float = 0.0
    found: float = 0.0
    noise: float = 0.0

    def add(self, a: Array, b: Array) -> None:
        a, b = (x.reshape(-1).astype(np.float64) for x in (a, b))
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite gives no number
            self.product += float(a @ b)
            self.signal += float(a @ a)
            self.found += float(b @ b)
            a -= b
            self.noise += float(a @ a)

    @property
    def cosine(self) -> float | None:
        size = math.sqrt(self.signal * self.found)
        return min(1.0, max(-1.0, self.product / size)) if 0 < size < math.inf else None

    @property
    def sqnr_db(self) -> float | None:
        """10 log10(Σa² / Σ(a − b)²); infinite where nothing differs, None where there is no number."""
        if self.noise == 0:
            return math.inf
        ratio = self.signal / self.noise if math.isfinite(self.noise) else 0.0
        return 10 * math.log10(ratio) if 0 < ratio < math.inf else None


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float graph as quantization finds it, batch norms folded, so that its layers' outputs are those of files made of it; any other
    graph as it is, functions written out.
    """
    if not is_quantized(model):
        try:
            return prepare(model)
        except StepError:
            pass
    return inlined(model)


def compare_layers(
    reference: onnx.ModelProto, found: onnx.ModelProto, images: Inputs, same: bool = True
) -> dict[str, Any]:
    """Every layer of `found` that `reference` has by the same name, in graph order, held against it on preprocessed inputs (n, …).

    Both graphs as `plain` makes them; where they are not the `same` network, names mean nothing and only outputs are compared.
    `layers`: [{name, op_type, cosine, sqnr_db, exact, before_db, before_exact}], decibels of what the layer hands on and of what it reads,
    None where nothing differs (`exact`) and where there is no number (a tensor of zeros); `output`: the same of the network's first output,
    None for other shapes; `others`: {name: the same} of its further outputs; `shared`, `compared`: how many layers have a namesake, and how
    many of those the same shape; `all`: layers of `found`. `largest`: the name of the first of those whose ratio falls most against that of
    what they read, None where none falls by a decibel; ratios above 40 dB count as 40. Raises StepError or ModelError for
    a graph that the runtime refuses.
    """
    mine, theirs = _points(reference), _points(found, biased=_biased(reference))
    names = [name for name in mine if name in theirs] if same else []
    named = [[o.name for o in m.graph.output] for m in (reference, found)]
    ends = list(zip(*named, strict=True)) if named[0] == named[1] else [(named[0][0], named[1][0])]
    batch, wanted, alike = _alike(reference, found, images, names, mine, theirs, ends)
    pairs = [
        pair
        for name in wanted
        for pair in ((mine[name].data, theirs[name].data), (mine[name].output, theirs[name].output))
    ]
    first = len(pairs)
    pairs += [pair for pair in ends if pair in alike]
    sums = [_Sums() for _ in pairs]
    for one, other in _both(reference, found, pairs, images, batch):
        for total, (a, b) in zip(sums, pairs, strict=True):
            total.add(one[a], other[b])
    layers = []
    for i, name in enumerate(wanted):
        before, after = sums[2 * i], sums[2 * i + 1]
        layers.append({"name": name, "op_type": mine[name].op_type} | _told(after) | _told_before(before))
    told = {pair: _told(total) for pair, total in zip(pairs[first:], sums[first:], strict=True)}
    return {
        "layers": layers,
        "output": told.get(ends[0]),
        "others": {pair[1]: told[pair] for pair in ends[1:] if pair in told},
        "shared": len(names),
        "compared": len(wanted),
        "all": len(theirs),
        "largest": largest_fall(layers),
    }


def _told(sums: _Sums) -> dict[str, Any]:
    ratio = sums.sqnr_db
    exact = ratio == math.inf
    return {"cosine": sums.cosine, "sqnr_db": None if exact else ratio, "exact": exact}


def _told_before(sums: _Sums) -> dict[str, Any]:
    found = _told(sums)
    return {"before_db": found["sqnr_db"], "before_exact": found["exact"]}


def largest_fall(layers: Sequence[dict[str, Any]]) -> str | None:
    """The layer of `compare_layers` whose ratio falls most; see there."""
    best, name = _LEAST_FALL_DB, None
    for layer in layers:
        before, after = (
            ALIKE_DB if layer[exact] else layer[key]
            for key, exact in (("before_db", "before_exact"), ("sqnr_db", "exact"))
        )
        if before is None or after is None:
            continue
        fall = min(before, ALIKE_DB) - min(after, ALIKE_DB)
        if fall > best:
            best, name = fall, layer["name"]
    return name


def _biased(model: onnx.ModelProto) -> frozenset[str]:
    """Layers that add a bias themselves."""
    known = constant_names(model)
    found = ((n, factors_of(n, known)) for n in model.graph.node)
    return frozenset(n.name or n.output[0] for n, factors in found if factors and factors.bias)


def _points(model: onnx.ModelProto, biased: frozenset[str] = frozenset()) -> dict[str, _Point]:
    """Every layer, in graph order; `biased`: those that add a bias in the other file, and may do it with a node of its own in this one."""
    known = constant_names(model)
    nodes = [n for n in model.graph.node if n.output and not set(n.output) <= known]
    makers = {o: n for n in nodes for o in n.output}
    readers: dict[str, list[onnx.NodeProto]] = {o.name: [] for o in model.graph.output}
    for node in nodes:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    ends = {o.name for o in model.graph.output}
    points: dict[str, _Point] = {}
    for node in nodes:
        factors = factors_of(node, known)
        if factors is None or factors.weight not in known:
            continue
        name, data = node.name or node.output[0], factors.data
        maker = makers.get(data)
        if maker is not None and maker.op_type == "DynamicQuantizeLinear":
            data = maker.input[0]
        adds = name in biased and not factors.bias
        points.setdefault(name, _Point(node.op_type, data, _handed_on(node, readers, ends, adds)))
    return points


def _handed_on(node: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]], ends: set[str], adds: bool) -> str:
    """The last tensor of floats that is this layer's own."""
    at = floats = node.output[0]
    rescaled = node.op_type not in _INTEGER_SUMS
    while at not in ends:
        some = readers.get(at, [])
        kinds = {n.op_type for n in some}
        if len(some) != 1 and kinds != {"DequantizeLinear"}:
            break
        kind = some[0].op_type
        if kind == "Mul" and not rescaled:
            rescaled = True
        elif kind == "Add" and adds and rescaled:
            adds = False
        elif kind not in _THROUGH:
            break
        at = some[0].output[0]
        if rescaled and kind != "QuantizeLinear":
            floats = at
    return str(floats)


def _alike(
    reference: onnx.ModelProto,
    found: onnx.ModelProto,
    images: Inputs,
    names: Sequence[str],
    mine: dict[str, _Point],
    theirs: dict[str, _Point],
    ends: Sequence[tuple[str, str]],
) -> tuple[int, list[str], list[tuple[str, str]]]:
    """How many samples to run at once, the layers whose tensors have the same shapes in both, and the outputs that have."""
    fixed = max(Feeds.of_graph(m).batch or 0 for m in (reference, found))
    every = [
        p for name in names for p in ((mine[name].data, theirs[name].data), (mine[name].output, theirs[name].output))
    ]
    one, other = next(_both(reference, found, [*every, *ends], images[: fixed or 1], fixed or 1))
    wanted = [
        name
        for name in names
        if all(
            one[getattr(mine[name], part)].shape == other[getattr(theirs[name], part)].shape
            for part in ("data", "output")
        )
    ]
    size = max(sum(value.nbytes for value in values.values()) for values in (one, other))
    # What rounds to the range of a batch answers otherwise in another.
    alone = rounds_as_it_runs(found) or rounds_as_it_runs(reference)
    batch = fixed or (1 if alone else int(np.clip(_RUN_BYTES // max(1, size), 1, _MOST_SAMPLES)))
    return batch, wanted, [(a, b) for a, b in ends if one[a].shape == other[b].shape]


def _both(
    reference: onnx.ModelProto, found: onnx.ModelProto, pairs: Sequence[tuple[str, ...]], images: Inputs, batch: int
) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """The tensors of each pair, by name, batch by batch; inputs of the graphs among them. A batch that is cut short is run only where there
    is no whole one and the file insists on its size.
    """
    sides = []
    for model, names in ((reference, dict.fromkeys(p[0] for p in pairs)), (found, dict.fromkeys(p[1] for p in pairs))):
        fed = {i.name for i in model.graph.input}
        inside = [name for name in names if name not in fed]
        feeds = Feeds.of_graph(model)
        sides.append((open_session(with_outputs(model, inside)), feeds, inside))
    fixed = any(feeds.batch for _, feeds, _ in sides)
    whole = len(images) // batch * batch if fixed and len(images) >= batch else len(images)
    for start in range(0, whole, batch):
        part = images[start : start + batch]
        values = []
        for session, feeds, inside in sides:
            feed = feeds(padded(part, feeds.batch or 0))
            values.append(feed | dict(zip(inside, session.run(inside, feed), strict=True)))
        yield values[0], values[1]
