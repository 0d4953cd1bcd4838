"""A scheme in the plain form that every tool reads: codes in bytes, Quantize- and DequantizeLinear as nodes of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantization.block_weights import block_product, block_table
from engine.compress.quantization.builder import Builder
from engine.compress.quantization.dynamic import dynamic_product, is_dynamic
from engine.compress.quantization.grid import bias_codes, storable_bias
from engine.compress.quantization.kinds import how_rounded, integer_data, limit_codes
from engine.compress.quantization.others import dynamic_lstm, look_up, turned_back
from engine.compress.quantization.scheme import Codes, Float32, Scheme
from engine.compress.quantization.weights import Layer

_FINEST = 2**30


def plain_graph(scheme: Scheme) -> onnx.ModelProto:
    """The scheme's graph, each tensor rounded by nodes of its own."""
    builder = Builder(scheme.opset)
    sources = [i.name for i in scheme.model.graph.input]
    names = {source: _rounded(builder, scheme, source, source, builder.name()) for source in sources}
    weights: dict[str, str] = {}
    layers = {layer.output: layer for layer in scheme.layers}
    for node in scheme.copied_nodes():
        layer = layers.get(node.output[0])
        if written_otherwise(builder, scheme, layer, node, {}):
            continue
        if layer is not None and layer.weight in scheme.weights:
            if layer.weight not in weights:
                weights[layer.weight] = plain_weight(builder, scheme, layer)
            quantized_inputs(builder, scheme, layer, node, weights[layer.weight])
        else:
            float_inputs(builder, scheme, layer, node)
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name) or turned_back(builder, scheme, name, {})
        builder.nodes.append(node)
        for i, name in enumerate(node.output):
            if name in scheme.activations:
                node.output[i] = builder.name()
                _rounded(builder, scheme, name, node.output[i], name)
    return builder.model(scheme.model)


def written_otherwise(
    builder: Builder, scheme: Scheme, layer: Layer | None, node: onnx.NodeProto, flat: Mapping[str, str]
) -> bool:
    """Write a node of which something else is made than itself on rounded inputs; whether it was one. `flat`: packed codes, by weight."""
    if layer is not None and is_dynamic(scheme, layer):
        dynamic_product(builder, scheme, layer, node, flat.get(layer.weight, ""))
        return True
    if layer is not None and layer.weight in scheme.blocks:
        block_product(builder, scheme, layer, node)
        return True
    if block_table(builder, scheme, node) or look_up(builder, scheme, node, flat):
        return True
    return scheme.dynamic and dynamic_lstm(builder, scheme, node, flat)


def quantized_inputs(builder: Builder, scheme: Scheme, layer: Layer, node: onnx.NodeProto, weight: str) -> None:
    """Let a layer with codes read the rounded weight of that name, and its bias."""
    node.input[1] = weight
    bias = scheme.biases.get(layer.output)
    if bias is None:
        return
    codes, data = scheme.weights[layer.weight], integer_data(scheme, layer)
    del node.input[2:]
    if data is not None:
        unit = (codes.scale * data.scale).astype(np.float32)
        integers = np.rint(storable_bias(bias, codes.bits) / unit).astype(np.int32)
        axis: dict[str, Any] = {"axis": 0} if unit.ndim else {}
        node.input.append(builder.add("DequantizeLinear", [builder.store(integers), builder.store(unit)], **axis))
    elif layer.data in scheme.activations:
        integers, step = bias_codes(bias, codes.bits)
        node.input.append(_guarded(builder, integers.astype(np.int32), step))
    else:
        node.input.append(builder.store(storable_bias(bias, codes.bits)))


def float_inputs(builder: Builder, scheme: Scheme, layer: Layer | None, node: onnx.NodeProto) -> None:
    """Let a node without codes read its bias; one that ONNX Runtime would quantize on its own gets a bias that prevents it.

    The runtime (from 1.21 on) rounds stored weights of Conv, ConvTranspose and Gemm to 8 bits per tensor when their input comes from a
    DequantizeLinear, whatever the output: a layer that was to stay in float would not. It leaves those alone whose bias is no constant,
    and what DequantizeLinear makes of a constant it does not count as one.
    """
    bias = scheme.biases.get(layer.output) if layer else None
    if node.op_type in ("Conv", "ConvTranspose", "Gemm") and node.input[0] in scheme.activations:
        stored = {t.name: t for t in scheme.model.graph.initializer}
        if bias is None and len(node.input) > 2 and node.input[2]:
            bias = numpy_helper.to_array(stored[node.input[2]]).reshape(-1) if node.input[2] in stored else None
            if bias is None:
                return
        exact = np.zeros(_channels(node, stored), np.float32) if bias is None else bias
        step = max(np.float32(np.abs(exact).max(initial=0.0) / _FINEST), np.finfo(np.float32).tiny)
        del node.input[2:]
        node.input.append(_guarded(builder, np.rint(exact.astype(np.float64) / step).astype(np.int32), step))
    elif bias is not None:
        del node.input[2:]
        node.input.append(builder.store(bias))


def _guarded(builder: Builder, integers: Any, step: np.float32) -> str:
    return builder.add("DequantizeLinear", [builder.store(integers), builder.store(step)])


def _channels(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> int:
    """How many outputs a node without a bias computes; 1, which broadcasts, where its weight is not stored."""
    if node.input[1] not in stored:
        return 1
    attributes = {a.name: int(a.i) for a in node.attribute}
    shape = [int(n) for n in stored[node.input[1]].dims]
    if node.op_type == "ConvTranspose":
        return shape[1] * attributes.get("group", 1)
    return shape[1] if node.op_type == "Gemm" and not attributes.get("transB") else shape[0]


def plain_weight(builder: Builder, scheme: Scheme, layer: Layer, flat: str = "") -> str:
    """A layer's rounded weight, by name; from codes in bytes, or from the tensor `flat` of them."""
    codes = scheme.weights[layer.weight]
    zero, integer = codes.zero_point, integer_data(scheme, layer) is not None
    unsigned = integer and scheme.format == "u8u8"
    half = 0 if codes.symmetric else 2 ** (codes.bits - 1)
    shift, kind = (128 - half, np.uint8) if unsigned else (-half, np.int8)
    if flat:
        stored = builder.add("Reshape", [flat, builder.store(codes.codes.shape, np.int64)])
    else:
        stored = builder.store(codes.codes + shift, kind)
    if integer:
        inputs = [stored, builder.store(codes.scale)]
        # Gemm's integer kernel is only chosen when a zero point is there; convolutions do without.
        if half or unsigned or layer.node.op_type != "Conv":
            inputs.append(builder.store(zero + shift, kind))
        axis: dict[str, Any] = {"axis": codes.axis} if codes.scale.ndim else {}
        return builder.add("DequantizeLinear", inputs, **axis)
    value = builder.add("Cast", [stored], to=TensorProto.FLOAT)
    if half:
        value = builder.add("Sub", [value, builder.store(_along(zero - half, codes), np.float32)])
    return builder.add("Mul", [value, builder.store(_along(codes.scale, codes))])


def _along(values: Float32, codes: Codes) -> Any:
    """One value for each channel in a shape that broadcasts against the weight; a single one as it is."""
    if not values.ndim:
        return values
    return values.reshape([-1 if i == codes.axis else 1 for i in range(codes.codes.ndim)])


def stored_limits(builder: Builder, scheme: Scheme, tensor: str) -> str:
    """Store the largest code of each channel as the type of the tensor's codes, to be broadcast over (n, channels, …)."""
    codes, found = limit_codes(scheme, tensor), how_rounded(scheme, tensor)
    assert codes is not None
    assert found is not None
    dtype = helper.tensor_dtype_to_np_dtype(found[1].dtype)
    return builder.store(codes + found[1].offset, dtype)


def _rounded(builder: Builder, scheme: Scheme, tensor: str, exact: str, output: str) -> str:
    """Round `exact` as the scheme says of `tensor`; the rounded tensor's name, `exact` itself where it says nothing."""
    found = how_rounded(scheme, tensor)
    if found is None:
        return exact
    activation, how = found
    dtype = helper.tensor_dtype_to_np_dtype(how.dtype)
    scale = builder.store(activation.scale, np.float32)
    zero = builder.store(how.zero_point(activation), dtype)
    code = builder.add("QuantizeLinear", [exact, scale, zero])
    if how.clips:
        code = builder.add("Clip", [code, *(builder.store(end, dtype) for end in how.clips)])
    if how.limited:
        code = builder.add("Min", [code, stored_limits(builder, scheme, tensor)])
    return builder.add("DequantizeLinear", [code, scale, zero], output)
