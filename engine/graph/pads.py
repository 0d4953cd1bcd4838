"""Padding of ONNX graphs: said in the layer that reads it rather than by a node before it, and in numbers rather than by a rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engine.graph.tidy import has_subgraphs

_LOWEST = float(np.finfo(np.float32).min)


def join_pads(graph: onnx.GraphProto) -> None:
    """A Pad that only one convolution, or pool of largest values, reads, and that adds what these add themselves, becomes part of it."""
    if has_subgraphs(graph):
        return
    stored = {t.name: t for t in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, int] = {o.name: 1 for o in graph.output}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    gone = set[str]()
    for node in graph.node:
        pad = makers.get(node.input[0]) if node.op_type in ("Conv", "MaxPool") else None
        if (
            pad is None
            or pad.op_type != "Pad"
            or readers[node.input[0]] != 1
            or _text(node, "auto_pad", "NOTSET") != "NOTSET"
        ):
            continue
        added = _added(pad, stored, 0.0 if node.op_type == "Conv" else -np.inf)
        if added is None:
            continue
        own = _numbers(node, "pads") or [0] * len(added)
        pads = [a + b for a, b in zip(own, added, strict=True)]
        kernel = _numbers(node, "kernel_shape")
        if node.op_type == "MaxPool" and any(p >= k for p, k in zip(pads, [*kernel, *kernel], strict=True)):
            continue
        _set_pads(node, pads)
        node.input[0] = pad.input[0]
        gone.add(pad.output[0])
    left = [onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node if not gone.intersection(n.output)]
    del graph.node[:]
    graph.node.extend(left)
    read = {name for node in graph.node for name in node.input}
    tensors = [onnx.TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name in read]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def _added(pad: onnx.NodeProto, stored: dict[str, onnx.TensorProto], value: float) -> list[int] | None:
    """What a Pad adds to the axes behind the channels, all beginnings, then all ends; None where it does anything else."""
    inputs = [*pad.input, "", ""]
    if _text(pad, "mode", "constant") != "constant" or inputs[1] not in stored or any(inputs[3:]):
        return None
    if inputs[2] and inputs[2] not in stored:
        return None
    found = float(numpy_helper.to_array(stored[inputs[2]]).reshape(-1)[0]) if inputs[2] else 0.0
    pads = numpy_helper.to_array(stored[inputs[1]]).tolist()
    half = len(pads) // 2
    fits = found == value or (value < _LOWEST and found <= _LOWEST)
    if not fits or half < 3 or min(pads) < 0 or any(pads[:2]) or any(pads[half : half + 2]):
        return None
    return [*pads[2:half], *pads[half + 2 :]]


def state_pads(node: onnx.NodeProto, axes: Sequence[int], kernel: Sequence[int]) -> None:
    """A layer's padding by rule (`auto_pad`) in numbers, in place, for an input of these axes behind the channels."""
    rule = _text(node, "auto_pad", "NOTSET")
    if rule in ("NOTSET", ""):
        return
    pads = [0] * (2 * len(axes))
    if rule != "VALID":
        steps = _numbers(node, "strides") or [1] * len(axes)
        apart = _numbers(node, "dilations") or [1] * len(axes)
        for i, (size, width, step, gap) in enumerate(zip(axes, kernel, steps, apart, strict=True)):
            missing = max(0, (-(-size // step) - 1) * step + (width - 1) * gap + 1 - size)
            # What cannot be halved goes to the end, or to the beginning.
            first = missing // 2 if rule == "SAME_UPPER" else missing - missing // 2
            pads[i], pads[i + len(axes)] = first, missing - first
    for attribute in [a for a in node.attribute if a.name == "auto_pad"]:
        node.attribute.remove(attribute)
    _set_pads(node, pads)


def _set_pads(node: onnx.NodeProto, pads: list[int]) -> None:
    for attribute in [a for a in node.attribute if a.name == "pads"]:
        node.attribute.remove(attribute)
    if any(pads):
        node.attribute.append(helper.make_attribute("pads", pads))


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    return next((a.s.decode() for a in node.attribute if a.name == name), default)


def _numbers(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == name), [])
