"""Layers with stored weights: convolutions, depthwise ones, matrix products."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx

from engine.export.tflite.flat import Scale
from engine.export.tflite.network import CHANNELS_LAST, Network
from engine.export.tflite.source import refusal
from engine.export.tflite.windows import VALID, placed, window_of

_LARGEST = 2**31 - 1
_ROOM_FOR_ZEROS = 2**20


@dataclass(frozen=True)
class _Layer:
    """Codes (outputs, …), their scales (one, or one an output) and biases (outputs,); `last` is the node that gives the layer's result."""

    last: onnx.NodeProto
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]


def convolution(net: Network, node: onnx.NodeProto) -> None:
    """Conv: CONV_2D, or DEPTHWISE_CONV_2D where every channel has filters of its own."""
    groups = int(net.source.attributes(node).get("group", 1))
    layer = _layer(net, node, 0)
    filters = layer.codes
    window = window_of(net, node, net.value(node), filters.shape[2:])
    depthwise = groups > 1 and filters.shape[1] == 1
    if groups > 1 and not depthwise:
        raise refusal(
            node,
            f"has {groups} groups of {filters.shape[1]} channels, and TFLite Micro has convolutions of one group or one channel each",
            "choose a network without grouped convolutions",
        )
    if filters.ndim == 3:
        filters = filters[:, :, None]
    target = net.source.target(layer.last)
    scales, bias = _fitted(net, node, layer, window.scale, target.scale)
    tensor, padding = placed(net, window, "zero")
    options = {"dilationHFactor": window.dilations[0], "dilationWFactor": window.dilations[1]}
    if depthwise:
        stored = net.flat.constant(np.moveaxis(filters[:, 0], 0, -1)[None], scales, axis=3)
        kind = "DEPTHWISE_CONV_2D"
        options["depthMultiplier"] = len(filters) // groups
    else:
        stored, kind = net.flat.constant(np.moveaxis(filters, 1, -1), scales, axis=0), "CONV_2D"
    made = window.written(net, node, target.scale, kind, [tensor, stored, bias], padding, options)
    net.finish(made, target)


def product(net: Network, node: onnx.NodeProto) -> None:
    """Gemm, or MatMul and the Add of a stored bias after it, of one row: FULLY_CONNECTED.

    With one scale an output it becomes a 1×1 CONV_2D: the specification of int8 has such scales for convolutions alone, and runtimes from
    before they were also taken elsewhere read the first of them and no other.
    """
    said = net.source.attributes(node)
    if said.get("transA") or said.get("alpha", 1.0) != 1.0 or said.get("beta", 1.0) != 1.0:
        raise refusal(
            node, "transposes or multiplies what it reads", "export the layer with transA 0, alpha 1 and beta 1"
        )
    value = net.value(node)
    if len(value.shape) != 2 or value.shape[0] != 1:
        raise refusal(node, f"multiplies {value.shape}", "only products of one row, (N, features), can be written")
    layer = _layer(net, node, 0 if said.get("transB") else 1)
    target = net.source.target(layer.last)
    tensor, order = net.columns(value)
    codes = np.ascontiguousarray(layer.codes[:, order])
    scales, bias = _fitted(net, node, layer, value.scale, target.scale)
    made = net.new(layer.last.output[0], (0, 1), target.scale)
    if len(scales) == 1:
        row = tensor if net.flat.shape_of(tensor) == value.shape else net.viewed(value, value.shape)
        inputs = [row, net.flat.constant(codes, scales), bias]
        net.flat.operator("FULLY_CONNECTED", inputs, made.tensor, "FullyConnected")
    else:
        point = net.viewed(value, (1, 1, 1, codes.shape[1]))
        wide = net.flat.tensor((1, 1, 1, len(codes)), target.scale)
        inputs = [point, net.flat.constant(codes[:, None, None], scales, axis=0), bias]
        net.flat.operator("CONV_2D", inputs, wide, "Conv2D", padding=VALID, strideH=1, strideW=1)
        net.reshape(wide, made.tensor)
    net.finish(made, target)


def _layer(net: Network, node: onnx.NodeProto, axis: int) -> _Layer:
    """A layer whose output channels lie along `axis` of its weight, and what alone reads it and can be done by its numbers."""
    weight = net.source.weight(node, node.input[1])
    if weight.scales.size > 1 and weight.axis != axis:
        raise refusal(node, "has one scale an input channel", "quantize with one scale an output channel")
    codes, bias = np.moveaxis(weight.codes, axis, 0), np.zeros(weight.codes.shape[axis])
    if len(node.input) > 2 and node.input[2]:
        found = net.source.bias(node.input[2])
        if found is None or found.size not in (1, len(bias)):
            raise refusal(node, "adds a computed bias", "only stored ones can be written")
        bias = bias + found
    return _followed(net, _Layer(node, codes, weight.scales.astype(np.float64), bias))


def _followed(net: Network, layer: _Layer) -> _Layer:
    """The layer with a stored bias that is added after it (of products), and with the batch norm after that, if there are such."""
    output = layer.last.output[0]
    readers = net.source.readers.get(output, [])
    if len(readers) != 1 or output in net.source.outputs:
        return layer
    after = readers[0]
    if after.op_type == "Add" and layer.codes.ndim == 2:
        added = net.source.bias(after.input[1 if after.input[0] == output else 0])
        if added is None or added.size not in (1, len(layer.bias)):
            return layer
        net.done.add(output)
        return _followed(net, replace(layer, last=after, bias=layer.bias + added))
    if (norm := _norm(net, after)) is None:
        return layer
    factor, shift = norm
    signs = np.sign(factor).astype(np.int8).reshape(-1, *[1] * (layer.codes.ndim - 1))
    net.done.add(output)
    scales = np.where(factor == 0, layer.scales, layer.scales * np.abs(factor))
    return _Layer(after, layer.codes * signs, scales, layer.bias * factor + shift)


def _norm(net: Network, node: onnx.NodeProto) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """What a batch norm of stored numbers multiplies each channel by, and what it adds then; None for any other node."""
    stored = [net.source.constant(name) for name in node.input[1:]]
    if node.op_type != "BatchNormalization" or any(values is None for values in stored) or len(node.output) > 1:
        return None
    gain, shift, mean, variance = (np.asarray(values, np.float64) for values in stored)
    factor = gain / np.sqrt(variance + net.source.attributes(node).get("epsilon", 1e-5))
    return factor, shift - mean * factor


def batch_norm(net: Network, node: onnx.NodeProto) -> None:
    """A BatchNormalization of rounded numbers: DEPTHWISE_CONV_2D of one place, 127 steps a channel."""
    value, norm = net.value(node), _norm(net, node)
    if norm is None:
        raise refusal(node, "computes its numbers", "export the network for inference")
    factor, shift = norm
    rank = len(value.shape)
    value = net.ordered(value, CHANNELS_LAST.get(rank, range(rank)))
    if rank > 4 or value.shape[0] != 1:
        raise refusal(node, f"works on {value.shape}", "only vectors, series and images of one sample can be written")
    codes = (127 * np.sign(factor)).astype(np.int8)
    target = net.source.target(node)
    layer = _Layer(node, codes[:, None, None, None], np.abs(factor) / 127, shift)
    scales, bias = _fitted(net, node, layer, value.scale, target.scale)
    made = net.new(node.output[0], value.axes, target.scale)
    image = value.tensor if rank == 4 else net.viewed(value, (1, 1, math.prod(value.shape[2:]), value.shape[1]))
    wide = made.tensor if rank == 4 else net.flat.tensor(net.flat.shape_of(image), target.scale)
    inputs = [image, net.flat.constant(codes[None, None, None], scales, axis=3), bias]
    how = {"padding": VALID, "strideH": 1, "strideW": 1, "depthMultiplier": 1}
    net.flat.operator("DEPTHWISE_CONV_2D", inputs, wide, "DepthwiseConv2D", **how)
    if wide != made.tensor:
        net.reshape(wide, made.tensor)
    net.finish(made, target)


def _fitted(net: Network, node: onnx.NodeProto, layer: _Layer, data: Scale, out: Scale) -> tuple[list[float], int]:
    """The scales of a layer's weight, and its stored biases: int32 in steps of data times weight, as the runtimes want them.

    A channel without any weight but zeros is its bias alone, in steps of its own. Raises ModelError where 32 bits do not hold the bias,
    or not what comes out before it is scaled down.
    """
    scales, bias = layer.scales, layer.bias
    rows = np.abs(layer.codes.reshape(len(bias), -1).astype(np.int64)).sum(axis=1)
    dead = rows == 0
    if dead.any() and (scales.size > 1 or dead.all()):
        scales = np.broadcast_to(scales, len(rows)).copy()
        scales[dead] = np.maximum(np.abs(bias[dead]) / _ROOM_FOR_ZEROS, out.scale / 256) / data.scale
    scales = scales[:1] if (scales == scales[0]).all() else scales
    scales = scales.astype(np.float32).astype(np.float64)
    steps = np.rint(bias / (data.scale * scales))
    # A multiplier above 1 is a shift to the left, before which runtimes do not look whether there is room.
    shift = np.maximum(1.0, 2.0 ** np.ceil(np.log2(data.scale * scales / out.scale)))
    if ((np.abs(steps) + 255.0 * rows) * shift > _LARGEST).any():
        raise refusal(
            node,
            f"needs more than 32 bits for its sums (a bias of {np.abs(bias).max():.3g} in steps of {(data.scale * scales).min():.3g})",
            "quantize with per_channel: false",
        )
    units = [float(np.float32(data.scale) * np.float32(s)) for s in scales]
    return [float(s) for s in scales], net.flat.constant(steps.astype(np.int32), units)
