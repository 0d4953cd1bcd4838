"""Layers, parameters, MACs and bits of an ONNX graph, counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from engine.graph.blocks import Blocks
from engine.graph.graph import (
    _UNOPTIMIZED,
    Array,
    constant_names,
    constant_values,
    fixed_batch,
    input_shape,
    open_session,
    with_outputs,
)
from engine.graph.inline import inlined
from engine.graph.inputs import Feeds
from engine.graph.multiplying import SMOOTHING, Factors, factors_of, rounds_to_integers
from engine.graph.spelled_out import spelled_out

# Operators with learned constants, beside those that multiply: which of their inputs those are.
_PARAMETER_SLOTS = {
    "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "PRelu": (1,),
    "Add": (0, 1),
    "Mul": (0, 1),
    # Weights of the input and of the state, biases, peepholes.
    "GRU": (1, 2, 3),
    "LSTM": (1, 2, 3, 7),
    "RNN": (1, 2, 3),
    "DynamicQuantizeLSTM": (1, 2, 3, 7),
    "Gather": (0,),
    "GatherBlockQuantized": (0,),
    "QLinearAdd": (0, 3),
    "QLinearMul": (0, 3),
}
# What is stored several to a byte.
_NARROW = {4: ("INT4", "UINT4", "FLOAT4E2M1"), 2: ("INT2", "UINT2")}
# These move values or pick them, so that rounded values stay what they are.
_MOVING_OPS = ("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class LayerFacts:
    """One layer. `macs` per image; `params` are weights and biases as the runtime sees them, whatever their storage.

    `weight_bits`: bits that the file spends on one weight; 0 for a product of two activations. `activation_bits`: what
    the layer's input was quantized to, 32 when it was not. Shapes are for one image, batch axis included.
    """

    name: str
    op_type: str
    macs: int
    params: int
    nonzero_params: int
    weight_bits: int
    activation_bits: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class GraphFacts:
    """A whole graph; `macs` per image, `input_shape` of the first input. Tied weights count once in `params`, as often as they run in
    `macs`.
    """

    params: int
    nonzero_params: int
    macs: int
    input_shape: tuple[int, ...]
    num_classes: int
    layers: tuple[LayerFacts, ...]


def run_shapes(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shapes that tensors have in a run of one blank image (or of the batch that the graph fixes)."""
    wanted = list(dict.fromkeys(names))
    values = open_session(with_outputs(model, wanted), _UNOPTIMIZED).run(wanted, Feeds.of_graph(model).blank())
    return {name: tuple(value.shape) for name, value in zip(wanted, values, strict=True)}


def _recurrent_macs(data: tuple[int, ...], weight: tuple[int, ...], state: tuple[int, ...]) -> int:
    """Multiply-accumulates of one run over a sequence (steps, batch, inputs), both directions: every step multiplies by all of the weights.

    `weight` is (directions, gates × hidden, inputs), `state` (directions, gates × hidden, hidden); with layout 1 the batch comes first.
    Products element by element (gates, peepholes) are no matrix products and not counted, as elsewhere.
    """
    return data[0] * data[1] * (math.prod(weight) + math.prod(state))


def first_output(node: onnx.NodeProto) -> str:
    """The first of a node's outputs that is used: a recurrent layer may give its last state alone."""
    return str(next(name for name in node.output if name))


def _weight_bits(nodes: Mapping[str, onnx.NodeProto], stored: Mapping[str, onnx.TensorProto], name: str) -> int:
    """Bits that the file spends on one weight; on one that is not zero, where zeros are left out.

    Followed back to what the weight is made from (quantization/unpacking.py): every operator on the way has the codes as first input
    but for those named here.
    """
    packed = False
    while name not in stored:
        node = nodes[name]
        if not node.input:  # a Constant
            stated = next((a.t for a in node.attribute if a.name == "value"), None)
            return 32 if stated is None else _stored_bits(stated)
        first = node.input[0]
        looked_up = node.op_type == "Gather" and first in nodes and nodes[first].op_type != "Concat"
        packed |= looked_up
        places = {"ScatterElements": 2, "Concat": len(node.input) - 1, "Gather": int(looked_up)}
        name = node.input[places.get(node.op_type, 0)]
    tensor = stored[name]
    if packed:  # one row of bytes for each bit (quantization/packing.py)
        return int(tensor.dims[0])
    return _stored_bits(tensor)


def _stored_bits(tensor: onnx.TensorProto) -> int:
    """Bits of one number of a stored tensor."""
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    if narrow := next((bits for bits, names in _NARROW.items() if kind in names), None):
        return narrow
    return int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8)


def _source(nodes: Mapping[str, onnx.NodeProto], name: str) -> str:
    """What a weight is made from: the initialiser, or the piece that a Split cut from one, the same for all uses of tied weights."""
    while name in nodes and nodes[name].op_type in ("DequantizeLinear", "Cast", "Mul", "Sub", "Reshape", "Transpose"):
        name = nodes[name].input[0]
    return name


def _code_ranges(nodes: Mapping[str, onnx.NodeProto], data: Iterable[str]) -> dict[str, list[str]]:
    """For rounded tensors, the constants that tell how many codes they have: the ends of a Clip, or a zero point of their type."""
    found: dict[str, list[str]] = {}
    for tensor in data:
        name = tensor
        while (maker := nodes.get(name)) is not None and maker.op_type == "DequantizeLinear":
            code = nodes.get(maker.input[0])
            if code is None or code.op_type not in ("Clip", "QuantizeLinear"):
                break
            found[tensor] = list(code.input[1:3] if code.op_type == "Clip" else code.input[2:3])
            moved = nodes.get(code.input[0])
            if code.op_type == "Clip" or moved is None or moved.op_type not in _MOVING_OPS:
                break
            name = moved.input[0]  # what was moved has the codes that it had before
    return found


def _rounded_to(product: Factors, ends: Mapping[str, list[str]], values: Mapping[str, Array]) -> int:
    """Bits that a layer's data were rounded to, 32 for none: by the operator itself, or by nodes before it (`_code_ranges`)."""
    if not product.rounded and product.data not in ends:
        return 32
    names = [product.data_zero] if product.rounded else ends[product.data]
    return _activation_bits([values[name] for name in names if name in values])


def _activation_bits(ends: Sequence[Array]) -> int:
    """Bits of codes between two ends, or of the type of a zero point; 8, all that integer operators know, where none is stored."""
    if len(ends) == 2:
        low, high = (int(end) for end in ends)
        return (high - low + 1).bit_length() - 1
    return ends[0].dtype.itemsize * 8 if ends else 8


def _learned_names(
    node: onnx.NodeProto, product: Factors | None, makers: Mapping[str, onnx.NodeProto]
) -> tuple[str, ...]:
    """The inputs of a node that may hold what was learned, the weight first."""
    if product is not None and product.form != "recurrent":
        return product.weight, product.bias
    names = tuple(node.input[slot] for slot in _PARAMETER_SLOTS[node.op_type] if slot < len(node.input))
    # The scale of data that are rounded while the network runs, times the weights' scales: no parameters, but how they are stored.
    found = (makers.get(name) for name in node.input)
    return () if any(maker and maker.op_type == "DynamicQuantizeLinear" for maker in found) else names


def _nonzero(values: Mapping[str, Array], name: str, product: Factors | None, zeros: Mapping[str, str]) -> int:
    """How many numbers of a tensor stand for something else than zero; `zeros`: names of zero points, by tensor."""
    value, zero = values[name], values.get(zeros.get(name, ""))
    if product is None or zero is None:
        return int(np.count_nonzero(value))
    if product.form == "recurrent":
        zero = zero.reshape(len(value), 1, -1)  # (directions, units) of (directions, inputs, units)
    elif zero.size > 1:
        value = np.moveaxis(value, product.channels, -1)
    return int(np.count_nonzero(value != zero))


def _zero_points(node: onnx.NodeProto, product: Factors | None) -> dict[str, str]:
    """The zero points of what a node multiplies by, by tensor."""
    state = {node.input[2]: node.input[11]} if node.op_type == "DynamicQuantizeLSTM" else {}
    return state | ({product.weight: product.weight_zero} if product else {})


def is_learned_table(value: Array) -> bool:
    """Whether what rows are looked up in was learned: floats or codes, more than one to a row (a row's scale is alone)."""
    return value.ndim > 1 and value[:1].size > 1 and (value.dtype.kind == "f" or value.dtype in (np.int8, np.uint8))


def _read(node: onnx.NodeProto) -> tuple[str, ...]:
    """Up to two inputs of a node, the data first: of one that looks up, what it is asked for."""
    names = tuple(node.input[:2])
    return names[::-1] if node.op_type.startswith("Gather") else names


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether a graph, the file's own functions included, rounds to integers or makes a layer's weight of stored codes of up to 8 bits."""
    model = inlined(model)
    if any(rounds_to_integers(node) for node in model.graph.node):
        return True
    constants = constant_names(model)
    makers = {o: n for n in model.graph.node for o in n.output}
    stored = {t.name: t for t in model.graph.initializer}
    factors = (factors_of(n, constants) for n in model.graph.node if not set(n.output) <= constants)
    weights = {f.weight for f in factors if f is not None and f.weight in constants}
    return any(_weight_bits(makers, stored, name) <= 8 for name in weights)


def graph_facts(model: onnx.ModelProto) -> GraphFacts:
    """Layers, parameters and MACs of a graph that `check_interface` accepts.

    Raises ModelError when the runtime refuses the graph.
    """
    model = spelled_out(inlined(model))
    constants = constant_names(model)
    nodes = [n for n in model.graph.node if not set(n.output) <= constants]
    makers = {o: n for n in model.graph.node for o in n.output}
    factors = {i: f for i, n in enumerate(nodes) if (f := factors_of(n, constants)) is not None}
    slots = {
        i: [name for name in _learned_names(n, factors.get(i), makers) if name in constants]
        for i, n in enumerate(nodes)
        if i in factors or n.op_type in _PARAMETER_SLOTS
    }
    zeros = [name for f in factors.values() for name in (f.weight_zero, f.data_zero) if name in constants]
    zeros += [n.input[3] for n in nodes if n.op_type == "GatherBlockQuantized" and {*n.input[3:]} & constants]
    zeros += [n.input[11] for n in nodes if n.op_type == "DynamicQuantizeLSTM" and {*n.input[11:12]} & constants]
    looked_up = {n.output[0] for n in nodes if n.op_type == "GatherBlockQuantized"}
    readers = {n.input[0]: n for n in nodes if n.input and n.input[0] in looked_up}
    zeros += [name for n in readers.values() if n.op_type == "Slice" for name in n.input[1:4] if name in constants]
    values = constant_values(model, [*(name for names in slots.values() for name in names), *zeros])
    stored = {t.name: t for t in model.graph.initializer}
    ends = _code_ranges(makers, (f.data for f in factors.values()))
    ranges = constant_values(model, [name for names in ends.values() for name in names])
    output = model.graph.output[0].name
    read = {i: (factors[i].data, factors[i].weight) if i in factors else _read(nodes[i]) for i in slots}
    states = {i: nodes[i].input[2] for i, f in factors.items() if f.form == "recurrent"}
    dynamic = {
        name for i in slots for name in (*read[i], states.get(i, ""), first_output(nodes[i])) if name
    } - constants
    shapes = run_shapes(model, [output, *sorted(dynamic)])
    shapes |= {name: value.shape for name, value in values.items()}
    batch = fixed_batch(model) or 1
    layers, counted, params, nonzero = [], set[str](), 0, 0
    for i, names in slots.items():
        node, product = nodes[i], factors.get(i)
        # Scalars beside Add and Mul are arithmetic, not parameters, and so is what evens out ranges.
        learned = [name for name in names if product or (values[name].size > 1 and not name.endswith(SMOOTHING))]
        if node.op_type.startswith("Gather"):
            learned = [name for name in learned if is_learned_table(values[name])]
        if product is None and not learned:
            continue
        blocks = Blocks.of(node, values) if learned else None
        blocks = blocks and blocks.cut(readers.get(node.output[0]), values)
        size, used = 0, 0
        if blocks and names[0] in learned:
            # The codes count, not the bytes that they lie in.
            learned.remove(names[0])
            zero = product.weight_zero if product else [*node.input, ""][3]
            size, used = blocks.codes, blocks.nonzero(values[names[0]], values.get(zero))
        size += sum(values[name].size for name in learned)
        used += sum(_nonzero(values, name, product, _zero_points(node, product)) for name in learned)
        data, weight, result = (shapes.get(name, ()) for name in (*[*read[i], ""][:2], first_output(node)))
        macs = product.macs(node, data, weight, result) if product and i not in states else 0
        if i in states:
            macs = _recurrent_macs(data, weight, shapes[states[i]])
        bits = _weight_bits(makers, stored, names[0]) if names else 0
        bits = blocks.bits if blocks and names else bits
        layers.append(
            LayerFacts(
                name=node.name or node.output[0],
                op_type=node.op_type,
                macs=macs // batch,
                params=size,
                nonzero_params=used,
                weight_bits=bits,
                activation_bits=_rounded_to(product, ends, ranges | values) if product else 32,
                input_shape=data,
                output_shape=result,
            )
        )
        # A layer that is applied again with the same weights adds none; its quantized bias may differ by pass.
        source = _source(makers, names[0]) if names else ""
        if names and source not in counted:
            params, nonzero = params + size, nonzero + used
            counted.add(source)
    return GraphFacts(
        params, nonzero, sum(x.macs for x in layers), input_shape(model), shapes[output][-1], tuple(layers)
    )
