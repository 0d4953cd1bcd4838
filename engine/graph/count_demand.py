"""ONNX graph -> what it asks of a device (engine/graph/demand.py). Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from engine.graph.counts import GraphFacts, LayerFacts, first_output, graph_facts
from engine.graph.demand import Demand, Kind, LayerDemand
from engine.graph.graph import constant_names, fixed_batch, open_session, with_outputs
from engine.graph.inline import inlined
from engine.graph.inputs import Feeds
from engine.graph.multiplying import MULTIPLYING, Factors, factors_of
from engine.graph.spelled_out import spelled_out

# Another view of the same bytes, or the same tensor in another number format: no runtime keeps both.
_VIEWS = (
    "QuantizeLinear",
    "DequantizeLinear",
    "Cast",
    "Identity",
    "Dropout",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
)
# Can be computed where their input lies, if nothing else still needs it; runtimes fuse them into the operator before.
_IN_PLACE = ("Relu", "LeakyRelu", "PRelu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "BatchNormalization")
STEM_CHANNELS = 4
"""A convolution over fewer channels than this is a stem: SIMD kernels take four 8-bit values at a time."""


@dataclass
class _Buffer:
    """Memory of one activation: `bits` an element in its narrowest format, first and last operator that touches it."""

    elements: int
    bits: int
    first: int
    last: int

    @property
    def size(self) -> int:
        return math.ceil(self.elements * self.bits / 8)


def graph_demand(model: onnx.ModelProto) -> Demand:
    """What one image of a graph that `check_interface` accepts asks for. Raises ModelError when the runtime refuses the graph.

    Peak memory is that of the graph's own order, every tensor kept from the operator that writes it to the last that reads it (Liberis &
    Lane 2019, arXiv:1910.05110, without their reordering). Rounded tensors count in the bits that they are rounded to, in whole bytes.
    """
    facts = graph_facts(model)
    model = spelled_out(inlined(model))
    constants = constant_names(model)
    nodes = [n for n in model.graph.node if not set(n.output) <= constants]
    batch = fixed_batch(model) or 1
    tensors = _run_tensors(model, [o for n in nodes for o in n.output if o])
    feeds = Feeds.of_graph(model)
    tensors |= {name: (array.size, 8 * array.itemsize) for name, array in feeds.blank().items()}
    buffers, operators = _place(nodes, tensors, constants, [o.name for o in model.graph.output], [*feeds.blank()])
    moved = sum(
        sum({id(buffers[t]): buffers[t].size for t in (*n.input, *n.output) if t in buffers}.values())
        for n in operators
    )
    moments = range(len(nodes) + 1)
    unique = {id(b): b for b in buffers.values()}.values()
    peak = max(sum(b.size for b in unique if b.first <= i <= b.last) for i in moments)
    return Demand(
        layers=tuple(_layers(nodes, facts, buffers, constants, batch)),
        operators=len(operators),
        op_types=tuple(sorted({n.op_type for n in operators})),
        peak_bytes=peak // batch,
        moved_bytes=moved // batch,
    )


def _run_tensors(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Elements and bits of an element of tensors, from a run of one blank image."""
    level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(with_outputs(model, names), level)
    values = session.run(list(names), Feeds.of_graph(model).blank())
    return {n: (v.size, v.dtype.itemsize * 8) for n, v in zip(names, values, strict=True) if isinstance(v, np.ndarray)}


def _place(
    nodes: Sequence[onnx.NodeProto],
    tensors: dict[str, tuple[int, int]],
    constants: set[str],
    outputs: Sequence[str],
    inputs: Sequence[str],
) -> tuple[dict[str, _Buffer], list[onnx.NodeProto]]:
    """Tensor -> the memory it lies in, and the operators that are left when views and what works in place are taken away."""
    uses: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        for name in node.input:
            uses.setdefault(name, []).append(i)
    buffers: dict[str, _Buffer] = {}
    for name in inputs:
        buffers[name] = _Buffer(*tensors[name], 0, 0)
    operators = []
    for i, node in enumerate(nodes):
        source = next((name for name in node.input if name in buffers), None)
        for name in node.input:
            if name in buffers:
                buffers[name].last = max(buffers[name].last, i)
        # Arithmetic with constants (a scale, a folded batch norm) is an activation function to a runtime.
        with_constant = node.op_type in ("Add", "Sub", "Mul", "Div") and any(n in constants for n in node.input)
        view = node.op_type in _VIEWS
        alone = source is not None and _last_use(source, nodes, uses) == i
        # What is given in the end is not written over on the way.
        alone = alone and not any(buffers.get(name) is buffers[source or ""] for name in outputs)
        fused = source is not None and (view or ((node.op_type in _IN_PLACE or with_constant) and alone))
        if not fused:
            operators.append(node)
        for name in node.output:
            if name not in tensors:
                continue
            elements, bits = tensors[name]
            if fused and source is not None:
                buffers[name] = buffers[source]
                buffers[name].bits = min(buffers[name].bits, bits) if node.op_type != "Cast" else buffers[name].bits
            else:
                buffers[name] = _Buffer(elements, bits, i, i)
    for name in outputs:
        if name in buffers:
            buffers[name].last = len(nodes)
    return buffers, operators


def _last_use(name: str, nodes: Sequence[onnx.NodeProto], uses: dict[str, list[int]]) -> int:
    """The last operator that reads a tensor or, through views, the same bytes under another name."""
    last = -1
    waiting = [name]
    while waiting:
        for i in uses.get(waiting.pop(), []):
            if nodes[i].op_type in _VIEWS:
                waiting += nodes[i].output
            last = max(last, i)
    return last


def _layers(
    nodes: Sequence[onnx.NodeProto], facts: GraphFacts, buffers: dict[str, _Buffer], constants: set[str], batch: int
) -> list[LayerDemand]:
    """The layers that multiply, in the order in which they run."""
    known = [layer for layer in facts.layers if layer.op_type in MULTIPLYING]
    multiplying = [(n, f) for n in nodes if (f := factors_of(n, constants)) is not None]
    found, seen = [], set[str]()
    for (node, factors), layer in zip(multiplying, known, strict=True):
        learned = factors.weight in constants
        biases = min(_biases(node, factors, layer, constants), layer.params)
        found.append(
            LayerDemand(
                kind=_kind(node, factors, layer, learned),
                macs=layer.macs,
                weights=layer.params - biases,
                biases=biases,
                weight_bits=layer.weight_bits if learned else 0,
                activation_bits=layer.activation_bits,
                input_bytes=buffers[factors.data].size // batch if factors.data in buffers else 0,
                output_bytes=buffers[first_output(node)].size // batch,
                shared=learned and factors.weight in seen,
            )
        )
        seen.add(factors.weight)
    return found


def _biases(node: onnx.NodeProto, factors: Factors, layer: LayerFacts, constants: set[str]) -> int:
    """How many learned biases a layer has; a recurrent one has two for each gate and hidden value, for its input and for its state."""
    if factors.bias not in constants:
        return 0
    if factors.form != "recurrent":
        return layer.output_shape[-1 if factors.form == "product" else 1]
    attributes = {a.name: a for a in node.attribute}
    both = "direction" in attributes and attributes["direction"].s == b"bidirectional"
    gates = {"GRU": 3, "RNN": 1}.get(node.op_type, 4)
    return (2 if both else 1) * 2 * gates * layer.output_shape[-1]


def _kind(node: onnx.NodeProto, factors: Factors, layer: LayerFacts, learned: bool) -> Kind:
    if factors.form in ("product", "recurrent"):
        return "dense" if learned else "product"
    attributes = {a.name: a for a in node.attribute}
    group = attributes["group"].i if "group" in attributes else 1
    if group > 1 and group == layer.input_shape[1]:
        return "depthwise"
    if layer.input_shape[1] // group < STEM_CHANNELS:
        return "stem"
    # A file need not say its kernel's size; operations for each output do.
    each = layer.macs // math.prod(layer.output_shape[1:])
    return "pointwise" if factors.form == "conv" and group == 1 and each == layer.input_shape[1] else "conv"
