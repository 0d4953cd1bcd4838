"""Where rounding goes: which tensors of a float graph pass through Quantize- and DequantizeLinear, so that integer kernels fuse.

In graphs with LayerNormalization products give floats, and what is added to or multiplied with them stays so: a few of their channels are
many times larger than the others, and what takes these apart again are the norms.

A tensor is rounded where an integer kernel reads or writes it; operators without such a kernel run in float between DequantizeLinear and
QuantizeLinear. Activation functions that saturation does anyway (Relu; Clip from 0, whose upper end calibration has seen) are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from engine.compress.quantization.weights import Layer, find_layers, weight_names

Float32 = npt.NDArray[np.float32]

# ONNX Runtime has integer kernels for these once all their inputs and their output are quantized.
_INTEGER_OPS = ("Add", "Mul", "GlobalAveragePool", "AveragePool", "Concat", "Sigmoid", "LeakyRelu")
# These move values or pick them: output and input share scale and zero point.
_MOVING_OPS = ("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Placement:
    """`nodes`: copies of the graph's, absorbed activation functions left out, in order; `layers`: those with stored weights.

    `rounded`: the tensors to round, in graph order, the graph's input among them where a layer reads it; `shared`: {output: input} where
    both must have one scale; `limits`: upper bounds of channels, by rounded tensor, as `channel_bounds` gives them. `seen_as`: {tensor: the
    tensor whose values its range has to hold}, where that is another.
    """

    nodes: tuple[onnx.NodeProto, ...]
    layers: tuple[Layer, ...]
    rounded: tuple[str, ...]
    shared: dict[str, str]
    limits: dict[str, Float32]
    seen_as: dict[str, str] = field(default_factory=dict)

    def root(self, tensor: str) -> str:
        """The tensor whose scale `tensor` has."""
        while tensor in self.shared:
            tensor = self.shared[tensor]
        return tensor


@dataclass(frozen=True)
class _Links:
    """Who makes and who reads each tensor."""

    nodes: Sequence[onnx.NodeProto]
    maker: dict[str, onnx.NodeProto]
    readers: dict[str, list[onnx.NodeProto]]
    constants: dict[str, npt.NDArray[Any]]
    output: str

    def inputs(self, node: onnx.NodeProto) -> list[str]:
        """A node's inputs that depend on the image."""
        return [name for name in node.input if name and name not in self.constants]


def _link(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> _Links:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    maker = {o: n for n in nodes for o in n.output}
    return _Links(nodes, maker, readers, constants, graph.output[0].name)


def place(model: onnx.ModelProto, float_weights: Collection[str] = (), bounds_too: bool = True) -> Placement:
    """Where to round in a tidy float graph; layers whose weights are named in `float_weights` stay in float.

    `bounds_too`: whether rounding may bound channels, which takes an integer minimum.
    """
    absorbed, limits = _absorbable(_link(model.graph, model.graph.node), bounds_too)
    while True:
        nodes = _without(model.graph.node, absorbed)
        layers = find_layers(nodes, weight_names(model.graph))
        links = _link(model.graph, nodes)
        rounded, shared = _tensors_to_round(links, [layer for layer in layers if layer.weight not in float_weights])
        # Without a rounding after it the clipping would be lost.
        kept = {after: before for after, before in absorbed.items() if _final(absorbed, after) in rounded}
        if kept == absorbed:
            break
        absorbed = kept
    order = [*(i.name for i in model.graph.input), *(name for node in nodes for name in node.output)]
    limits = {name: bounds for name, bounds in limits.items() if name in absorbed}
    in_order = tuple(name for name in order if name in rounded)
    pooled = _pooled(links, shared, (name for name in in_order if name not in shared))
    return Placement(tuple(nodes), tuple(layers), in_order, shared, limits, pooled)


def _pooled(links: _Links, shared: Mapping[str, str], roots: Iterable[str]) -> dict[str, str]:
    """{tensor: what is left of it after max pooling} for tensors that nobody reads but max pooling.

    Clipping does not change which value is the largest as long as the largest ones fit. So a range needs to hold those alone, and neither
    padding of -1e9 or -inf nor what a mask puts in the place of values is part of it.
    """
    found: dict[str, str] = {}
    for root in roots:
        name = root
        while name != links.output and len(readers := links.readers.get(name, [])) == 1:
            if shared.get(readers[0].output[0]) != name:
                break
            name = readers[0].output[0]
            if readers[0].op_type == "MaxPool":
                found[root] = name
    return found


def clipped_range(node: onnx.NodeProto, constants: Mapping[str, npt.NDArray[Any]]) -> tuple[float, float] | None:
    """The ends of a Relu or of a Clip between constants; None for any other node."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    if node.op_type != "Clip" or not all(name in constants for name in node.input[1:] if name):
        return None
    ends = [float(constants[name].reshape(-1)[0]) if name else None for name in [*node.input[1:], "", ""][:2]]
    return -np.inf if ends[0] is None else ends[0], np.inf if ends[1] is None else ends[1]


def channel_bounds(node: onnx.NodeProto, constants: Mapping[str, npt.NDArray[Any]]) -> Float32 | None:
    """The upper bounds of a minimum with one constant for each channel, as equalisation leaves it; None for any other node.

    (channels, 1, …), of as many axes as what is bounded has beside the first, to be broadcast over it.
    """
    if node.op_type != "Min" or len(node.input) != 2 or node.input[1] not in constants:
        return None
    bounds = constants[node.input[1]]
    if bounds.ndim < 3 or bounds.size != bounds.shape[1]:
        return None
    return bounds.astype(np.float32).reshape(bounds.shape[1:])


def _absorbable(links: _Links, bounds_too: bool) -> tuple[dict[str, str], dict[str, Float32]]:
    """{output: input} of nodes that rounding does anyway, and {output: bounds} of those among them that bound channels.

    A Relu, or Clip from 0, whose producer has an integer kernel and no other reader; and the bounds after it.
    """
    found: dict[str, str] = {}
    limits: dict[str, Float32] = {}
    for node in links.nodes:
        before = node.input[0] if node.input else ""
        maker = links.maker.get(before)
        if maker is None or len(links.readers[before]) != 1 or links.output in (before, node.output[0]):
            continue
        if before in found:
            bounds = channel_bounds(node, links.constants) if bounds_too and before not in limits else None
            if bounds is not None:
                found[node.output[0]], limits[node.output[0]] = before, bounds
            continue
        ends = clipped_range(node, links.constants)
        if ends is None or ends[0] != 0.0 or maker.op_type not in ("Conv", "Add"):
            continue
        if maker.op_type == "Conv" or len(links.inputs(maker)) == 2:
            found[node.output[0]] = before
    return found, limits


def _final(absorbed: Mapping[str, str], name: str) -> str:
    """The tensor that the producer of `name` writes once the absorbed nodes after it are gone."""
    following = {before: after for after, before in absorbed.items()}
    while name in following:
        name = following[name]
    return name


def _without(nodes: Sequence[onnx.NodeProto], absorbed: dict[str, str]) -> list[onnx.NodeProto]:
    """Copies of the nodes that stay, the producer of what an absorbed node read now writing that node's output."""
    kept = []
    for node in nodes:
        if node.output[0] not in absorbed:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for i, name in enumerate(copy.output):
                copy.output[i] = _final(absorbed, name)
            kept.append(copy)
    return kept


def _leads_to_a_layer(links: _Links, layers: list[Layer]) -> set[str]:
    """Tensors with a layer somewhere after them; behind the last one, rounding would only cost accuracy."""
    outputs = {layer.output for layer in layers}
    leading: set[str] = set()
    for node in reversed(links.nodes):
        if not leading.union(outputs).isdisjoint(node.output):
            leading.update(links.inputs(node))
    return leading


def _tensors_to_round(links: _Links, layers: list[Layer]) -> tuple[set[str], dict[str, str]]:
    """The tensors to pass through Quantize- and DequantizeLinear, and {output: input} where both share a scale."""
    convolved = {layer.output for layer in layers if layer.node.op_type == "Conv"}
    chosen = {layer.data for layer in layers} | convolved
    for node in reversed(links.nodes):
        if node.op_type in _MOVING_OPS and node.output[0] in chosen and len(links.inputs(node)) == 1:
            chosen.add(node.input[0])
    leading = _leads_to_a_layer(links, layers)
    products = {layer.output for layer in layers}
    between_norms = any(node.op_type == "LayerNormalization" for node in links.nodes)
    shared: dict[str, str] = {}
    for node in links.nodes:
        sources, output = links.inputs(node), node.output[0]
        if not sources or not set(sources) <= chosen or output not in leading | chosen:
            continue
        if node.op_type in _MOVING_OPS and len(sources) == 1 and len(node.output) == 1:
            chosen.add(output)
            shared[output] = sources[0]
        elif between_norms:
            continue
        elif output in products or (node.op_type in _INTEGER_OPS and len(sources) == len(node.input)):
            chosen.add(output)
    return chosen, shared
