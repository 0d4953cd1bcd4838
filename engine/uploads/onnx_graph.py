"""Whether an ONNX file is one network in one file, no larger than it is, that can be read and run within bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper

from engine.errors import ModelError
from engine.graph.graph import first_line, graph_inputs, open_session, read_onnx
from engine.models.convertible import operators_of
from engine.models.onnx_file import read_checked
from engine.spec.sections import Model
from engine.uploads import bounds
from engine.uploads.bounds import Refused, size

Nodes = Sequence[onnx.NodeProto]
_NO_NETWORK = (
    "is none of: an ONNX file, an .npz of arrays, a zip of pictures; upload one of these, an ONNX file as one file"
)
# Values of a packed field: at most so many elements of 2 bits in 4 bytes.
_MOST_PER_ENTRY = 16


def look_at(path: Path, told: Callable[[float], None]) -> dict[str, Any]:
    """What the network takes and gives, and what a plan needs to know of it; raises Refused, or ModelError in one line.

    `told` is given the share that is done.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError):
        raise Refused(_NO_NETWORK) from None
    if not model.graph.node:
        raise Refused(_NO_NETWORK)
    told(0.2)
    _check_size(model)
    for tensor in _tensors(model):
        _check_tensor(tensor)
    for sparse in _sparse(model):
        _check_declared(f"the sparse tensor {sparse.values.name!r}", sparse.dims, 8)
    values = [
        (v.name, v.type) for graph in _graphs(model.graph) for v in (*graph.input, *graph.output, *graph.value_info)
    ]
    for name, kind in values:
        if kind.HasField("tensor_type"):
            _check_declared(f"{name!r}", [d.dim_value for d in kind.tensor_type.shape.dim if d.dim_value], 4)
    told(0.4)
    outputs = tuple(o.name for o in model.graph.output)
    # Which of several count, the spec says.
    checked = read_checked(Model(source=str(path), outputs=outputs if len(outputs) > 1 else ()))
    told(0.7)
    _run_blank(model)
    return {
        "inputs": {v.name: _shape(v) for v in graph_inputs(model)},
        "outputs": {v.name: _shape(v) for v in model.graph.output},
        "nodes": len(model.graph.node),
        "checked": asdict(checked) | {"operators": operators_of(read_onnx(path))},
    }


def _shape(value: onnx.ValueInfoProto) -> str:
    return "×".join(str(d.dim_value or d.dim_param or "?") for d in value.type.tensor_type.shape.dim)


def _check_size(model: onnx.ModelProto) -> None:
    """Few enough nodes, once functions are written out wherever they are called, and no function that calls itself."""
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    if len(functions) < len(model.functions):
        raise Refused("defines a function twice; export the network again")
    known: dict[tuple[str, str, str], int] = {}
    under_way: list[tuple[str, str, str]] = []

    def counted(nodes: Nodes, depth: int) -> int:
        if depth > bounds.MOST_DEPTH:
            raise Refused(
                f"has branches, or functions, within each other more than {bounds.MOST_DEPTH} deep; simplify it"
            )
        total = 0
        for node in nodes:
            total += 1 + sum(counted(graph.node, depth + 1) for graph in _inner(node))
            key = (node.domain, node.op_type, node.overload)
            if key in functions:
                total += written_out(key, depth + 1)
            if node.op_type == "EPContext":
                raise Refused(
                    "holds a program of one runtime (EPContext) in place of layers; export the network itself"
                )
            if total > bounds.MOST_NODES:
                raise Refused(
                    f"has more than {bounds.MOST_NODES:,} nodes once its functions are written out; simplify it"
                )
        return total

    def written_out(key: tuple[str, str, str], depth: int) -> int:
        if key in under_way:
            raise Refused(f"has a function that calls itself, {key[1][:80]!r}; export the network again")
        if key not in known:
            under_way.append(key)
            known[key] = counted(functions[key].node, depth)
            under_way.pop()
        return known[key]

    total = counted(model.graph.node, 0)
    # Those that nobody calls are read all the same.
    for key in functions:
        total += 0 if key in known else written_out(key, 0)


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those within it; how deep they lie is checked before."""
    yield graph
    for node in graph.node:
        for inner in _inner(node):
            yield from _graphs(inner)


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        for node in function.node:
            yield node
            for inner in _inner(node):
                for graph in _graphs(inner):
                    yield from graph.node


def _sparse(model: onnx.ModelProto) -> Iterator[onnx.SparseTensorProto]:
    for graph in _graphs(model.graph):
        yield from graph.sparse_initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor
            yield from attribute.sparse_tensors


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor, wherever it is."""
    for graph in _graphs(model.graph):
        yield from graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
    for sparse in _sparse(model):
        yield sparse.values
        yield sparse.indices
    for training in model.training_info:
        for graph in (training.initialization, training.algorithm):
            yield from graph.initializer


def _check_tensor(tensor: onnx.TensorProto) -> None:
    what = f"the tensor {tensor.name[:80]!r}"
    if external_data_helper.uses_external_data(tensor) or tensor.external_data:
        where = next((e.value for e in tensor.external_data if e.key == "location"), "")
        raise Refused(
            f"keeps weights in another file, {where[:80]!r}, which is not read; save it as one file: onnx.save(onnx.load(PATH), NEW)"
        )
    if any(d < 0 for d in tensor.dims):
        raise Refused(f"has {what} of a negative size; export the network again")
    elements = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        stored = len(tensor.raw_data)
        needed = math.ceil(elements * _bits(tensor.data_type) / 8)
        if needed != stored:
            raise Refused(
                f"has {what}, which says that it has {size(needed)} but has {size(stored)}; export the network again"
            )
        return
    entries = sum(
        len(getattr(tensor, field))
        for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
    )
    if elements > _MOST_PER_ENTRY * entries:
        raise Refused(
            f"has {what}, which says that it has {elements:,} numbers but has {entries:,}; export the network again"
        )


def _bits(data_type: int) -> int:
    name = onnx.TensorProto.DataType.Name(data_type) if data_type in onnx.TensorProto.DataType.values() else ""
    narrow: Mapping[str, int] = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
    if name in narrow:
        return narrow[name]
    try:
        return 8 * int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)
    except (KeyError, ValueError, TypeError):
        raise Refused(f"has a tensor of an unknown type ({data_type}); export the network again") from None


def _check_declared(what: str, dims: Sequence[int], item_bytes: int) -> None:
    needed = math.prod(dims) * item_bytes
    if any(d < 0 for d in dims) or needed > bounds.MOST_VALUE_BYTES:
        shown = "×".join(map(str, dims[:8]))
        raise Refused(
            f"declares {what[:80]} of {shown}, {size(max(0, needed))}; at most {size(bounds.MOST_VALUE_BYTES)} are taken: export it for "
            "smaller inputs"
        )


def _run_blank(model: onnx.ModelProto) -> None:
    """One run on zeros, where all sizes are known: what a graph makes of itself, it makes here, within the limits."""
    fed: dict[str, Any] = {}
    for value in graph_inputs(model):
        batch, *dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if not all(dims):
            return
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        fed[value.name] = np.zeros((batch or 1, *dims), kind)
    try:
        open_session(model).run(None, fed)
    except ModelError:
        raise
    except Exception as error:  # the runtime's own classes share no base below Exception
        raise Refused(f"does not run on one blank input: {first_line(error)[:200]}; export the network again") from None
