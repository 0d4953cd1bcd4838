"""What a spec says of a graph's inputs and outputs, made of the graph: constants stored in it, the output that counts, states behind it.

Afterwards a graph takes what the data have, and gives one tensor; states that are fed back it also takes and gives, and says which they
are. A state that nothing is fed back into is zeros in it. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.graph import graph_inputs
from engine.graph.inputs import Array, NamedArrays, as_type, element_type
from engine.graph.states import State, counted, set_states, states_of
from engine.spec.sections import Data, Model


@dataclass(frozen=True)
class Interface:
    """`arrays`: the inputs that the data have, None where they do not say so (a single one has no name then); the others as in a spec.

    `known`: whether the data are known at all.
    """

    arrays: tuple[str, ...] | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, str | None] = field(default_factory=dict)
    axes: Mapping[str, int] = field(default_factory=dict)
    output: str | int | None = None
    outputs: tuple[str | int, ...] = ()
    known: bool = False

    @classmethod
    def of(cls, model: Model, data: Dataset | Data | None = None) -> Interface:
        """Of a model's section and, where they are at hand, the data."""
        own: dict[str, Any] = {
            "state": model.state,
            "axes": model.axes,
            "output": model.output,
            "outputs": model.outputs,
        }
        if data is None:
            return cls(None, **own)
        if isinstance(data, Data):
            return cls(None, data.constants, **own)
        inputs = data.train.inputs
        named = tuple(inputs.arrays) if isinstance(inputs, NamedArrays) else (data.only,) if data.only else None
        return cls(named, data.constants, known=True, **own)


def shape_interface(model: onnx.ModelProto, said: str, wanted: Interface) -> None:
    """Store constants and states in a graph, keep one output and what it is made from, in place. Raises ModelError."""
    names = [i.name for i in graph_inputs(model)]
    for section, stated in (
        ("data.inputs", [*wanted.constants, *(wanted.arrays or ())]),
        ("model.state", [*wanted.state]),
    ):
        unknown = next((name for name in stated if name not in names), None)
        if unknown is not None:
            raise ModelError(f"{said} has no input {unknown!r} (it takes {', '.join(names)}); correct {section}")
    both = next((n for n in wanted.state if n in {*wanted.constants, *(wanted.arrays or ())}), None)
    if both is not None:
        raise ModelError(f"input {both!r} is under data.inputs and under model.state; leave it out of one of them")
    counting = _keep_output(model, said, wanted)
    left = [n for n in names if n not in wanted.constants and n not in wanted.state]
    if not left:
        raise ModelError(f"{said}: every input is a constant or a state; give one of them an array under data.inputs")
    if wanted.known:
        _check_arrays(model, said, left, wanted.arrays)
    values = {value.name: value for value in graph_inputs(model)}
    for name, value in wanted.constants.items():
        twin = next((n for n in left if _axes(values[n]) == _axes(values[name])), None)
        if twin is not None and not isinstance(value, list):
            _filled(model, values[name], value, twin, said)
        else:
            model.graph.initializer.append(
                numpy_helper.from_array(_constant(values[name], value, said, wanted.axes), name)
            )
    first = [d for n in left for d in values[n].type.tensor_type.shape.dim[:1]]
    batch, fixed = {d.dim_param for d in first if d.dim_param}, all(d.dim_value for d in first)
    opened = []
    for name, output in wanted.state.items():
        axis = _batch_axis(values[name], batch, wanted.axes, said)
        if output is None or (axis is None and not fixed):
            _zeros(model, values[name], left[0], axis, wanted.axes)
            continue
        for i, dim in enumerate(values[name].type.tensor_type.shape.dim):
            if i != axis:
                dim.dim_value = dim.dim_value or wanted.axes[dim.dim_param]
        opened.append(State(name, output, axis))
    if len(left) < len(names):
        _set_inputs(model, [values[n] for n in (*left, *(state.input for state in opened))])
    _drop_outputs(model, {*wanted.state.values()} - {state.output for state in opened} - {*counting})
    set_states(model, opened)


def closed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that takes no states: they are zeros in it, and nothing of what is fed back is given."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    states, values = states_of(copy), {value.name: value for value in graph_inputs(copy)}
    names = [state.input for state in states]
    fed = next(name for name in values if name not in names)
    for state in states:
        _zeros(copy, values[state.input], fed, state.axis, {})
    if states:
        _set_inputs(copy, [value for name, value in values.items() if name not in names])
        _prune(copy.graph, counted(copy))
        set_states(copy, ())
    return copy


def _set_inputs(model: onnx.ModelProto, values: list[onnx.ValueInfoProto]) -> None:
    kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in values]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _described(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    return f"{value.name} {kind} ({', '.join(str(d.dim_value or d.dim_param or '?') for d in tensor.shape.dim)})"


def _check_arrays(model: onnx.ModelProto, said: str, left: list[str], arrays: tuple[str, ...] | None) -> None:
    """The data have what is left of the inputs."""
    values = {value.name: value for value in graph_inputs(model)}
    if arrays is None:
        if len(left) == 1:
            return
        listed = ", ".join(_described(values[n]) for n in left)
        raise ModelError(
            f"{said} has {len(left)} inputs: {listed}; name the array of each, or a number, under data.inputs, as in "
            f"{{{left[0]}: x, {left[1]}: ARRAY}}, or list under model.state what begins as zeros"
        )
    missing = next((n for n in left if n not in arrays), None)
    if missing is not None:
        raise ModelError(
            f"{said} also takes {_described(values[missing])}; name its array, or a number, under data.inputs, or list it under model.state"
        )


def _keep_output(model: onnx.ModelProto, said: str, wanted: Interface) -> list[str]:
    """Keep what counts, and what is fed back, behind it; the names of what counts."""
    outputs = [o.name for o in model.graph.output]
    fed_back = {name for name in wanted.state.values() if name is not None}
    if unknown := sorted(fed_back - {*outputs}):
        raise ModelError(f"{said} has no output {unknown[0]!r} (it gives {', '.join(outputs)}); correct model.state")
    if wanted.outputs:
        kept = [_named(at, outputs, f"{said} has no output {at!r}", "model.outputs") for at in wanted.outputs]
        twice = next((name for i, name in enumerate(kept) if name in kept[:i]), None)
        if twice is not None:
            raise ModelError(
                f"{said}: the output {twice!r} is under model.outputs twice, by its name and its number; leave one out"
            )
    elif wanted.output is not None:
        kept = [_named(wanted.output, outputs, f"{said} has no output {wanted.output!r}", "model.output")]
    else:
        rest = [name for name in outputs if name not in fed_back]
        if len(rest) != 1:
            raise ModelError(
                f"{said} has {len(outputs)} outputs ({', '.join(outputs)}); say which counts: model.output: "
                f"{(rest or outputs)[0]}, or which count at once: model.outputs"
            )
        kept = rest
    both = next((name for name in kept if name in fed_back), None)
    if both is not None:
        raise ModelError(
            f"{said}: the output {both!r} counts and is fed back; export it under two names, as with an Identity"
        )
    if (whole := [*kept, *(n for n in dict.fromkeys(wanted.state.values()) if n is not None)]) != outputs:
        _prune(model.graph, whole)
    return kept


def _drop_outputs(model: onnx.ModelProto, names: Collection[str | None]) -> None:
    kept = [o.name for o in model.graph.output if o.name not in names]
    if len(kept) < len(model.graph.output):
        _prune(model.graph, kept)


def _named(at: str | int, outputs: Sequence[str], lacks: str, section: str) -> str:
    if isinstance(at, int) and 0 <= at < len(outputs):
        return outputs[at]
    if at in outputs:
        return str(at)
    raise ModelError(f"{lacks} (it gives {', '.join(outputs)}); correct {section}")


def _prune(graph: onnx.GraphProto, outputs: Sequence[str]) -> None:
    """The outputs named, in that order, and the nodes and weights that they are made from, in place; the inputs stay."""
    values = {o.name: onnx.ValueInfoProto.FromString(o.SerializeToString()) for o in graph.output}
    del graph.output[:]
    graph.output.extend(values[name] for name in outputs)
    needed, nodes = {*outputs}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
            needed |= _reads(node)
    tensors = [onnx.TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes[::-1])
    graph.initializer.extend(tensors)


def _reads(node: onnx.NodeProto) -> set[str]:
    """What a node reads, inside its branches and loops too."""
    found = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            found |= {name for inner in graph.node for name in _reads(inner)} | {o.name for o in graph.output}
    return found


def _constant(value: onnx.ValueInfoProto, stated: Any, said: str, sizes: Mapping[str, int]) -> Array:
    tensor = value.type.tensor_type
    axes = [d.dim_value or sizes.get(d.dim_param, 0) for d in tensor.shape.dim]
    try:
        found = np.array(stated)
    except ValueError:
        found = np.array(object())
    if found.ndim == 0 and axes and all(axes):
        found = np.full(axes, found)
    fits = found.ndim == len(axes) and all(size in (0, own) for size, own in zip(axes, found.shape, strict=True))
    if found.dtype.kind not in "iufb" or not fits:
        raise ModelError(
            f"{said}: {_described(value)} cannot be {stated!r:.60}; give numbers of its shape, or an array of the data"
        )
    try:
        return as_type(found, element_type(tensor.elem_type, value.name), f"input {value.name!r}")
    except ModelError:
        raise ModelError(f"{said}: {_described(value)} cannot be {stated!r:.60}; correct data.inputs") from None


def _axes(value: onnx.ValueInfoProto) -> list[str | int]:
    return [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]


def _filled(model: onnx.ModelProto, value: onnx.ValueInfoProto, stated: Any, twin: str, said: str) -> None:
    """One number in the place of an input, in the shape of another that has the same axes."""
    kind = element_type(value.type.tensor_type.elem_type, value.name)
    try:
        number = as_type(np.array([stated]), kind, value.name)
    except ModelError:
        raise ModelError(f"{said}: {_described(value)} cannot be {stated!r:.60}; correct data.inputs") from None
    shape = f"{value.name}/shape"
    nodes = [
        helper.make_node("Shape", [twin], [shape]),
        helper.make_node("ConstantOfShape", [shape], [value.name], value=numpy_helper.from_array(number, "value")),
    ]
    _put_first(model, nodes)


def _put_first(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    rest = [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def _batch_axis(value: onnx.ValueInfoProto, batch: Collection[str], axes: Mapping[str, int], said: str) -> int | None:
    """Which axis of a state counts samples: the one that is free; None where none is. Raises ModelError for several."""
    dims = value.type.tensor_type.shape.dim
    free = [i for i, d in enumerate(dims) if not d.dim_value and d.dim_param not in axes]
    names = [dims[i].dim_param for i in free]
    if len(free) > 1 or (free and names[0] and batch and names[0] not in batch):
        raise ModelError(
            f"{said}: state {_described(value)} has free axes; give their sizes, as in model.axes: {{{names[-1] or 'NAME'}: 128}}, or "
            "export it with these sizes"
        )
    return free[0] if free else None


def _zeros(
    model: onnx.ModelProto, value: onnx.ValueInfoProto, fed: str, axis: int | None, axes: Mapping[str, int]
) -> None:
    """Zeros in the place of an input; the `axis` that counts samples is as long as that of the input `fed`."""
    tensor = value.type.tensor_type
    kind = element_type(tensor.elem_type, value.name)
    sizes = [d.dim_value or axes.get(d.dim_param, 0) for d in tensor.shape.dim]
    if axis is None:
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(sizes, kind), value.name))
        return
    own = f"{value.name}/"
    parts = [np.array(sizes[:axis], np.int64), np.array(sizes[axis + 1 :], np.int64), np.array([0], np.int64)]
    for label, part in zip(("before", "after", "first"), parts, strict=True):
        model.graph.initializer.append(numpy_helper.from_array(part, own + label))
    nodes = [
        helper.make_node("Shape", [fed], [own + "fed"]),
        helper.make_node("Gather", [own + "fed", own + "first"], [own + "n"], axis=0),
        helper.make_node("Concat", [own + "before", own + "n", own + "after"], [own + "shape"], axis=0),
        helper.make_node(
            "ConstantOfShape", [own + "shape"], [value.name], value=numpy_helper.from_array(np.zeros(1, kind), "zero")
        ),
    ]
    _put_first(model, nodes)
