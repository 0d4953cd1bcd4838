"""ONNX graphs: files read and written, what a network takes and gives, constants.

Never imports torch.

A network here has one input, (N, C, H, W) for images and (N, …) for others, or several, and one output (N, classes). Shapes are taken
from a run of one blank input, so that graphs which compute their shapes are counted like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from engine.errors import ModelError
from engine.graph.inputs import Feeds, element_type
from engine.graph.states import counted, states_of

Array = npt.NDArray[np.generic]

_UNOPTIMIZED = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


def load_onnx(path: Path, several: bool = False) -> onnx.ModelProto:
    """Read and check a file; `several`: it may have more outputs than one.

    Raises ModelError, in one line, for: no such file, not ONNX or cut short, weights in other files that are missing, more outputs than
    one, an input that is not (N, …) of numbers with known axes behind the first.
    """
    model = read_onnx(path)
    check_interface(model, str(path), outputs_count=(len(counted(model)) or 1) if several else 1)
    return model


def read_onnx(path: Path) -> onnx.ModelProto:
    """A valid graph with its weights, also those in files beside it, whatever it takes and gives; raises ModelError as `load_onnx`."""
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except DecodeError:
        raise ModelError(f"{path} is not an ONNX file, or is cut short; export or copy it again") from None
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX file, or is cut short; export or copy it again")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # a file that is missing or short, or lies elsewhere
        raise ModelError(
            f"{path} keeps weights in other files, which cannot be read ({first_line(error)}); put them beside it, or save it as one file "
            "(onnx.save without external data)"
        ) from None
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"{path} is not a valid ONNX graph: {first_line(error)}") from None
    _drop_listed_weights(model)
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a graph uses."""
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def _drop_listed_weights(model: onnx.ModelProto) -> None:
    """Weights that are also listed as inputs, as files of before IR version 4 had to: a caller could feed others, so nothing is folded."""
    fed = graph_inputs(model)
    if fed and len(fed) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(fed)
        model.ir_version = max(model.ir_version, 4)


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


def check_interface(model: onnx.ModelProto, name: str, free_axes: bool = False, outputs_count: int = 1) -> None:
    """Raises ModelError unless the graph has inputs (N, …) of numbers, one of them with two axes or more, and `outputs_count` outputs.

    States and what is fed back are counted as neither. Axes behind the first have fixed sizes, unless `free_axes`.
    """
    states, remembered = {s.input for s in states_of(model)}, {s.output for s in states_of(model)}
    inputs = [i for i in graph_inputs(model) if i.name not in states]
    outputs = [o for o in model.graph.output if o.name not in remembered]
    if not inputs and model.graph.input:
        raise ModelError(
            f"{name}: every input has a stored value, {model.graph.input[0].name!r} too, so none takes the data; "
            "remove the initialiser of that name"
        )
    if not inputs or not outputs:
        raise ModelError(f"{name} has {len(inputs)} inputs and {len(outputs)} outputs; export it with one at least")
    if len(outputs) != outputs_count:
        names = ", ".join(o.name for o in outputs)
        raise ModelError(
            f"{name} has {len(outputs)} outputs ({names}); say which counts: model.output: {outputs[0].name}"
        )
    for value in inputs:
        tensor = value.type.tensor_type
        dims = [d.dim_value or d.dim_param or "?" for d in tensor.shape.dim]
        if len(dims) < 1 + (len(inputs) == 1) or not (free_axes or all(isinstance(d, int) for d in dims[1:])):
            shape = ", ".join(map(str, dims)) or ("of unknown shape" if not tensor.HasField("shape") else "")
            raise ModelError(
                f"{name}: input {value.name!r} is ({shape}); a batch (N, …) of vectors, series or images with fixed sizes is needed"
            )
        try:
            element_type(tensor.elem_type, value.name)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None


def input_shape(model: onnx.ModelProto) -> tuple[int, ...]:
    """Of one sample of a graph's first input, the batch axis left out; (C, H, W) of an image. 0 for an axis that the graph leaves free."""
    return tuple(d.dim_value for d in graph_inputs(model)[0].type.tensor_type.shape.dim[1:])


# What may stand behind a softmax and leaves its shares what they are, but for rounding.
_KEEPS_SHARES = {
    "Identity",
    "Cast",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "QuantizeLinear",
    "DequantizeLinear",
    "Clip",
}


def softmax_behind(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """The node that makes the output, but for what rounds, casts or reshapes it afterwards; None where it is no (log) softmax."""
    makers = {name: node for node in model.graph.node for name in node.output}
    # Of several outputs none is scores of classes.
    outputs = counted(model)
    node = makers.get(outputs[0]) if len(outputs) == 1 else None
    while node is not None and node.op_type in _KEEPS_SHARES:
        node = makers.get(node.input[0])
    return node if node is not None and node.op_type in ("Softmax", "LogSoftmax", "QLinearSoftmax") else None


def gives_shares(model: onnx.ModelProto) -> bool:
    """Whether the output holds the shares of a softmax, rounded or not, rather than scores that are yet to be made into shares."""
    last = softmax_behind(model)
    return last is not None and last.op_type != "LogSoftmax"


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """Images per run when the graph fixes it, None when any number will do."""
    return Feeds.of_graph(model).batch


def open_session(
    model: onnx.ModelProto,
    level: onnxruntime.GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    threads: int = 1,
    save: Path | None = None,
) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU; `save` keeps the optimized graph.

    A graph with MatMulNBits is optimized at the basic level at least: ONNX Runtime 1.32 computes zeros, and says nothing, where the scales
    of one with accuracy_level 4 are no initialisers yet. Raises ModelError, in one line, for a graph that the runtime refuses.
    """
    if level == _UNOPTIMIZED and any(node.op_type == "MatMulNBits" for node in model.graph.node):
        level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
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


LAYER_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
