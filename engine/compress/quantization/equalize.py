"""Cross-layer equalisation: channels between two convolutions rescaled so that a layer's filters have like ranges.

Where y = W2 · f(W1 x + b1) and f passes positive factors through, dividing channel i of W1 and b1 by s_i and multiplying the weights of W2
that read it by s_i changes nothing. s_i = sqrt(range of W1's filter i / range of what reads it) makes both ranges equal (Nagel et al. 2019,
arXiv:1906.04721, section 4.1). One scale for a whole weight then fits all its filters, which those of depthwise convolutions rarely are.

ReLU6 passes no factors through: its bound becomes one per channel, 6 / s_i. It is kept exactly, as ReLU and a minimum with those bounds; in
integer networks the minimum is taken of the codes (place.py), where it costs one pass over bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from engine.compress.quantization.qdq_placement import clipped_range
from engine.compress.quantization.weights import Layer, find_layers, weight_names

Float64 = npt.NDArray[np.float64]
Stored = dict[str, npt.NDArray[Any]]

_HOMOGENEOUS = ("Relu", "LeakyRelu")
_ROUNDS = 40
_CHANGE = 1e-3
"""Largest relative change of a scale after which another round is not worth while."""
# Filters that are all but zero have nothing to equalise.
_SMALLEST_SHARE = 1e-6


@dataclass(frozen=True)
class _Pair:
    """Two convolutions, one after the other, and the bounded activation between them, if there is one."""

    first: Layer
    second: Layer
    clip: onnx.NodeProto | None


def equalize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A prepared float graph -> one that computes the same (to rounding) with equalised weights; a copy where there is nothing to do."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    pairs = _find_pairs(result.graph, stored)
    weights = {x.weight: stored[x.weight].astype(np.float64) for pair in pairs for x in (pair.first, pair.second)}
    scales = [np.ones(len(weights[pair.first.weight])) for pair in pairs]
    for _ in range(_ROUNDS):
        change = 0.0
        for pair, scale in zip(pairs, scales, strict=True):
            factor = _factors(pair, weights)
            _rescale(pair, weights, factor)
            scale *= factor
            change = max(change, float(np.abs(factor - 1).max(initial=0.0)))
        if change < _CHANGE:
            break
    _store(result, pairs, weights, scales, stored)
    return result


def _find_pairs(graph: onnx.GraphProto, stored: Stored) -> list[_Pair]:
    """Convolutions that only the next convolution reads, through at most one activation; weights used elsewhere too are left alone."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {o.name for o in graph.output}
    convolutions = {x.output: x for x in find_layers(graph.node, weight_names(graph)) if x.node.op_type == "Conv"}
    by_data = {x.data: x for x in convolutions.values()}
    pairs = []
    for first in convolutions.values():
        name, clip = first.output, None
        following = readers.get(name, [])
        if name not in outputs and len(following) == 1 and following[0].input[0] == name:
            limits = clipped_range(following[0], stored)
            if following[0].op_type in _HOMOGENEOUS or (limits is not None and limits[0] == 0):
                clip = following[0] if limits is not None and np.isfinite(limits[1]) else None
                name = following[0].output[0]
        second = by_data.get(name)
        if second is None or name in outputs or len(readers[name]) != 1:
            continue
        if all(len(readers[x.weight]) == 1 for x in (first, second)):
            pairs.append(_Pair(first, second, clip))
    return pairs


def _grouped(weight: Float64, layer: Layer) -> Float64:
    """A view (groups, filters of a group, input channels of a group, the rest): axes 0 and 2 together are the layer's input channels."""
    groups = next((int(a.i) for a in layer.node.attribute if a.name == "group"), 1)
    return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)


def _factors(pair: _Pair, weights: dict[str, Float64]) -> Float64:
    """What to divide each channel between the two by, (channels,); 1 for channels without weights on either side."""
    first = np.abs(weights[pair.first.weight]).reshape(len(weights[pair.first.weight]), -1).max(axis=1)
    second = np.abs(_grouped(weights[pair.second.weight], pair.second)).max(axis=(1, 3)).reshape(-1)
    alive = (first > first.max() * _SMALLEST_SHARE) & (second > second.max() * _SMALLEST_SHARE)
    factors: Float64 = np.sqrt(np.where(alive, first, 1.0) / np.where(alive, second, 1.0))
    return factors


def _rescale(pair: _Pair, weights: dict[str, Float64], factor: Float64) -> None:
    """Divide the filters of the first and multiply what reads them in the second, in place."""
    weights[pair.first.weight] /= factor.reshape(-1, *[1] * (weights[pair.first.weight].ndim - 1))
    view = _grouped(weights[pair.second.weight], pair.second)
    view *= factor.reshape(view.shape[0], 1, view.shape[2], 1)


def _store(
    model: onnx.ModelProto, pairs: list[_Pair], weights: dict[str, Float64], scales: list[Float64], stored: Stored
) -> None:
    """Put rescaled weights, biases and bounds into the graph, in place."""
    new = {name: value.astype(np.float32) for name, value in weights.items()}
    nodes = {n.output[0]: n for n in model.graph.node}
    bounded: dict[str, str] = {}
    for pair, scale in zip(pairs, scales, strict=True):
        node = nodes[pair.first.output]
        if pair.first.bias:
            # Layers with equal biases share one initialiser.
            node.input[2] = f"{pair.first.output}/bias"
            new[node.input[2]] = (stored[pair.first.bias].reshape(-1) / scale).astype(np.float32)
        if pair.clip is not None:
            limits = clipped_range(pair.clip, stored)
            assert limits is not None
            bound = bounded[pair.clip.output[0]] = f"{pair.clip.output[0]}/bound"
            shape = (1, -1, *[1] * (len(weights[pair.first.weight].shape) - 2))
            new[bound] = (limits[1] / scale).astype(np.float32).reshape(shape)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
    del model.graph.node[:]
    for node in copies:
        if node.output[0] not in bounded:
            model.graph.node.append(node)
            continue
        positive = f"{node.output[0]}/positive"
        model.graph.node.append(helper.make_node("Relu", [node.input[0]], [positive]))
        model.graph.node.append(helper.make_node("Min", [positive, bounded[node.output[0]]], [node.output[0]]))
    kept = [t for t in model.graph.initializer if t.name not in new]
    tensors = [onnx.TensorProto.FromString(t.SerializeToString()) for t in kept]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*tensors, *(numpy_helper.from_array(v, k) for k, v in new.items())])
