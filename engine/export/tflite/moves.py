"""What gives tensors other shapes or edges and leaves their numbers what they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from engine.export.tflite.network import Network
from engine.export.tflite.source import refusal
from engine.export.tflite.windows import padded

_LOWEST = float(np.finfo(np.float32).min)


def reshape(net: Network, node: onnx.NodeProto) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze."""
    net.values[node.output[0]] = net.reshaped(net.value(node), net.source.shapes[node.output[0]])


def transpose(net: Network, node: onnx.NodeProto) -> None:
    """Transpose: the axes get other numbers."""
    value = net.straight(net.value(node))
    rank = len(value.shape)
    order = list(net.source.attributes(node).get("perm") or reversed(range(rank)))
    net.values[node.output[0]] = replace(
        value, shape=tuple(value.shape[a] for a in order), axes=tuple(order.index(a) for a in value.axes)
    )


def pad(net: Network, node: onnx.NodeProto) -> None:
    """Pad with zeros, or with the lowest number there is: PAD, PADV2."""
    said, value = net.source.attributes(node), net.straight(net.value(node))
    rank = len(value.shape)
    stored = [net.source.constant(name) if name else None for name in [*node.input[1:], "", "", ""][:3]]
    if said.get("mode", "constant") != "constant" or stored[0] is None:
        raise refusal(
            node, "repeats or reflects edges, or computes them", "only stored numbers of zeros can be written"
        )
    axes = range(rank) if stored[2] is None else [int(a) % rank for a in stored[2].reshape(-1)]
    edges, found = dict.fromkeys(range(rank), (0, 0)), [int(n) for n in stored[0].reshape(-1)]
    for i, axis in enumerate(axes):
        edges[axis] = (found[i], found[i + len(found) // 2])
    if any(n < 0 for both in edges.values() for n in both):
        raise refusal(node, "cuts its edges off (negative padding)", "export it without")
    filled = 0.0 if stored[1] is None else float(stored[1].reshape(-1)[0])
    if value.above is not None:
        code = int(filled) - value.above
    elif filled == 0:
        code = value.scale.zero
    elif filled <= _LOWEST:
        code = -128
    else:
        raise refusal(node, f"has edges of {filled:g}", "only zeros, or the lowest number there is, can be written")
    tensor = padded(net, value.tensor, [edges[a] for a in value.axes], code)
    net.values[node.output[0]] = replace(value, tensor=tensor, shape=net.source.shapes[node.output[0]])
