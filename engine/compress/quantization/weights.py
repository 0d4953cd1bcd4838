"""Which weights a graph has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

PRODUCTS = ("MatMul", "Gemm")
"""Operators of which a layer is a matrix product."""


@dataclass(frozen=True)
class Layer:
    """A node that multiplies data by stored weights; tensors by name, `bias` "" for none, `axis` of output channels."""

    node: onnx.NodeProto
    data: str
    weight: str
    bias: str
    output: str
    axis: int


def find_layers(nodes: Iterable[onnx.NodeProto], stored: Collection[str]) -> list[Layer]:
    """Convolutions and plain matrix products whose weights are among the initialisers named, in graph order."""
    layers = []
    for node in nodes:
        if node.domain not in ("", "ai.onnx") or len(node.input) < 2 or node.input[1] not in stored:
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Conv":
            axis = 0
        elif node.op_type == "MatMul":
            axis = 1
        elif node.op_type == "Gemm" and not attributes.get("transA") and _is_plain(attributes):
            axis = 0 if attributes.get("transB") else 1
        else:
            continue
        bias = node.input[2] if len(node.input) > 2 else ""
        layers.append(Layer(node, node.input[0], node.input[1], bias, node.output[0], axis))
    return layers


def _is_plain(attributes: dict[str, Any]) -> bool:
    return bool(attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0)


# How many values these give depends on the data.
_PICKING = frozenset({"NonMaxSuppression", "NonZero", "Unique", "Compress"})


def compared_tensors(model: onnx.ModelProto, layers: Sequence[Layer]) -> list[str]:
    """What two roundings of a graph are held against each other by: its outputs, or what its last layers give where post-processing picks
    how many values there are, as a detector's does. `layers`: the graph's, with outputs by the name that both have.
    """
    if not any(node.op_type in _PICKING for node in model.graph.node):
        return [output.name for output in model.graph.output]
    leading: set[str] = set()
    read = {layer.data for layer in layers}
    for node in reversed(model.graph.node):
        if not (leading | read).isdisjoint(node.output):
            leading.update(node.input)
    return [layer.output for layer in layers if layer.output not in leading | read]


def weight_names(graph: onnx.GraphProto) -> set[str]:
    """Initialisers that can be a layer's weight: float32 filters and matrices, not batches of matrices."""
    shapes = {t.name: len(t.dims) for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    batched = {n.input[1] for n in graph.node if n.op_type == "MatMul" and shapes.get(n.input[1], 2) != 2}
    return {name for name, rank in shapes.items() if rank >= 2} - batched


_TURNED = "/turned"


def one_axis_each(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph, or a copy in which a matrix that layers use both straight and transposed is stored once for either.

    Its output channels lie along one axis for the one and along the other for the other, and integer kernels take scales along output
    channels alone. Float kernels do with one matrix.
    """
    layers = find_layers(model.graph.node, weight_names(model.graph))
    axes: dict[str, int] = {}
    turned = {x.output: x.weight for x in layers if axes.setdefault(x.weight, x.axis) != x.axis}
    if not turned:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        if node.output[0] in turned:
            node.input[1] += _TURNED
    for tensor in model.graph.initializer:
        if tensor.name in turned.values():
            result.graph.initializer.add().CopyFrom(tensor)
            result.graph.initializer[-1].name += _TURNED
    return result


def as_matrix(weight: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """A product's weight as (inputs, outputs); `axis` is that of its outputs."""
    return weight if axis == 1 else np.ascontiguousarray(weight.T)


def first_use(weight: str) -> str:
    """The name of a weight before `one_axis_each`."""
    return weight.removesuffix(_TURNED)


def layer_bits(layers: Sequence[Layer], bits: int, ends_8bit: bool) -> dict[str, int]:
    """Bits for each weight initialiser; the first and the last layer hold few weights and do most of the damage."""
    chosen = {layer.weight: bits for layer in layers}
    if ends_8bit and layers and bits < 8:
        chosen |= {layers[0].weight: 8, layers[-1].weight: 8}
    return chosen
