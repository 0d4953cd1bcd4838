"""What moves a window over an image: where it lies, how its padding is said, and the pools."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from engine.export.tflite.flat import Scale
from engine.export.tflite.network import CHANNELS_LAST, Network, Value
from engine.export.tflite.source import refusal
from engine.graph.pads import state_pads

SAME, VALID = 0, 1
"""The rules of padding, by their number in the schema."""


@dataclass(frozen=True)
class Window:
    """A window over a value with its channels last; series are images of one row. `pads`: rows and columns (before, behind)."""

    value: Value
    tensor: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]

    @property
    def scale(self) -> Scale:
        """Of what is read."""
        return self.value.scale

    def written(
        self,
        net: Network,
        node: onnx.NodeProto,
        scale: Scale,
        kind: str,
        inputs: Sequence[int],
        padding: int,
        options: Mapping[str, Any],
    ) -> Value:
        """The operator that fills the first output of `node`, of `scale`."""
        shape = net.source.shapes[node.output[0]]
        made = net.new(node.output[0], CHANNELS_LAST[len(shape)], scale)
        classes = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D"}
        image = made.tensor if len(shape) == 4 else net.flat.tensor((1, 1, shape[2], shape[1]), scale)
        how = {"padding": padding, "strideH": self.strides[0], "strideW": self.strides[1], **options}
        net.flat.operator(kind, inputs, image, classes.get(kind, "Pool2D"), **how)
        if image != made.tensor:
            net.reshape(image, made.tensor)
        return made


def window_of(net: Network, node: onnx.NodeProto, value: Value, kernel: Sequence[int]) -> Window:
    """The window of a convolution or pool; raises ModelError for more than two axes, and for negative padding."""
    axes = len(value.shape) - 2
    if axes not in (1, 2) or value.shape[0] != 1:
        raise refusal(node, f"moves over {value.shape}", "only images and series, (N, channels, …), can be written")
    stated = onnx.NodeProto()
    stated.CopyFrom(node)
    state_pads(stated, value.shape[2:], kernel)
    said = net.source.attributes(stated)
    strides, dilations = (list(said.get(name) or [1] * axes) for name in ("strides", "dilations"))
    pads = list(said.get("pads") or [0] * (2 * axes))
    if min(pads) < 0:
        raise refusal(node, "cuts its edges off (negative padding)", "export it without")
    if said.get("ceil_mode"):
        outputs = net.source.shapes[node.output[0]][2:]
        for i, (size, width) in enumerate(zip(value.shape[2:], kernel, strict=True)):
            reached = (outputs[i] - 1) * strides[i] + (width - 1) * dilations[i] + 1
            pads[axes + i] = max(pads[axes + i], reached - size - pads[i])
    value = net.ordered(value, CHANNELS_LAST[len(value.shape)])
    around = list(zip(pads[:axes], pads[axes:], strict=True))
    full = ([1] * (2 - axes) + list(part) for part in (kernel, strides, dilations))
    k, s, d = ((part[0], part[1]) for part in full)
    tensor = value.tensor if axes == 2 else net.viewed(value, (1, 1, value.shape[2], value.shape[1]))
    edges = [(0, 0)] * (2 - axes) + around
    return Window(value, tensor, k, s, d, (edges[0], edges[1]))


def same_pads(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """What SAME adds before and behind an axis, as TensorFlow Lite computes it (kernels/padding.h)."""
    missing = max(0, (math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return missing // 2, missing - missing // 2


def padding_of(net: Network, window: Window) -> int | None:
    """The rule that means a window's padding; None where there is none."""
    if window.pads == ((0, 0), (0, 0)):
        return VALID
    sizes = net.flat.shape_of(window.tensor)[1:3]
    rule = tuple(map(same_pads, sizes, window.kernel, window.strides, window.dilations))
    return SAME if rule == window.pads else None


def placed(net: Network, window: Window, filled: str) -> tuple[int, int]:
    """What the window moves over, and by which rule: padded beforehand where no rule says how, with the `zero` or the `lowest` code."""
    rule = padding_of(net, window)
    if rule is not None:
        return window.tensor, rule
    lowest = filled == "lowest"
    return padded(net, window.tensor, [(0, 0), *window.pads, (0, 0)], -128 if lowest else None), VALID


def padded(net: Network, tensor: int, pads: Sequence[tuple[int, int]], code: int | None = None) -> int:
    """A tensor with edges of a code; None: of the one that means 0."""
    scale = net.flat.scale_of(tensor)
    shape = [n + sum(p) for n, p in zip(net.flat.shape_of(tensor), pads, strict=True)]
    made, edges = net.flat.tensor(shape, scale), net.flat.constant(np.asarray(pads, np.int32))
    if code is None or code == scale.zero:
        return net.flat.operator("PAD", [tensor, edges], made, "Pad")
    stored = net.flat.constant(np.asarray([code], np.int8), [scale.scale], scale.zero)
    return net.flat.operator("PADV2", [tensor, edges, stored], made, "PadV2")


def max_pool(net: Network, node: onnx.NodeProto) -> None:
    """MaxPool: MAX_POOL_2D, whose result has the scale of what it reads."""
    kernel = net.source.attributes(node)["kernel_shape"]
    window = window_of(net, node, net.value(node), kernel)
    if window.dilations != (1, 1):
        raise refusal(node, "is dilated", "TensorFlow Lite has no such pool; export it without dilation")
    if len(node.output) > 1 and node.output[1] in net.source.readers:
        raise refusal(node, "gives indices", "TensorFlow Lite has no such pool")
    tensor, padding = placed(net, window, "lowest")
    options = {"filterHeight": window.kernel[0], "filterWidth": window.kernel[1]}
    made = window.written(net, node, window.scale, "MAX_POOL_2D", [tensor], padding, options)
    net.values[node.output[0]] = replace(made, above=net.value(node).above)


def average_pool(net: Network, node: onnx.NodeProto) -> None:
    """AveragePool: AVERAGE_POOL_2D where it keeps the scale, as that must.

    Otherwise a depthwise convolution with one weight, 127 steps of 1/(127 · places): it rounds once, into the scale that is wanted.
    """
    said = net.source.attributes(node)
    window = window_of(net, node, net.value(node), said["kernel_shape"])
    target, rule = net.source.target(node), padding_of(net, window)
    if window.dilations != (1, 1):
        raise refusal(node, "is dilated", "TensorFlow Lite has no such pool; export it without dilation")
    is_padded = window.pads != ((0, 0), (0, 0))
    counts_edges = bool(said.get("count_include_pad"))
    if said.get("ceil_mode") and is_padded:
        raise refusal(node, "rounds its size up over the edge", "export it with ceil_mode 0")
    options = {"filterHeight": window.kernel[0], "filterWidth": window.kernel[1]}
    if target.scale == window.scale and rule is not None and not (is_padded and counts_edges):
        made = window.written(net, node, target.scale, "AVERAGE_POOL_2D", [window.tensor], rule, options)
    elif is_padded and not counts_edges:
        raise refusal(
            node,
            "has edges that do not count, in a way that TensorFlow Lite's pools cannot",
            "export it without padding",
        )
    else:
        tensor, padding = placed(net, window, "zero")
        channels = window.value.shape[1]
        codes = np.full((1, *window.kernel, channels), 127, np.int8)
        scale = 1 / (127 * math.prod(window.kernel))
        stored = net.flat.constant(codes, [scale] * channels, axis=3)
        zeros = net.flat.constant(np.zeros(channels, np.int32), [window.scale.scale * scale] * channels)
        more = {"depthMultiplier": 1, "dilationHFactor": 1, "dilationWFactor": 1}
        made = window.written(net, node, target.scale, "DEPTHWISE_CONV_2D", [tensor, stored, zeros], padding, more)
    net.finish(made, target)


def global_average(net: Network, node: onnx.NodeProto) -> None:
    """GlobalAveragePool, and ReduceMean over all axes behind the channels: MEAN, which rounds once, into any scale."""
    value = net.value(node)
    rank = len(value.shape)
    keeps = True
    if node.op_type == "ReduceMean":
        said = net.source.attributes(node)
        stored = net.source.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
        axes = said.get("axes") if stored is None else stored.reshape(-1).tolist()
        keeps = bool(said.get("keepdims", 1))
        if sorted(int(a) % rank for a in axes or range(rank)) != list(range(2, rank)):
            raise refusal(
                node,
                "averages over other axes than those of an image",
                "only (N, channels, …) over all … can be written",
            )
    if rank not in CHANNELS_LAST:
        raise refusal(node, f"averages over {value.shape}", "only images and series can be written")
    target = net.source.target(node)
    value = net.ordered(value, CHANNELS_LAST[rank])
    image = value.tensor if rank == 4 else net.viewed(value, (1, 1, value.shape[2], value.shape[1]))
    point = net.flat.tensor((1, 1, 1, value.shape[1]), target.scale)
    over = net.flat.constant(np.asarray([1, 2], np.int32))
    net.flat.operator("MEAN", [image, over], point, "Reducer", keepDims=True)
    if keeps and rank == 4:
        made = Value(point, net.source.shapes[node.output[0]], CHANNELS_LAST[4], target.scale)
    else:
        shape = net.source.shapes[node.output[0]]
        made = net.new(node.output[0], range(len(shape)), target.scale)
        net.reshape(point, made.tensor)
    net.finish(made, target)
