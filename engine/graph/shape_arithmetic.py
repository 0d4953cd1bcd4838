"""Shapes that a graph works out each time it runs, though they are the same for every input: stored instead.

The exporter writes `x.view(n, t, heads, -1)` as a dozen small nodes that read sizes off tensors. A transformer of four blocks has 300 of
them beside 60 that compute, and takes more than twice the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from engine.graph.graph import constant_names, open_session, with_outputs
from engine.graph.inputs import Array, Feeds
from engine.graph.tidy import constants_to_initializers, has_subgraphs

_BATCHES = (2, 3)
_MOST_NUMBERS = 1_000
"""What is larger than this is no shape."""


def settle_shapes(model: onnx.ModelProto) -> None:
    """Store what depends on the inputs' sizes alone and not on the batch, in place; a target shape that differs in the batch gets -1 there.

    The graph computes the same, for any batch. Nothing is done where other axes than the batch are free, or in graphs with branches.
    """
    constants_to_initializers(model.graph)
    feeds = Feeds.of_graph(model)
    free = [t for t in feeds.taken if not all(t.axes[1:])]
    if has_subgraphs(model.graph) or free or feeds.batch is not None:
        return
    sizes = _only_sizes(model)
    # What something else reads, which is to be kept; all that makes it is dropped with what else is not needed.
    read = [n for node in model.graph.node if not sizes.issuperset(node.output) for n in node.input if n in sizes]
    wanted = list(dict.fromkeys(read))
    if not wanted:
        return
    first, second = (_values(model, feeds, wanted, batch) for batch in _BATCHES)
    same = {n: v for n, v in first.items() if v.size <= _MOST_NUMBERS and np.array_equal(v, second[n])}
    targets = {n: t for n in wanted if n not in same and (t := _target(first[n], second[n])) is not None}
    for node in model.graph.node:
        if sizes.issuperset(node.output):
            continue
        for i, name in enumerate(node.input):
            if name in same:
                node.input[i] = f"{name}/settled"
            elif name in targets and node.op_type == "Reshape" and i == 1:
                node.input[i] = f"{name}/target"
    stored = {f"{n}/settled": v for n, v in same.items()} | {f"{n}/target": v for n, v in targets.items()}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in stored.items() if n in used)


def _only_sizes(model: onnx.ModelProto) -> set[str]:
    """Tensors that are made from sizes of tensors, and from constants, but not from what tensors hold."""
    constants, sizes = constant_names(model), set[str]()
    for node in model.graph.node:
        inputs = [name for name in node.input if name]
        known = all(name in constants or name in sizes for name in inputs)
        if node.op_type == "Shape" or (known and sizes.intersection(inputs) and "Random" not in node.op_type):
            sizes.update(node.output)
    return sizes - {o.name for o in model.graph.output}


def _values(model: onnx.ModelProto, feeds: Feeds, names: Sequence[str], batch: int) -> Mapping[str, Array]:
    blank = feeds.zeros(batch)
    session = open_session(with_outputs(model, names), onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC)
    return dict(zip(names, session.run(names, blank), strict=True))


def _target(first: Array, second: Array) -> Array | None:
    """A target shape of which one axis follows the batch, that axis left to the runtime; None for anything else."""
    if first.dtype != np.int64 or first.ndim != 1 or first.shape != second.shape or not (first > 0).all():
        return None
    moved = np.flatnonzero(first != second)
    if len(moved) != 1:
        return None
    target = first.copy()
    target[moved] = -1
    return target
