"""ONNX graphs: reading and writing files, and what can be read off a graph: constants, layers, parameters, MACs.

Never imports torch.

A network here has one float image input (N, C, H, W) and one output (N, classes). Shapes are taken from a run of one
blank image, so that graphs which compute their shapes are counted like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from engine.errors import ModelError

Array = npt.NDArray[np.generic]

# Operators with learned constants, beside the three that multiply: which of their inputs those are.
_PARAMETER_SLOTS = {
    "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "PRelu": (1,),
    "Add": (0, 1),
    "Mul": (0, 1),
}
_UNOPTIMIZED = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
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
    """A whole graph; `macs` per image. Tied weights count once in `params`, as often as they run in `macs`."""

    params: int
    nonzero_params: int
    macs: int
    input_shape: tuple[int, int, int]
    num_classes: int
    layers: tuple[LayerFacts, ...]


def load_onnx(path: Path) -> onnx.ModelProto:
    """Read and check a file.

    Raises ModelError, in one line, for: no such file, not ONNX or cut short, weights kept in other files, not exactly
    one input and one output, an input that is not float32 (N, C, H, W) with known C, H and W.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except DecodeError:
        raise ModelError(f"{path} is not an ONNX file, or is cut short; export or copy it again") from None
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX file, or is cut short; export or copy it again")
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise ModelError(
            f"{path} keeps its weights in other files; save it as one file (onnx.save without external data)"
        )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"{path} is not a valid ONNX graph: {first_line(error)}") from None
    check_interface(model, str(path))
    return model


def first_line(error: Exception) -> str:
    """The first line of an error's message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write one self-contained file; the same model always gives the same bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller feeds: old files also list their weights as inputs."""
    weights = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in weights]


def check_interface(model: onnx.ModelProto, name: str) -> None:
    """Raises ModelError unless the graph has one float32 (N, C, H, W) input with fixed C, H, W, and one output."""
    inputs, outputs = graph_inputs(model), model.graph.output
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{name} has {len(inputs)} inputs and {len(outputs)} outputs; "
            "only networks with one image input and one output can be used"
        )
    tensor = inputs[0].type.tensor_type
    dims = [d.dim_value or d.dim_param or "?" for d in tensor.shape.dim]
    if len(dims) != 4 or not all(isinstance(d, int) for d in dims[1:]):
        shape = ", ".join(map(str, dims))
        raise ModelError(
            f"{name}: input {inputs[0].name!r} is ({shape}); a (N, C, H, W) image with fixed C, H and W is needed"
        )
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(f"{name}: input {inputs[0].name!r} is {kind}; export the network with a float32 input")


def input_shape(model: onnx.ModelProto) -> tuple[int, int, int]:
    """(C, H, W) of a graph that `check_interface` accepts."""
    channels, height, width = (d.dim_value for d in graph_inputs(model)[0].type.tensor_type.shape.dim[1:])
    return channels, height, width


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """Images per run when the graph fixes it, None when any number will do."""
    return graph_inputs(model)[0].type.tensor_type.shape.dim[0].dim_value or None


def open_session(
    model: onnx.ModelProto,
    level: onnxruntime.GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    threads: int = 1,
    save: Path | None = None,
) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU; `save` keeps the optimized graph.

    Raises ModelError, in one line, for a graph that the runtime refuses.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = level
    if save is not None:
        options.optimized_model_filepath = str(save)
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own classes share no base below Exception
        raise ModelError(f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {first_line(error)}") from None


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """A copy whose outputs are the tensors named, in that order."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    # Types are left out: the runtime infers them.
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def constant_names(model: onnx.ModelProto) -> set[str]:
    """Every tensor that does not depend on the input."""
    known = {t.name for t in model.graph.initializer}
    for node in model.graph.node:
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            continue  # a branch or loop may read the input from outside
        if node.op_type.startswith("Random") or not all(name in known for name in node.input if name):
            continue
        known.update(node.output)
    return known


def constant_value(model: onnx.ModelProto, tensor_name: str) -> Array | None:
    """The value of a tensor that does not depend on the input, None for one that does or is not there.

    What is computed from initialisers alone (packed bits, DequantizeLinear, Cast, …) is computed by ONNX Runtime.
    """
    return constant_values(model, [tensor_name]).get(tensor_name)


def constant_values(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, Array]:
    """As `constant_value`, for many tensors in one session; tensors that are not constant are left out."""
    stored = {t.name: t for t in model.graph.initializer}
    known = constant_names(model)
    values: dict[str, Array] = {n: numpy_helper.to_array(stored[n]) for n in names if n in stored}
    wanted = [n for n in dict.fromkeys(names) if n in known and n not in stored]
    if not wanted:
        return values
    needed, nodes = set(wanted), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    graph = onnx.helper.make_graph(
        nodes[::-1], "constants", [], [], initializer=[t for name, t in stored.items() if name in needed]
    )
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    part.graph.CopyFrom(graph)
    results = open_session(with_outputs(part, wanted), _UNOPTIMIZED).run(wanted, {})
    return values | dict(zip(wanted, results, strict=True))


def _run_shapes(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shapes that tensors have in a run of one blank image (or of the batch that the graph fixes)."""
    batch = fixed_batch(model) or 1
    blank = np.zeros((batch, *input_shape(model)), np.float32)
    wanted = list(dict.fromkeys(names))
    values = open_session(with_outputs(model, wanted), _UNOPTIMIZED).run(wanted, {graph_inputs(model)[0].name: blank})
    return {name: tuple(value.shape) for name, value in zip(wanted, values, strict=True)}


def _macs(node: onnx.NodeProto, weight: tuple[int, ...], data: tuple[int, ...], output: tuple[int, ...]) -> int:
    """Multiply-accumulates of one run of a layer; `weight` is the shape of its second input."""
    if node.op_type == "Conv":  # (out, in / group, kh, kw): every output sums over one filter
        return math.prod(output) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":  # (in, out / group, kh, kw): every input is spread over one filter
        return math.prod(data) * math.prod(weight[1:])
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(output) * (data[0] if transposed else data[-1])


def _weight_bits(nodes: Mapping[str, onnx.NodeProto], stored: Mapping[str, onnx.TensorProto], name: str) -> int:
    """Bits that the file spends on one weight; on one that is not zero, where zeros are left out.

    Followed back to what the weight is made from (quantization/unpacking.py): every operator on the way has the codes as first input
    but for those named here.
    """
    packed = False
    while name not in stored:
        node = nodes[name]
        if not node.input:  # a Constant
            return 32
        first = node.input[0]
        looked_up = node.op_type == "Gather" and first in nodes and nodes[first].op_type != "Concat"
        packed |= looked_up
        places = {"ScatterElements": 2, "Concat": len(node.input) - 1, "Gather": int(looked_up)}
        name = node.input[places.get(node.op_type, 0)]
    tensor = stored[name]
    if packed:  # one row of bytes for each bit (quantization/packing.py)
        return int(tensor.dims[0])
    if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        return 4
    return int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8)


def _source(nodes: Mapping[str, onnx.NodeProto], name: str) -> str:
    """What a weight is made from: the initialiser, or the piece that a Split cut from one, the same for all uses of tied weights."""
    while name in nodes and nodes[name].op_type in ("DequantizeLinear", "Cast", "Mul", "Sub", "Reshape"):
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


def _activation_bits(ends: Sequence[Array]) -> int:
    """Bits of codes between two ends, or of the type of a zero point; 8 for QuantizeLinear without one."""
    if len(ends) == 2:
        low, high = (int(end) for end in ends)
        return (high - low + 1).bit_length() - 1
    return ends[0].dtype.itemsize * 8 if ends else 8


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the calls of the file's own functions are replaced by the functions' nodes; layers in them bear the calls' names."""
    functions = {(f.domain, f.name): f for f in model.functions}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if not functions:
        return result
    del result.functions[:]
    nodes = list(result.graph.node)
    while any((n.domain, n.op_type) in functions for n in nodes):
        bodies = ([n] if (key := (n.domain, n.op_type)) not in functions else _body(functions[key], n) for n in nodes)
        nodes = [node for body in bodies for node in body]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del result.graph.node[:]
    result.graph.node.extend(copies)
    used = {n.domain for n in copies}
    versions = {o.domain: o for f in model.functions for o in f.opset_import} | {
        o.domain: o for o in model.opset_import
    }
    del result.opset_import[:]
    result.opset_import.extend(o for domain, o in versions.items() if domain in used or domain == "")
    return result


def _body(function: onnx.FunctionProto, call: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The nodes of a function for one call: its tensors, attributes and names put in."""
    names = dict(zip(function.input, [*call.input, *[""] * len(function.input)], strict=False))
    names |= dict(zip(function.output, call.output, strict=False))
    given = {a.name: a for a in (*function.attribute_proto, *call.attribute)}
    body = []
    for inner in function.node:
        node = onnx.NodeProto()
        node.CopyFrom(inner)
        for tensors in (node.input, node.output):
            for i, name in enumerate(tensors):
                tensors[i] = names.get(name, f"{call.output[0]}/{name}") if name else ""
        node.name = f"{call.name}{inner.name}" if inner.name or inner.op_type in _LAYERS else ""
        del node.attribute[:]
        for attribute in inner.attribute:
            if not attribute.ref_attr_name:
                node.attribute.add().CopyFrom(attribute)
            elif attribute.ref_attr_name in given:
                node.attribute.add().CopyFrom(given[attribute.ref_attr_name])
                node.attribute[-1].name = attribute.name
        body.append(node)
    return body


def graph_facts(model: onnx.ModelProto) -> GraphFacts:
    """Layers, parameters and MACs of a graph that `check_interface` accepts.

    Raises ModelError when the runtime refuses the graph.
    """
    model = inlined(model)
    constants = constant_names(model)
    nodes = [n for n in model.graph.node if not set(n.output) <= constants]
    slots = {
        i: [n.input[s] for s in _PARAMETER_SLOTS.get(n.op_type, (1, 2)) if s < len(n.input) and n.input[s] in constants]
        for i, n in enumerate(nodes)
        if n.op_type in (*_LAYERS, *_PARAMETER_SLOTS)
    }
    values = constant_values(model, [name for names in slots.values() for name in names])
    makers = {o: n for n in model.graph.node for o in n.output}
    stored = {t.name: t for t in model.graph.initializer}
    ends = _code_ranges(makers, (n.input[0] for n in nodes if n.op_type in _LAYERS))
    ranges = constant_values(model, [name for names in ends.values() for name in names])
    output = model.graph.output[0].name
    dynamic = {name for i in slots for name in (nodes[i].input[0], nodes[i].input[1], nodes[i].output[0])} - constants
    shapes = _run_shapes(model, [output, *sorted(dynamic)])
    shapes |= {name: value.shape for name, value in values.items()}
    batch = fixed_batch(model) or 1
    layers, counted, params, nonzero = [], set[str](), 0, 0
    for i, names in slots.items():
        node = nodes[i]
        multiplies = node.op_type in _LAYERS
        # Scalars beside Add and Mul are arithmetic, not parameters.
        learned = [values[n] for n in names if multiplies or values[n].size > 1]
        if not multiplies and not learned:
            continue
        size, used = sum(v.size for v in learned), sum(int(np.count_nonzero(v)) for v in learned)
        data, weight, result = (shapes.get(name, ()) for name in (node.input[0], node.input[1], node.output[0]))
        bits = _weight_bits(makers, stored, names[0]) if learned else 0
        rounded = ends.get(node.input[0]) if multiplies else None
        layers.append(
            LayerFacts(
                name=node.name or node.output[0],
                op_type=node.op_type,
                macs=_macs(node, weight, data, result) // batch if multiplies else 0,
                params=size,
                nonzero_params=used,
                weight_bits=bits,
                activation_bits=32 if rounded is None else _activation_bits([ranges[name] for name in rounded]),
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
