"""Which weights a graph has, and writing them in fewer bits: what weight-only and integer graphs share."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from engine.compress.packing import BIAS_FUNCTION, DOMAIN, bias_function, pack, quantize_rows, unpacking_function

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]

FULL_BITS_BELOW = 4
"""Under this many bits the first and the last layer keep 8: they hold few weights and most of the damage."""


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


def weight_names(graph: onnx.GraphProto) -> set[str]:
    """Initialisers that can be a layer's weight: float32 filters and matrices, not batches of matrices."""
    shapes = {t.name: len(t.dims) for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    batched = {n.input[1] for n in graph.node if n.op_type == "MatMul" and shapes.get(n.input[1], 2) != 2}
    return {name for name, rank in shapes.items() if rank >= 2} - batched


def layer_bits(layers: list[Layer], bits: int) -> dict[str, int]:
    """Bits for each weight initialiser; see FULL_BITS_BELOW."""
    chosen = {layer.weight: bits for layer in layers}
    if bits < FULL_BITS_BELOW:
        chosen |= {layers[0].weight: 8, layers[-1].weight: 8}
    return chosen


def as_rows(weight: Float32, axis: int, per_channel: bool) -> Float32:
    """(output channels, weights each), or one row for the whole tensor."""
    if not per_channel:
        return weight.reshape(1, -1)
    return np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)


def from_rows(rows: npt.NDArray[Any], shape: tuple[int, ...], axis: int, per_channel: bool) -> npt.NDArray[Any]:
    """The inverse of `as_rows`."""
    if not per_channel:
        return rows.reshape(shape)
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))


@dataclass
class Writer:
    """Collects the nodes, initialisers and functions that a rewritten graph gains."""

    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    functions: dict[str, onnx.FunctionProto] = field(default_factory=dict)
    _count: int = 0

    def store(self, value: npt.NDArray[Any]) -> str:
        """Keep an array as an initialiser; its name."""
        self._count += 1
        tensor = numpy_helper.from_array(np.asarray(value, order="C"), f"paretoscope_{self._count}")
        self.tensors.append(tensor)
        return tensor.name

    def add(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Add a node; the name of its output."""
        if not output:
            self._count += 1
            output = f"paretoscope_{self._count}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def dequantized(self, codes: Int8, scale: Float32, bits: int, layer: Layer) -> str:
        """Store codes in the smallest exact form; the float32 weight that DequantizeLinear makes of them, by name."""
        # Gemm's integer kernel is only chosen when a zero point is there; convolutions do without.
        zero = [self.store(np.zeros(scale.shape, np.int8))] if layer.node.op_type == "Gemm" else []
        inputs = [self.store(scale), *zero]
        if _packing_pays(codes.size, bits):
            return self._unpacked(codes, bits, inputs, axis=layer.axis)
        axis: dict[str, Any] = {"axis": layer.axis} if scale.ndim else {}
        return self.add("DequantizeLinear", [self.store(codes), *inputs], **axis)

    def scaled(self, codes: Int8, scale: Float32, bits: int, layer: Layer) -> str:
        """Store codes in the smallest exact form; the float32 weight that Cast and Mul make of them, by name."""
        broadcast = [1] * codes.ndim
        broadcast[layer.axis] = -1
        scale_name = self.store(scale.reshape(broadcast) if scale.ndim else scale)
        if _packing_pays(codes.size, bits):
            return self._unpacked(codes, bits, [scale_name])
        return self.add("Mul", [self.add("Cast", [self.store(codes)], to=onnx.TensorProto.FLOAT), scale_name])

    def bias(self, bias: Float32, data_scale: np.float32, weight_scale: Float32, compact: bool) -> str:
        """Store a bias as int32 codes of scale `data_scale * weight_scale`; the float32 bias made from them, by name.

        The scale is stored, in the plain form that every tool reads, or when `compact` computed at load, which saves
        its bytes.
        """
        scale = (data_scale * weight_scale).astype(np.float32)
        codes = np.clip(np.rint(bias.astype(np.float64) / scale), -(2**31), 2**31 - 1).astype(np.int32)
        if compact:
            self.functions[BIAS_FUNCTION] = bias_function(self.opset)
            inputs = [self.store(codes), self.store(weight_scale), self.store(np.asarray(data_scale))]
            return self.add(BIAS_FUNCTION, inputs, domain=DOMAIN)
        axis: dict[str, Any] = {"axis": 0} if scale.ndim else {}
        return self.add("DequantizeLinear", [self.store(codes), self.store(scale)], **axis)

    def _unpacked(self, codes: Int8, bits: int, inputs: list[str], **attributes: Any) -> str:
        function = unpacking_function(bits, self.opset, dequantize="axis" in attributes)
        self.functions[function.name] = function
        packed = self.store(pack(codes, bits))
        return self.add(function.name, [packed, *inputs], domain=DOMAIN, shape=list(codes.shape), **attributes)


def _packing_pays(size: int, bits: int) -> bool:
    """A call with its attributes takes some 40 bytes more than plain nodes."""
    return bits < 8 and size - bits * math.ceil(size / 8) > 40


def quantized_weight(
    weight: Float32,
    axis: int,
    bits: int,
    per_channel: bool,
    smallest_scale: npt.NDArray[np.float64] | float = 0.0,
) -> tuple[Int8, Float32]:
    """A weight -> (codes of its shape, scales: one per channel of `axis`, or a scalar array)."""
    rows = as_rows(weight, axis, per_channel)
    floor = smallest_scale if per_channel else np.max(smallest_scale)
    codes, scale = quantize_rows(rows, bits, floor)
    return from_rows(codes, weight.shape, axis, per_channel), scale if per_channel else scale.reshape(())


def finish(model: onnx.ModelProto, writer: Writer, body: list[onnx.NodeProto]) -> onnx.ModelProto:
    """A copy of `model` whose graph is the writer's weight nodes followed by `body`."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend([*writer.nodes, *body])
    result.graph.initializer.extend(writer.tensors)
    if writer.functions:
        result.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        result.functions.extend(writer.functions[name] for name in sorted(writer.functions))
    return result
