"""Small int8 networks in QDQ form, one for every path that ONNX Runtime's integer kernels take, and pictures that make them saturate."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _codes(name, array, dtype):
    return numpy_helper.from_array(np.asarray(array, dtype), name)


def qdq_net(
    weights,
    *,
    zero=3,
    weight_type=np.int8,
    data_type=np.uint8,
    size=6,
    group=1,
    pads=1,
    strides=(2, 1),
    dilations=(1, 1),
    per_channel=True,
    weight_zero=0,
    bits=8,
    seed=0,
    scale=None,
    head=None,
):
    """Quantized convolution `weights` (outputs, channels, rows, columns), then pooling and a quantized Gemm."""
    rng = np.random.default_rng(seed)
    outputs, channels = weights.shape[0], weights.shape[1] * group
    head = rng.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), (5, outputs)) if head is None else head
    # So that the sums' spread, about 300 · √K · 5,000 in codes, fills the output's range.
    spread = 0.002 / np.sqrt(np.prod(weights.shape[1:])) / 2
    scales = rng.uniform(spread, 3 * spread, outputs) if scale is None else np.full(outputs, scale)
    scales = scales if per_channel else scales[0]
    offset = 0 if data_type == np.uint8 else -128
    weight_offset = 0 if weight_type == np.int8 else 128
    tensors = [
        _codes("sx", 0.02, np.float32), _codes("zx", zero + offset, data_type),
        _codes("w", weights + weight_offset, weight_type), _codes("sw", scales, np.float32),
        _codes("zw", np.full(np.shape(scales), weight_offset + weight_zero), weight_type),
        _codes("b", rng.integers(-500, 500, outputs), np.int32),
        _codes("sy", 0.05, np.float32), _codes("zy", 100 + offset, data_type),
        _codes("h", head + weight_offset, weight_type), _codes("sh", 0.01, np.float32),
        _codes("zh", weight_offset, weight_type),
    ]  # fmt: skip
    tensors.append(_codes("sb", numpy_helper.to_array(tensors[0]) * numpy_helper.to_array(tensors[3]), np.float32))
    node, axis = helper.make_node, {"axis": 0} if per_channel else {}
    pads = [pads] * 4 if isinstance(pads, int) else list(pads)
    window = {"pads": pads, "group": group, "strides": list(strides), "dilations": list(dilations)}
    nodes = [
        node("QuantizeLinear", ["input", "sx", "zx"], ["xq"]), node("DequantizeLinear", ["xq", "sx", "zx"], ["x"]),
        node("DequantizeLinear", ["w", "sw", "zw"], ["wf"], **axis),
        node("DequantizeLinear", ["b", "sb"], ["bf"], **axis),
        node("Conv", ["x", "wf", "bf"], ["y"], "conv", **window),
        node("QuantizeLinear", ["y", "sy", "zy"], ["yq"]), node("DequantizeLinear", ["yq", "sy", "zy"], ["yf"]),
        node("GlobalMaxPool", ["yf"], ["p"]), node("Flatten", ["p"], ["f"]),
        node("QuantizeLinear", ["f", "sy", "zy"], ["fq"]), node("DequantizeLinear", ["fq", "sy", "zy"], ["ff"]),
        node("DequantizeLinear", ["h", "sh", "zh"], ["hf"]),
        node("Gemm", ["ff", "hf"], ["logits"], "head", transB=1),
    ]  # fmt: skip
    return _model(nodes, ["N", channels, size, size], ["N", 5], tensors)


def product_net(*, inner=37, outputs=21, rounded=True, dynamic=False, weight_zero=0, seed=0):
    """A matrix product of rows of pixels: QLinearMatMul, MatMulIntegerToFloat (not `rounded`), or rounded on the spot (`dynamic`)."""
    rng = np.random.default_rng(seed)
    node = helper.make_node
    tensors = [
        _codes("sx", 0.02, np.float32), _codes("zx", 3, np.uint8), _codes("sw", 0.003, np.float32),
        _codes("w", rng.integers(-127, 128, (inner, outputs)), np.int8), _codes("zw", weight_zero, np.int8),
        _codes("sy", 0.1, np.float32), _codes("zy", 100, np.uint8),
    ]  # fmt: skip
    if dynamic:
        nodes = [
            node("DynamicQuantizeLinear", ["input"], ["xq", "xs", "xz"]),
            node("MatMulInteger", ["xq", "w", "xz", "zw"], ["sums"]),
            node("Cast", ["sums"], ["real"], to=TensorProto.FLOAT),
            node("Mul", ["xs", "sw"], ["unit"]), node("Mul", ["real", "unit"], ["logits"]),
        ]  # fmt: skip
    else:
        nodes = [
            node("QuantizeLinear", ["input", "sx", "zx"], ["xq"]), node("DequantizeLinear", ["xq", "sx", "zx"], ["x"]),
            node("DequantizeLinear", ["w", "sw", "zw"], ["wf"]),
            node("MatMul", ["x", "wf"], ["y" if rounded else "logits"], "product"),
        ]  # fmt: skip
        if rounded:
            nodes += [node("QuantizeLinear", ["y", "sy", "zy"], ["yq"])]
            nodes += [node("DequantizeLinear", ["yq", "sy", "zy"], ["logits"])]
    return _model(nodes, ["N", 1, 4, inner], ["N", 1, 4, outputs], tensors)


def _model(nodes, shape, result, tensors) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "qdq",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, result)], tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def random_weights(shape, bits=8, seed=0):
    return np.random.default_rng(seed).integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), shape)


def images(n, channels, size=6, width=None, seed=0):
    """Pixels whose codes reach 255: 0.02 · 255 is 5.1."""
    return np.random.default_rng(seed).uniform(-0.5, 6, (n, channels, size, width or size)).astype(np.float32)


CONVOLUTIONS = {
    "direct": ((16, 8, 3, 3), {}),
    "direct, outputs no multiple of 16": ((24, 4, 3, 3), {}),
    "direct, zero point 0": ((16, 8, 3, 3), {"zero": 0, "strides": (1, 1)}),
    "pointwise, direct": ((16, 8, 1, 1), {"pads": 0, "strides": (1, 1)}),
    "unfolded: few outputs": ((8, 8, 3, 3), {}),
    "unfolded: odd channels": ((16, 3, 3, 3), {}),
    "unfolded: odd channels, even kernel": ((10, 5, 3, 2), {"pads": (0, 1, 2, 1)}),
    "unfolded: one channel": ((16, 1, 3, 3), {}),
    "unfolded: one output": ((1, 6, 3, 3), {}),
    "pointwise, odd channels": ((16, 7, 1, 1), {"pads": 0}),
    "one row of sums": ((20, 6, 3, 3), {"pads": 0, "size": 3, "zero": 0}),
    "long sums": ((18, 130, 3, 3), {"size": 3}),
    "dilated": ((16, 8, 3, 3), {"dilations": (2, 2), "pads": 2}),
    "grouped": ((16, 4, 3, 3), {"group": 2}),
    "grouped, odd channels": ((12, 3, 3, 3), {"group": 4}),
    "two outputs a channel": ((16, 1, 3, 3), {"group": 8}),
    "one scale": ((16, 8, 3, 3), {"per_channel": False}),
    "weights' zero point": ((16, 8, 3, 3), {"weight_zero": 5}),
    "padding that saturates": ((16, 8, 3, 3), {"zero": 200}),
    "padding that saturates, unfolded": ((10, 5, 3, 3), {"zero": 200, "strides": (1, 2)}),
    "s8s8": ((16, 8, 3, 3), {"data_type": np.int8}),
    "s8s8, unfolded": ((10, 5, 3, 3), {"data_type": np.int8}),
}
"""Convolutions whose kernels add pairs in 16 bits: (weights' shape, options of `qdq_net`)."""
EXACT_CONVOLUTIONS = {
    "depthwise": ((16, 1, 3, 3), {"group": 16}),
    "depthwise, channels no multiple of 16": ((10, 1, 3, 3), {"group": 10}),
    "depthwise, 25 weights": ((16, 1, 5, 5), {"group": 16, "pads": 2}),
    "one channel in, one out": ((1, 1, 3, 3), {}),
    "u8u8": ((16, 8, 3, 3), {"weight_type": np.uint8}),
    "u8u8, unfolded": ((10, 5, 3, 3), {"weight_type": np.uint8}),
    "s8u8": ((16, 8, 3, 3), {"data_type": np.int8, "weight_type": np.uint8}),
    "s8s8, depthwise": ((16, 1, 3, 3), {"data_type": np.int8, "group": 16}),
}
"""Convolutions whose kernels are exact on every CPU."""
PRODUCTS = {
    "product": {},
    "product, zero point": {"weight_zero": -4},
    "product of many": {"inner": 700, "outputs": 40},
    "product, not rounded": {"rounded": False},
    "product, rounded on the spot": {"dynamic": True},
}


def case(name, bits=8):
    """A network of `CONVOLUTIONS`, `EXACT_CONVOLUTIONS` or `PRODUCTS`, and four pictures; one where it rounds to what is in a batch."""
    if name in PRODUCTS:
        options = PRODUCTS[name]
        return product_net(**options), images(1 if options.get("dynamic") else 4, 1, 4, options.get("inner", 37))
    shape, options = (CONVOLUTIONS | EXACT_CONVOLUTIONS)[name]
    model = qdq_net(random_weights(shape, bits), bits=bits, **options)
    return model, images(4, shape[1] * options.get("group", 1), options.get("size", 6))
