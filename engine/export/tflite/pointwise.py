"""What works on numbers one by one or lays tensors beside each other: sums, products, bounds, curves, softmax, concatenation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engine.export.tflite.flat import Scale
from engine.export.tflite.network import Network, Value
from engine.export.tflite.source import refusal

Array = npt.NDArray[Any]

SHARES = Scale(1 / 256, -128)
"""What SOFTMAX and LOGISTIC give, whatever comes after: fixed by the specification of int8."""
_SIGNED_SHARES = Scale(1 / 128, 0)


def quantize(net: Network, node: onnx.NodeProto) -> None:
    """QuantizeLinear: another name for what is in its scale already, an input of the file, or QUANTIZE."""
    (scale, above), name = net.source.rounding(node), node.input[0]
    if name in net.source.inputs and name not in net.values:
        made = net.new(name, net.input_axes(name), scale)
        net.values[name] = made
        net.flat.inputs.append(made.tensor)
    net.values[node.output[0]] = replace(net.rescaled(net.value(node), scale), above=above)


def dequantize(net: Network, node: onnx.NodeProto) -> None:
    """DequantizeLinear of what a QuantizeLinear gave: the same codes, meant as values."""
    value = net.value(node)
    (scale, _), zero = net.source.rounding(node), value.scale
    if scale != zero:
        raise refusal(node, "reads codes in another scale than they were rounded to", "export the network again")
    net.values[node.output[0]] = replace(value, above=None)


def same(net: Network, node: onnx.NodeProto) -> None:
    """Identity and Dropout."""
    net.values[node.output[0]] = net.value(node)


def pair(net: Network, node: onnx.NodeProto) -> None:
    """Add and Mul of two computed tensors."""
    kind = {"Add": "ADD", "Mul": "MUL"}[node.op_type]
    first, second = net.straight(net.value(node, 0)), net.value(node, 1)
    if len(first.shape) != len(second.shape) or len(first.shape) > 4:
        raise refusal(
            node,
            f"joins {first.shape} and {second.shape}",
            "only tensors of the same number of axes, up to four, can be",
        )
    second, target = net.ordered(second, first.axes), net.source.target(node)
    made = net.new(node.output[0], first.axes, target.scale)
    net.flat.operator(kind, [first.tensor, second.tensor], made.tensor, kind.title())
    net.finish(made, target)


def bound(net: Network, node: onnx.NodeProto) -> None:
    """Relu and Clip, of values or of codes."""
    value, ends = net.value(node), net.source.ends(node)
    if ends is None:
        raise refusal(node, "has computed ends", "only stored ones can be written")
    if value.above is not None:
        codes = [int(np.clip(end - value.above, -128, 127)) for end in ends]
        ones = (1,) * len(value.shape)
        if codes[0] > -128:
            value = net.limited(value, "MAXIMUM", np.full(ones, codes[0], np.int8))
        net.values[node.output[0]] = (
            net.limited(value, "MINIMUM", np.full(ones, codes[1], np.int8)) if codes[1] < 127 else value
        )
        return
    target = net.source.target(node)
    net.finish(net.bounded(net.rescaled(value, target.scale), ends), target)


def limit(net: Network, node: onnx.NodeProto) -> None:
    """Min and Max of a tensor and stored numbers, one each channel or one for all."""
    kind = {"Min": "MINIMUM", "Max": "MAXIMUM"}[node.op_type]
    stored = next((c for name in node.input[1:] if (c := net.source.constant(name)) is not None), None)
    if len(node.input) != 2 or stored is None:
        raise refusal(node, "compares computed tensors", "only comparison with stored numbers can be written")
    value = net.straight(net.value(node))
    rank = len(value.shape)
    if stored.ndim > rank:
        raise refusal(
            node, f"compares {value.shape} with {stored.shape}", "only numbers of no more axes can be written"
        )
    stored = stored.reshape((1,) * (rank - stored.ndim) + stored.shape).transpose(value.axes)
    if value.above is not None:
        codes = np.clip(stored.astype(np.int64) - value.above, -128, 127).astype(np.int8)
        net.values[node.output[0]] = net.limited(value, kind, codes)
        return
    target = net.source.target(node)
    net.finish(net.limited(net.rescaled(value, target.scale), kind, target.scale.codes(stored)), target)


def curve(net: Network, node: onnx.NodeProto) -> None:
    """Sigmoid and Tanh, whose result has a fixed scale, and LeakyRelu, whose has any."""
    value, target = net.value(node), net.source.target(node)
    value = net.straight(value)
    fixed = {"Sigmoid": SHARES, "Tanh": _SIGNED_SHARES}.get(node.op_type)
    scale = fixed or target.scale
    made = net.new(node.output[0], value.axes, scale)
    if node.op_type == "LeakyRelu":
        alpha = float(net.source.attributes(node).get("alpha", 0.01))
        net.flat.operator("LEAKY_RELU", [value.tensor], made.tensor, "LeakyRelu", alpha=alpha)
    else:
        net.flat.operator({"Sigmoid": "LOGISTIC", "Tanh": "TANH"}[node.op_type], [value.tensor], made.tensor)
    net.finish(made if target.free else net.rescaled(made, target.scale), target)


def softmax(net: Network, node: onnx.NodeProto) -> None:
    """Softmax: SOFTMAX over the last axis of the tensor, in steps of 1/256."""
    value = net.straight(net.value(node))
    rank = len(value.shape)
    axis = int(net.source.attributes(node).get("axis", -1)) % rank
    if value.axes[-1] != axis:
        value = net.ordered(value, [*(a for a in value.axes if a != axis), axis])
    target = net.source.target(node)
    made = net.new(node.output[0], value.axes, SHARES)
    net.flat.operator("SOFTMAX", [value.tensor], made.tensor, "Softmax", beta=1.0)
    net.finish(made if target.free else net.rescaled(made, target.scale), target)


def concatenate(net: Network, node: onnx.NodeProto) -> None:
    """Concat: CONCATENATION of tensors that are all brought into the scale of the result."""
    target = net.source.target(node)
    values: list[Value] = [net.rescaled(net.straight(net.value(node, i)), target.scale) for i in range(len(node.input))]
    axes = values[0].axes
    axis = axes.index(int(net.source.attributes(node)["axis"]) % len(axes))
    made = net.new(node.output[0], axes, target.scale)
    tensors = [net.ordered(value, axes).tensor for value in values]
    net.flat.operator("CONCATENATION", tensors, made.tensor, "Concatenation", axis=axis)
    net.finish(made, target)
