"""A graph of several outputs as one of a single output, for steps that make one squared error small, and back again.

Each output is divided by how much it varies and flattened, and all are put side by side: (n, numbers). So every output weighs the same in
what a step keeps small, whatever its unit and size. Divisions are taken for this since nothing folds them into the layer before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ModelError
from engine.graph.graph import constant_names, first_line, fixed_batch, open_session
from engine.graph.inputs import Feeds, Inputs, resized
from engine.graph.outputs import levelled

_TRIED = 100
_TOGETHER = "outputs side by side"


def as_one(model: onnx.ModelProto, images: Inputs) -> onnx.ModelProto:
    """A copy with one output, of a graph of several; `images`: preprocessed inputs by which it is told how much each output varies.

    Raises ModelError where it does not run on them.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, flat = copy.graph, []
    for i, (value, unit) in enumerate(zip(list(graph.output), _units(model, images), strict=True)):
        name, own = value.name, f"{_TOGETHER}/{i}"
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            graph.node.append(helper.make_node("Cast", [name], [f"{own}/float"], to=TensorProto.FLOAT))
            name = f"{own}/float"
        graph.initializer.append(numpy_helper.from_array(np.array([unit], np.float32), f"{own}/unit"))
        graph.node.append(helper.make_node("Div", [name, f"{own}/unit"], [f"{own}/shares"]))
        graph.node.append(helper.make_node("Flatten", [f"{own}/shares"], [f"{own}/flat"], axis=1))
        flat.append(f"{own}/flat")
    graph.node.append(helper.make_node("Concat", flat, [_TOGETHER], axis=1))
    del graph.output[:]
    batch = fixed_batch(model) or "N"
    graph.output.append(helper.make_tensor_value_info(_TOGETHER, TensorProto.FLOAT, [batch, None]))
    return copy


def _units(model: onnx.ModelProto, images: Inputs) -> list[float]:
    session, feeds = open_session(model), Feeds.of_graph(model)
    some = images[:_TRIED]
    size = feeds.batch or len(some)
    try:
        runs = [session.run(None, feeds(resized(some[i : i + size], size))) for i in range(0, len(some), size)]
    except Exception as error:  # the runtime's own classes share no base below Exception
        raise ModelError(
            f"several outputs: the graph does not run on calibration samples: {first_line(error)}"
        ) from None
    rows = [
        np.concatenate([np.asarray(r, np.float64).reshape(len(r), -1) for r in part])
        for part in zip(*runs, strict=True)
    ]
    return [float(levelled(r[: len(some)], (("", r.shape[1]),))[0]) for r in rows]


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
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            made = makers[_back(made, makers, constants, "Cast")].input[0]
        found.append(made)
    if len(set(found)) != len(found):
        raise ModelError("several outputs: two of them are the same tensor; name it once under model.outputs")
    taken = {v.name for v in outputs}
    # A tensor may have lost its name to the one before it was rounded.
    names = {made: value.name for value, made in zip(outputs, found, strict=True)}
    # What a step named shortly may have an output's name, too, weights among it.
    own = [*(name for node in graph.node for name in node.output), *(t.name for t in graph.initializer)]
    names |= {name: f"{name}/before" for name in own if name in taken and name not in names}
    for node in graph.node:
        for side in (node.input, node.output):
            for i, name in enumerate(side):
                side[i] = names.get(name, name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    del graph.output[:]
    graph.output.extend(outputs)
    _drop_unread(graph)
    return copy


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
