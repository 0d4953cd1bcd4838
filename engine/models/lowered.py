"""ONNX graphs made ready to become torch networks: at the opset that onnx2torch knows, every shape a number, names that torch takes.

Never imports torch. Tensors keep their names, so that what both compute can be compared one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from engine.errors import ModelError
from engine.graph.graph import first_line, graph_inputs, open_session, with_outputs
from engine.graph.inline import inlined
from engine.graph.inputs import Feeds, Inputs, Shape, drawn
from engine.graph.pads import state_pads
from engine.graph.tidy import fold_constants, tidy
from engine.models.convertible import OPSET, OURS, check_operators, known_operators, operators_of

Array = npt.NDArray[np.generic]
Axes = dict[str, tuple[int, list[int | str]]]
"""Number type and axes by tensor; text for an axis that goes with the batch."""
_IR_VERSION = 8
_AXES_AS_INPUT = re.compile("Reduce.+")
_PADDED = ("Conv", "MaxPool", "AveragePool")
_TRIED = (2, 3)
"""Sizes of a batch; axes that differ between the two are the batch's."""
_LARGE = 16
"""Stored floats of more numbers than this are weights, which a graph's form does not depend on."""


def plain(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """The graph that a file's becomes before its opset is lowered: functions written out, what is constant computed, its batch free,
    its nodes named as modules can be.

    Raises ModelError for a graph with an operator that cannot become a torch layer, and for one that takes batches of one size alone.
    """
    check_operators(operators_of(model), source, known_operators())
    graph = inlined(model)
    fold_constants(graph)
    _drop_further_outputs(graph.graph)
    # Equal numbers are merged nowhere: layers that hold the same ones by chance are not tied.
    tidy(graph, merge=False)
    _free_batch(graph)
    name_nodes(graph.graph)
    return graph


def lowered(graph: onnx.ModelProto, shape: Shape, source: str) -> onnx.ModelProto:
    """A copy of a plain graph at `OPSET`. Raises ModelError where the graph has no such form."""
    found = onnx.ModelProto()
    found.CopyFrom(graph)
    known, sizes = _tensors(graph, shape, source)
    _store(found.graph, sizes)
    for node in found.graph.node:
        if node.op_type == "Reshape":
            _fix_reshape(found, node, known)
    tidy(found, merge=False)
    for node in found.graph.node:
        if node.op_type in _PADDED:
            _state_pads(found, node, known)
        _lower(found, node, source)
    _drop_unread(found)
    for name, (kind, axes) in known.items():
        found.graph.value_info.append(helper.make_tensor_value_info(name, kind, axes))
    del found.opset_import[:]
    found.opset_import.append(helper.make_opsetid("", OPSET))
    found.ir_version = _IR_VERSION
    return found


def without_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that says of large weights their type and axes alone; `with_zeros` is what can be converted again."""
    bare = onnx.ModelProto()
    bare.CopyFrom(graph)
    for tensor in bare.graph.initializer:
        if _is_weight(tensor):
            kept = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            tensor.CopyFrom(kept)
    return bare


def with_zeros(bare: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph of `without_weights` with zeros for its weights."""
    whole = onnx.ModelProto()
    whole.CopyFrom(bare)
    for tensor in whole.graph.initializer:
        if _is_weight(tensor):
            tensor.raw_data = bytes(
                np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize * _size(tensor)
            )
    return whole


def _size(tensor: onnx.TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))


def _is_weight(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and _size(tensor) > _LARGE


def _keep(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _drop_further_outputs(graph: onnx.GraphProto) -> None:
    """Masks, places and moments that nobody reads are left out, in place: a torch layer gives one tensor."""
    read = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    for node in graph.node:
        if node.op_type in ("Dropout", "MaxPool", "LayerNormalization") and not read.intersection(node.output[1:]):
            del node.output[1:]


def _free_batch(graph: onnx.ModelProto) -> None:
    """A batch that the graph fixes becomes free, in place, also where a Reshape states it; whether it runs then is tried afterwards."""
    fixed = Feeds.of_graph(graph).batch
    if not fixed:
        return
    for value in (*graph_inputs(graph), *graph.graph.output):
        axes = value.type.tensor_type.shape.dim
        if axes and axes[0].dim_value == fixed:
            axes[0].dim_param = "N"
    stored = {t.name: t for t in graph.graph.initializer}
    for i, node in enumerate(graph.graph.node):
        if node.op_type != "Reshape" or node.input[1] not in stored:
            continue
        axes = numpy_helper.to_array(stored[node.input[1]]).copy()
        if len(axes) and axes[0] == fixed and not any(a.name == "allowzero" and a.i for a in node.attribute):
            axes[0] = 0 if (axes == -1).any() else -1
            name = f"{node.input[1]}/free{i}"
            graph.graph.initializer.append(numpy_helper.from_array(axes, name))
            node.input[1] = name


def one_size(source: str, error: Exception) -> ModelError:
    """What to say of a graph that does not run with other batches than its own."""
    return ModelError(
        f"model {source} takes batches of one size only, and torch steps take several: {first_line(error)}; export it with a free batch "
        "axis"
    )


def _of_shapes(graph: onnx.ModelProto) -> set[str]:
    """Tensors that depend on the shapes of others, and on no other number that the graph is fed."""
    known, found = {t.name for t in graph.graph.initializer}, set[str]()
    for node in graph.graph.node:
        if node.op_type in ("Shape", "Size") or (node.input and all(n in known | found for n in node.input if n)):
            found.update(node.output)
    return found


def _store(graph: onnx.GraphProto, values: dict[str, Array]) -> None:
    """Tensors of these values are stored numbers, in place of what made them."""
    left = [n for n in graph.node if not values.keys() >= set(n.output)]
    read = {name for node in left for name in node.input}
    graph.initializer.extend(numpy_helper.from_array(value, n) for n, value in values.items() if n in read)
    _keep(graph, left)


def _tensors(graph: onnx.ModelProto, shape: Shape, source: str) -> tuple[Axes, dict[str, Array]]:
    """The type and axes of every tensor that nodes make, seen in runs of two batches: an axis that differs is text; and the values of those
    that follow from shapes, whatever the batch.
    """
    names = [name for node in graph.graph.node for name in node.output if name]
    session = open_session(with_outputs(graph, names), onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    feeds, runs = Feeds.of_graph(graph), []
    shapes, values = _of_shapes(graph), list[dict[str, Array]]()
    for n in _TRIED:
        inputs: Inputs = drawn(shape, n, np.random.default_rng(n))
        try:
            made = [np.asarray(value) for value in session.run(names, feeds(inputs))]
        except Exception as error:  # the runtime's own classes share no base below Exception
            raise one_size(source, error) from None
        runs.append([(value.dtype, value.shape) for value in made])
        values.append({name: value for name, value in zip(names, made, strict=True) if name in shapes})
    found: Axes = {}
    for name, (kind, first), (_, other) in zip(names, *runs, strict=True):
        if len(first) == len(other) and kind.kind in "fiub":
            axes = [a if a == b else "N" if a == _TRIED[0] else f"N{a}" for a, b in zip(first, other, strict=True)]
            found[name] = helper.np_dtype_to_tensor_dtype(kind), axes
    for value in graph_inputs(graph):
        axes = [d.dim_value or "N" for d in value.type.tensor_type.shape.dim]
        found[value.name] = value.type.tensor_type.elem_type, axes
    first, second = values
    outputs = {o.name for o in graph.graph.output}
    return found, {n: v for n, v in first.items() if n not in outputs and np.array_equal(v, second[n])}


def _fix_reshape(graph: onnx.ModelProto, node: onnx.NodeProto, known: Axes) -> None:
    """A Reshape to axes that follow from the batch alone says them in numbers, in place; one that keeps the batch and joins the others is a
    Flatten, which goes on to work when there are fewer channels.
    """
    if node.output[0] not in known:
        return
    axes = known[node.output[0]][1]
    free = [i for i, a in enumerate(axes) if isinstance(a, str)]
    before = known.get(node.input[0], (0, []))[1]
    if len(free) > 1 or 0 in axes:
        return
    del node.attribute[:]
    if axes[:1] == ["N"] and before[:1] == ["N"] and len(axes) == 2 and all(isinstance(a, int) for a in before[1:]):
        node.op_type = "Flatten"
        del node.input[1:]
        node.attribute.append(helper.make_attribute("axis", 1))
        return
    name = f"{node.output[0]}/axes"
    numbers = np.array([-1 if isinstance(a, str) else a for a in axes], np.int64)
    graph.graph.initializer.append(numpy_helper.from_array(numbers, name))
    node.input[1] = name


def _state_pads(graph: onnx.ModelProto, node: onnx.NodeProto, known: Axes) -> None:
    axes = [a for a in known.get(node.input[0], (0, []))[1][2:] if isinstance(a, int)]
    kernel = next((list(a.ints) for a in node.attribute if a.name == "kernel_shape"), [])
    if not kernel and node.op_type == "Conv":
        kernel = next((list(t.dims[2:]) for t in graph.graph.initializer if t.name == node.input[1]), [])
    if len(axes) == len(kernel):
        state_pads(node, axes, kernel)


def _lower(graph: onnx.ModelProto, node: onnx.NodeProto, source: str) -> None:
    """One node in its form of `OPSET`, in place; raises ModelError where it has none."""
    if node.op_type in OURS:
        return
    form = onnx.defs.get_schema(node.op_type, OPSET, "")
    if _AXES_AS_INPUT.fullmatch(node.op_type) and "axes" in form.attributes and len(node.input) > 1:
        _axes_to_attribute(graph, node, source)
    if node.op_type == "Gemm" and len(node.input) > 2:
        _flat_bias(graph, node)
    later = [a for a in node.attribute if a.name not in form.attributes]
    for attribute in later:
        if attribute.name not in ("num_outputs", "noop_with_empty_axes") and not _is_default(node, attribute):
            raise _no_form(node, f"with {attribute.name}", source)
        node.attribute.remove(attribute)
    if (
        len(node.input) > len(form.inputs)
        and form.inputs[-1].option != onnx.defs.OpSchema.FormalParameterOption.Variadic
    ):
        if any(node.input[len(form.inputs) :]):
            raise _no_form(node, "with further inputs", source)
        del node.input[len(form.inputs) :]


def _is_default(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> bool:
    default = onnx.defs.get_schema(node.op_type, 21, "").attributes.get(attribute.name)
    return default is not None and helper.get_attribute_value(default.default_value) == helper.get_attribute_value(
        attribute
    )


def _no_form(node: onnx.NodeProto, how: str, source: str) -> ModelError:
    return ModelError(
        f"model {source}: operator {node.op_type} {how} (node {node.name!r}) is not of opset {OPSET}, which is what becomes torch layers; "
        f"export the network with opset {OPSET}, or use ONNX steps"
    )


def _axes_to_attribute(graph: onnx.ModelProto, node: onnx.NodeProto, source: str) -> None:
    stored = {t.name: t for t in graph.graph.initializer}
    if node.input[1]:
        if node.input[1] not in stored:
            raise _no_form(node, "with computed axes", source)
        axes = numpy_helper.to_array(stored[node.input[1]]).tolist()
        if axes:
            node.attribute.append(helper.make_attribute("axes", axes))
    del node.input[1:]


def _flat_bias(graph: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """A bias (1, n) of a Gemm as (n,), which torch's linear layers have."""
    stored = next((t for t in graph.graph.initializer if t.name == node.input[2]), None)
    if stored is not None and len(stored.dims) == 2 and stored.dims[0] == 1:
        name = f"{stored.name}/flat"
        if all(t.name != name for t in graph.graph.initializer):
            graph.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(stored)[0], name))
        node.input[2] = name


def _drop_unread(graph: onnx.ModelProto) -> None:
    read = {name for node in graph.graph.node for name in node.input}
    kept = [onnx.TensorProto.FromString(t.SerializeToString()) for t in graph.graph.initializer if t.name in read]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)


def name_nodes(graph: onnx.GraphProto) -> None:
    """Names that may be attributes of a module, in place, each once."""
    taken: set[str] = set()
    for node in graph.node:
        name = next(name for name in _names(node) if name not in taken)
        taken.add(name)
        node.name = name


def _names(node: onnx.NodeProto) -> Iterator[str]:
    clean = re.sub(r"\W+|_{2,}", "_", node.name).strip("_")
    # What is one small word may be a method of every module, `train` say.
    if not clean or not clean[0].isalpha() or (clean.isalpha() and clean.islower()):
        clean = f"{node.op_type.lower()}_{clean}".strip("_") + "_" * (not clean)
    yield clean
    yield from (f"{clean}_{i}" for i in range(2, 1_000_000))
