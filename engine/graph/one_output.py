"""A graph of several outputs as one of a single output, for steps that make one squared error small, and back again.

Each output is divided by how much it varies and flattened, and all are put side by side: (n, numbers). So every output weighs the same in
what a step keeps small, whatever its unit and size. Divisions are taken for this since nothing folds them into the layer before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ModelError
from engine.graph.graph import constant_names, first_line, fixed_batch, open_session, with_outputs
from engine.graph.inputs import Array, Feeds, Inputs, resized
from engine.graph.outputs import levelled
from engine.graph.states import states_of

_TRIED = 100
_NOT_ONE = 1.001
_TOGETHER = "outputs side by side"


def as_one(model: onnx.ModelProto, images: Inputs) -> onnx.ModelProto:
    """A copy with one output, of a graph of several; `images`: preprocessed inputs by which it is told how much each output varies.

    Raises ModelError where it does not run on them.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, flat = copy.graph, []
    states = {state.output: state for state in states_of(model)}
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.input}
    for i, (value, unit) in enumerate(zip(list(graph.output), _units(model, images), strict=True)):
        name, own = value.name, f"{_TOGETHER}/{i}"
        if not _is_float(value):
            graph.node.append(helper.make_node("Cast", [name], [f"{own}/float"], to=TensorProto.FLOAT))
            name = f"{own}/float"
        graph.initializer.append(numpy_helper.from_array(np.array([unit], np.float32), f"{own}/unit"))
        graph.node.append(helper.make_node("Div", [name, f"{own}/unit"], [f"{own}/shares"]))
        rows = f"{own}/shares"
        state = states.get(value.name)
        if state and (axis := state.axis):
            order = [axis, *(i for i in range(ranks[state.input]) if i != axis)]
            graph.node.append(helper.make_node("Transpose", [rows], [f"{own}/rows"], perm=order))
            rows = f"{own}/rows"
        graph.node.append(helper.make_node("Flatten", [rows], [f"{own}/flat"], axis=1))
        flat.append(f"{own}/flat")
    graph.node.append(helper.make_node("Concat", flat, [_TOGETHER], axis=1))
    del graph.output[:]
    batch = fixed_batch(model) or "N"
    graph.output.append(helper.make_tensor_value_info(_TOGETHER, TensorProto.FLOAT, [batch, None]))
    return copy


def _units(model: onnx.ModelProto, images: Inputs) -> list[float]:
    session, feeds = open_session(model), Feeds.of_graph(model)
    axes = {state.output: state.axis or 0 for state in states_of(model)}
    first = [axes.get(o.name, 0) for o in model.graph.output]
    some = images[:_TRIED]
    size = feeds.batch or len(some)
    try:
        runs = [session.run(None, feeds(resized(some[i : i + size], size))) for i in range(0, len(some), size)]
    except Exception as error:  # the runtime's own classes share no base below Exception
        raise ModelError(
            f"several outputs: the graph does not run on calibration samples: {first_line(error)}"
        ) from None
    rows = [
        np.concatenate([_rows(r, axis) for r in part])
        for axis, part in zip(first, zip(*runs, strict=True), strict=True)
    ]
    units = [float(levelled(r[: len(some)], (("", r.shape[1]),))[0]) for r in rows]
    # By 1 the runtime's optimizer does not divide, and `as_several` would take another division for this one.
    return [_NOT_ONE if abs(unit - 1) < _NOT_ONE - 1 else unit for unit in units]


def _rows(found: Array, axis: int) -> npt.NDArray[np.float64]:
    """(n, numbers) of an output whose axis of this number counts samples."""
    return np.moveaxis(np.asarray(found, np.float64), axis, 0).reshape(found.shape[axis], -1)


def as_several(model: onnx.ModelProto, outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
    """What a step made of `as_one`'s graph, with the outputs that it had, under their names, and nothing of what stood behind them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, constants = copy.graph, constant_names(copy)
    makers = {name: node for node in graph.node for name in node.output}
    last = makers[_back(graph.output[0].name, makers, constants, "Concat")]
    found = []
    for value, part in zip(outputs, last.input, strict=True):
        made = makers[_back(part, makers, constants, "Div")].input[0]
        if not _is_float(value):
            made = makers[_back(made, makers, constants, "Cast")].input[0]
        found.append(made)
    if len(set(found)) != len(found):
        raise ModelError("several outputs: two of them are the same tensor; name it once under model.outputs")
    taken = {v.name for v in outputs}
    # A tensor may have lost its name to the one before it was rounded.
    halves = _halves(copy, found)
    half = {v.name for v, made in zip(outputs, found, strict=True) if made in halves and _is_float(v)}
    names = {made: f"{v.name}/half" if v.name in half else v.name for v, made in zip(outputs, found, strict=True)}
    # What a step named shortly may have an output's name, too, weights among it.
    own = [*(name for node in graph.node for name in node.output), *(t.name for t in graph.initializer)]
    names |= {name: f"{name}/before" for name in own if name in taken and name not in names}
    for node in graph.node:
        for side in (node.input, node.output):
            for i, name in enumerate(side):
                side[i] = names.get(name, name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for name in sorted(half):
        graph.node.append(helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/float", to=TensorProto.FLOAT))
    del graph.output[:]
    graph.output.extend(outputs)
    _drop_unread(graph)
    return copy


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)


def _halves(model: onnx.ModelProto, names: Sequence[str]) -> set[str]:
    """Those of the tensors that are float16 since a step made the network compute so."""
    casts = [a.i for node in model.graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"]
    if TensorProto.FLOAT16 not in casts:
        return set()
    outputs = open_session(with_outputs(model, list(names))).get_outputs()
    return {o.name for o in outputs if o.type == "tensor(float16)"}


def described(outputs: Sequence[onnx.ValueInfoProto]) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
    """Name, number type and axes, 0 where free, of each output: what `with_outputs_of` makes them of again."""
    return tuple(
        (o.name, o.type.tensor_type.elem_type, tuple(d.dim_value for d in o.type.tensor_type.shape.dim))
        for o in outputs
    )


def with_outputs_of(model: onnx.ModelProto, outputs: Sequence[tuple[str, int, tuple[int, ...]]]) -> onnx.ModelProto:
    """A graph that was made of `as_one`'s, with the outputs that `described` told of; as it is where there are none."""
    if not outputs:
        return model
    values = [
        helper.make_tensor_value_info(name, kind, [size or (None if i else "N") for i, size in enumerate(axes)])
        for name, kind, axes in outputs
    ]
    return as_several(model, values)


def _back(name: str, makers: dict[str, onnx.NodeProto], constants: set[str], kind: str) -> str:
    """From a tensor back along what depends on the input, to the one that a node of this kind makes."""
    while name in makers and makers[name].op_type != kind:
        name = next((i for i in makers[name].input if i and i not in constants), "")
    if name not in makers:
        raise ModelError(
            "several outputs: a step moved what they are made of; give the one that counts under model.output"
        )
    return name


def _drop_unread(graph: onnx.GraphProto) -> None:
    needed, nodes = {v.name for v in graph.output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
            needed |= {*node.input}
    tensors = [onnx.TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes[::-1])
    graph.initializer.extend(tensors)
