"""Ranges moved from activations to weights, channel by channel (SmoothQuant; Xiao et al. 2022, arXiv:2211.10438).

A few channels of what a transformer's matrices multiply are many times larger than the others, and one scale for the whole tensor leaves
the others a handful of codes. Each channel j is divided by `max |x_j|^strength / max |w_j|^(1 - strength)`, and the rows of all matrices
that read it are multiplied by that: the float network answers as before. Where a tensor comes from a LayerNormalization and has no other
reader, that takes the division in; elsewhere it is a multiplication of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engine.compress.quantization.calibrate import runs
from engine.compress.quantization.scheme import Float32
from engine.compress.quantization.weights import PRODUCTS, Layer, as_matrix, find_layers, weight_names
from engine.graph.inputs import Inputs
from engine.graph.multiplying import SMOOTHING

_LEAST = 1e-5
# Channels are moved by no more than this, either way: what was all but zero on calibration data may be more elsewhere.
_MOST = 1e3


def smooth(model: onnx.ModelProto, calibration: Inputs, strength: float) -> onnx.ModelProto:
    """A copy of a graph that `prepare` made, with ranges moved; the same graph where nothing in it multiplies matrices.

    `strength`: 0 leaves activations as they are but for evening out weights, 1 moves all of their differences. Raises StepError for
    calibration data of the wrong shape.
    """
    layers = [x for x in find_layers(model.graph.node, weight_names(model.graph)) if x.node.op_type in PRODUCTS]
    readers: dict[str, list[Layer]] = {}
    for layer in layers:
        readers.setdefault(layer.data, []).append(layer)
    uses = [name for node in model.graph.node for name in node.input] + [o.name for o in model.graph.output]
    # A matrix that several nodes read, a table for one, cannot be scaled for one of them.
    readers = {name: some for name, some in readers.items() if all(uses.count(x.weight) == 1 for x in some)}
    if not readers:
        return model
    largest = _largest(model, list(readers), calibration)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    stored = {t.name: t for t in result.graph.initializer}
    before: dict[str, list[onnx.NodeProto]] = {}
    for name, some in readers.items():
        weights = [as_matrix(numpy_helper.to_array(stored[x.weight]), x.axis) for x in some]
        factor = _factors(largest[name], np.max([np.abs(w).max(1) for w in weights], axis=0), strength)
        for layer, weight in zip(some, weights, strict=True):
            scaled = weight * factor[:, None]
            value = np.ascontiguousarray(scaled if layer.axis == 1 else scaled.T)
            stored[layer.weight].CopyFrom(numpy_helper.from_array(value, layer.weight))
        if not _taken_in(result.graph, name, len(some), factor, stored):
            scale = numpy_helper.from_array((1 / factor).astype(np.float32), f"{name}{SMOOTHING}")
            result.graph.initializer.append(scale)
            node = helper.make_node("Mul", [name, scale.name], [f"{name}/smooth"], f"{name}/smooth")
            outputs = {x.output for x in some}
            for reader in result.graph.node:
                if reader.output[0] in outputs:
                    reader.input[0] = node.output[0]
                    before.setdefault(reader.output[0], [])
            first = next(n for n in result.graph.node if n.output[0] in outputs)
            before[first.output[0]].append(node)
    nodes = [part for node in result.graph.node for part in (*before.get(node.output[0], []), node)]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del result.graph.node[:]
    result.graph.node.extend(copies)
    return result


def _largest(model: onnx.ModelProto, tensors: Sequence[str], calibration: Inputs) -> dict[str, Float32]:
    """max |x| of each channel, the last axis, of each tensor."""
    found: dict[str, Float32] = {}
    for values in runs(model, tensors, calibration):
        for name, value in zip(tensors, values, strict=True):
            seen = np.abs(value.reshape(-1, value.shape[-1])).max(0)
            found[name] = np.maximum(found[name], seen) if name in found else seen
    return found


def _factors(activations: Float32, weights: Float32, strength: float) -> Float32:
    """What each channel is divided by, their geometric mean 1."""
    wanted = np.log(np.maximum(activations, _LEAST)) * strength - np.log(np.maximum(weights, _LEAST)) * (1 - strength)
    factor: Float32 = np.exp(np.clip(wanted - wanted.mean(), -np.log(_MOST), np.log(_MOST))).astype(np.float32)
    return factor


def _taken_in(
    graph: onnx.GraphProto, name: str, readers: int, factor: Float32, stored: dict[str, onnx.TensorProto]
) -> bool:
    """Divide scale and bias of the LayerNormalization that makes a tensor, where nobody else reads them or it; whether that was done."""
    count = sum(list(node.input).count(name) for node in graph.node)
    maker = next((n for n in graph.node if name in n.output), None)
    if maker is None or maker.op_type != "LayerNormalization" or count != readers or name == graph.output[0].name:
        return False
    learned = list(maker.input[1:3])
    shared = any(sum(list(n.input).count(x) for n in graph.node) != 1 for x in learned)
    if shared or any(x not in stored or stored[x].dims != [len(factor)] for x in learned):
        return False
    for x in learned:
        stored[x].CopyFrom(numpy_helper.from_array((numpy_helper.to_array(stored[x]) / factor).astype(np.float32), x))
    return True
