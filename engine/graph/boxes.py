"""A graph as boxes: one for each layer with what a runtime fuses into it, or one for each node. Knows no numbers, runs nothing.

A node joins the box before it when all that it reads of the input's data comes from that one box and it only rounds, moves or changes
values one by one: activations, biases, QuantizeLinear and DequantizeLinear, reshapes. So boxes never make a circle. What computes shapes,
or scales of data that are rounded as the network runs, is left out, and constants are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import onnx

from engine.graph.graph import constant_names, graph_inputs
from engine.graph.layer_graph import Kind
from engine.graph.multiplying import UNCOUNTED, factors_of

_ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_MOVING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout", "Cast"})
_ONE_BY_ONE = frozenset(
    {
        "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu", "Gelu", "Mish",
        "Softplus", "Softsign", "ThresholdedRelu", "QuickGelu", "FastGelu", "BiasGelu", "Erf", "Add", "Sub", "Mul", "Div", "Pow", "Sqrt",
        "Neg", "Abs", "Min", "Max", "Round", "BatchNormalization", "QLinearLeakyRelu", "QLinearSigmoid",
    }
)  # fmt: skip


@dataclass
class Box:
    """`nodes`: in their order; none for an input or output. `name`: of the node that gives the box its name, "" where it has none;
    `op_type` its operator. `tensor`: what the box puts out last. `inside`: what branches or a loop in it hold, in words.
    """

    kind: Kind
    name: str
    op_type: str
    tensor: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inside: str = ""

    @property
    def operators(self) -> tuple[str, ...]:
        """The types of its nodes, in their order."""
        return tuple(str(node.op_type) for node in self.nodes)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """What its nodes are called where layers are counted (engine/graph/counts.py)."""
        return tuple(str(node.name or node.output[0]) for node in self.nodes)


@dataclass(frozen=True)
class Boxes:
    """`edges`: (from, to, tensor), positions among the boxes, one for each pair; `hidden`: nodes that compute shapes and scales alone."""

    boxes: tuple[Box, ...]
    edges: tuple[tuple[int, int, str], ...]
    hidden: int


def boxes_of(model: onnx.ModelProto, fold: bool = True) -> Boxes:
    """The boxes of a graph whose functions are inlined; without `fold` one for each node that depends on the input."""
    constants = constant_names(model)
    nodes = [n for n in model.graph.node if not set(n.output) <= constants]
    hidden = _shapes_and_scales(nodes, constants, {o.name for o in model.graph.output}) if fold else set()
    boxes = [Box("input", i.name, "Input", i.name) for i in graph_inputs(model)]
    place = {box.tensor: i for i, box in enumerate(boxes)}
    edges: dict[tuple[int, int], str] = {}
    for node in nodes:
        if hidden.issuperset(o for o in node.output if o):
            continue
        read = [n for n in reads(node) if n not in constants and n not in hidden and n in place]
        sources = dict.fromkeys(place[name] for name in read)
        into = next(iter(sources), -1)
        if fold and len(sources) == 1 and _joins(node, boxes[into]):
            boxes[into].nodes.append(node)
            # The scale of data that are rounded as the network runs says nothing of where they go.
            boxes[into].tensor = next((o for o in node.output if o), boxes[into].tensor)
        else:
            into = len(boxes)
            boxes.append(Box("operator", "", "", next((o for o in node.output if o), ""), [node], _inside(node)))
            for name in read:
                edges.setdefault((place[name], into), name)
        place |= {output: into for output in node.output if output}
    for box in boxes:
        if box.kind == "operator":
            first = _naming(box.nodes, constants)
            box.name, box.op_type = str(first.name), str(first.op_type)
    for output in model.graph.output:
        if output.name in place:
            edges[place[output.name], len(boxes)] = output.name
        boxes.append(Box("output", output.name, "Output", output.name))
    left_out = len(nodes) - sum(len(box.nodes) for box in boxes)
    return Boxes(tuple(boxes), tuple((a, b, name) for (a, b), name in edges.items()), left_out)


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Every tensor that a node reads, also those that its branches or body take from outside."""
    yield from (str(name) for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            own = {i.name for i in graph.input} | {t.name for t in graph.initializer}
            for inner in graph.node:
                yield from (name for name in reads(inner) if name not in own)
                own.update(inner.output)


def _joins(node: onnx.NodeProto, box: Box) -> bool:
    """Whether a node that reads from this box alone is part of it; an input is only rounded and moved."""
    return node.op_type in _ROUNDING | _MOVING or (box.kind == "operator" and node.op_type in _ONE_BY_ONE)


def _shapes_and_scales(nodes: list[onnx.NodeProto], constants: set[str], outputs: set[str]) -> set[str]:
    """Tensors that follow from sizes, or from the ranges of data that are rounded as the network runs; none where the graph gives them."""
    found: set[str] = set()
    for node in nodes:
        if node.op_type in ("Shape", "Size"):
            found.update(node.output)
        elif node.op_type == "DynamicQuantizeLinear":
            found.update(node.output[1:])
        else:
            read = [name for name in reads(node) if name not in constants]
            if read and found.issuperset(read):
                found.update(node.output)
    return set() if found & outputs else found - {""}


def _naming(nodes: list[onnx.NodeProto], constants: Collection[str]) -> onnx.NodeProto:
    """The node that a box is named after: the first that multiplies, or else that does more than move values or round them."""
    quiet = _ROUNDING | _MOVING
    multiply = (n for n in nodes if factors_of(n, constants) is not None or n.op_type in UNCOUNTED)
    return next(multiply, next((n for n in nodes if n.op_type not in quiet), nodes[0]))


def _inside(node: onnx.NodeProto) -> str:
    """What a node's branches or body hold."""
    parts = []
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            inner = list(_all_nodes(graph))
            multiply = sum(factors_of(n, ()) is not None or n.op_type in UNCOUNTED for n in inner)
            some = f"{len(inner)} operator{'s' * (len(inner) != 1)}" + (f", {multiply} multiplying" if multiply else "")
            parts.append(f"{attribute.name.replace('_', ' ')} with {some}")
    return "; ".join(sorted(parts, reverse=True))


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_nodes(inner)
