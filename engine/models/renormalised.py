"""Batch norms that an export folded into the convolutions before them, put back: without them training soon diverges.

A norm with the mean and deviation that its input has on real samples, and the same as shift and scale, changes no answer. It is again what
keeps signals in size while weights move, and is folded away again when the network is exported. Never imports torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from engine.graph.graph import open_session, with_outputs
from engine.graph.inputs import Feeds, Inputs
from engine.models.lowered import one_size

Floats = npt.NDArray[np.float64]
_NORMS = frozenset({"LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization", "LRN"})
_EPSILON = 1e-5
# Samples at once: what all convolutions give for them is in memory.
_BATCH = 10


def renormalised(graph: onnx.ModelProto, samples: Inputs, source: str) -> tuple[onnx.ModelProto, int]:
    """A copy of a graph of free batch with a batch norm behind each convolution that seems to have lost one, and how many these are.

    They are those with a bias and no norm behind them, that give more than one position, in graphs without norms of another kind. Raises
    ModelError for a graph that takes batches of one size alone.
    """
    found = onnx.ModelProto()
    found.CopyFrom(graph)
    if any(node.op_type in _NORMS for node in graph.graph.node):
        return found, 0
    outputs = {o.name for o in graph.graph.output}
    normed = {name for node in graph.graph.node if node.op_type == "BatchNormalization" for name in node.input[:1]}
    stored = {t.name: t for t in graph.graph.initializer}
    bare = [
        node.output[0]
        for node in graph.graph.node
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] in stored
        and node.output[0] not in outputs | normed
    ]  # fmt: skip
    moments = _moments(graph, bare, samples, source) if bare else {}
    nodes: list[onnx.NodeProto] = []
    for node in found.graph.node:
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
        if node.output and node.output[0] in moments:
            nodes.append(_norm(found.graph, nodes[-1], *moments[node.output[0]]))
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    return found, len(moments)


def _norm(graph: onnx.GraphProto, conv: onnx.NodeProto, mean: Floats, variance: Floats) -> onnx.NodeProto:
    """The norm of a convolution, which takes over its bias; it gives the tensor that the convolution gave."""
    name, bias = conv.output[0], next(t for t in graph.initializer if t.name == conv.input[2])
    shift = numpy_helper.to_array(bias).astype(np.float64)
    del conv.input[2]
    conv.output[0] = f"{name}/bare"
    parts = {"scale": np.sqrt(variance + _EPSILON), "shift": mean, "mean": mean - shift, "variance": variance}
    for part, values in parts.items():
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), f"{name}/{part}"))
    inputs = [conv.output[0], *(f"{name}/{part}" for part in parts)]
    return helper.make_node("BatchNormalization", inputs, [name], f"{conv.name}_norm", epsilon=_EPSILON)


def _moments(
    graph: onnx.ModelProto, names: list[str], samples: Inputs, source: str
) -> dict[str, tuple[Floats, Floats]]:
    """Mean and variance of each channel of tensors (n, channels, …) on samples; those of one position alone are left out."""
    session = open_session(with_outputs(graph, names), onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    feeds = Feeds.of_graph(graph)
    counts, sums, squares = dict[str, int](), dict[str, Floats](), dict[str, Floats]()
    for start in range(0, len(samples), _BATCH):
        try:
            found = session.run(names, feeds(samples[start : start + _BATCH]))
        except Exception as error:  # the runtime's own classes share no base below Exception
            raise one_size(source, error) from None
        for name, value in zip(names, found, strict=True):
            if value[0, 0].size > 1 and np.isfinite(value).all():
                rows = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1).astype(np.float64)
                counts[name] = counts.get(name, 0) + rows.shape[1]
                sums[name] = sums.get(name, 0) + rows.sum(1)
                squares[name] = squares.get(name, 0) + np.square(rows).sum(1)
    means = {name: sums[name] / counts[name] for name in sums}
    return {name: (mean, np.maximum(squares[name] / counts[name] - mean**2, 0)) for name, mean in means.items()}
