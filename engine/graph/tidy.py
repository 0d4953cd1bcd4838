"""Rewrites of an ONNX graph that change its bytes and not its results."""

from __future__ import annotations

import hashlib
import itertools
import string
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from engine.graph.graph import constant_names, constant_values, open_session
from engine.graph.multiplying import SMOOTHING
from engine.graph.states import set_states, states_of


def tidy(model: onnx.ModelProto, merge: bool = True) -> None:
    """Make a graph small and its bytes reproducible, in place.

    Constants become initialisers, equal initialisers are stored once (so tied weights stay tied in the file; not without `merge`),
    identities, unused initialisers, comments and recorded shapes go.
    """
    constants_to_initializers(model.graph)
    _drop_identities(model.graph)
    if merge:
        _deduplicate(model.graph)
    _drop_unused(model.graph)
    del model.graph.value_info[:]
    states = states_of(model)
    del model.metadata_props[:]
    set_states(model, states)
    for message in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.initializer,
        *model.graph.input,
        *model.graph.output,
    ):
        message.ClearField("doc_string")
    for node in model.graph.node:
        del node.metadata_props[:]


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Replace tensor names where nodes read them."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in names:
                node.input[i] = names[name]


def has_subgraphs(graph: onnx.GraphProto) -> bool:
    """Whether a branch or loop may read outer tensors by name, so that names must stay."""
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return any(a.type in kinds for n in graph.node for a in n.attribute)


def _keep_nodes(graph: onnx.GraphProto, kept: list[onnx.NodeProto]) -> None:
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in kept]
    del graph.node[:]
    graph.node.extend(copies)


def constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Tensors in Constant nodes become initialisers, in place."""
    kept, outputs = [], {o.name for o in graph.output}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value" and node.output[0] not in outputs:
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    _keep_nodes(graph, kept)


def fold_constants(graph: onnx.ModelProto) -> None:
    """What nodes compute of stored numbers alone becomes stored numbers, in place."""
    known = constant_names(graph)
    stored = {t.name for t in graph.graph.initializer}
    made = [n for n in graph.graph.node if n.output and all(name in known for name in n.output if name)]
    if not made:
        return
    gone = {name for node in made for name in node.output}
    left = [n for n in graph.graph.node if not gone.issuperset(n.output)]
    read = {name for node in left for name in node.input} | {o.name for o in graph.graph.output}
    for name, value in constant_values(graph, sorted(gone & read - stored)).items():
        graph.graph.initializer.append(numpy_helper.from_array(np.array(value, order="C"), name))
    _keep_nodes(graph.graph, left)


def _drop_identities(graph: onnx.GraphProto) -> None:
    if has_subgraphs(graph):
        return
    kept, outputs = [], {o.name for o in graph.output}
    same: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in ("Identity", "Dropout") and node.output[0] not in outputs and len(node.output) == 1:
            same[node.output[0]] = same.get(node.input[0], node.input[0])
        else:
            kept.append(node)
    _keep_nodes(graph, kept)
    rename(graph, same)


def _deduplicate(graph: onnx.GraphProto) -> None:
    if has_subgraphs(graph):
        return
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    kept = []
    for tensor in graph.initializer:
        content = onnx.TensorProto()
        content.CopyFrom(tensor)
        content.ClearField("name")
        content.ClearField("doc_string")
        if tensor.data_type != onnx.TensorProto.STRING and not tensor.raw_data:
            # The same numbers can be stored typed or raw; raw is the smaller and the one form that is compared.
            content.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)))
        key = hashlib.sha256(content.SerializeToString(deterministic=True)).digest()
        if key in first:
            same[tensor.name] = first[key]
            continue
        first[key] = tensor.name
        content.name = tensor.name
        kept.append(content)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    rename(graph, same)


def _drop_unused(graph: onnx.GraphProto) -> None:
    if has_subgraphs(graph):
        return
    outputs = {o.name for o in graph.output}
    needed = set(outputs)
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    _keep_nodes(graph, kept[::-1])
    tensors = [t for t in graph.initializer if t.name in needed]
    weights = {t.name for t in graph.initializer}
    copies = [onnx.TensorProto.FromString(t.SerializeToString()) for t in tensors]
    inputs = [onnx.ValueInfoProto.FromString(i.SerializeToString()) for i in graph.input if i.name not in weights]
    del graph.initializer[:]
    graph.initializer.extend(copies)
    # Files from before IR version 4 list their weights among the inputs.
    del graph.input[:]
    graph.input.extend(inputs)


def _short_names() -> Iterator[str]:
    """a, b, … Z, aa, ab, …"""
    letters = string.ascii_letters
    for length in itertools.count(1):
        yield from map("".join, itertools.product(letters, repeat=length))


_NAMED = frozenset(
    {"Conv", "ConvTranspose", "Gather", "Gemm", "GRU", "LSTM", "LayerNormalization", "MatMul", "MatMulInteger", "RNN"}
)


def shorten_names(model: onnx.ModelProto) -> None:
    """Rename every inner tensor to a few letters, in place: names are a tenth of a small quantized file.

    Inputs and outputs keep their names, what ends in `SMOOTHING` that ending; nodes lose theirs except layers, which are known by them in
    tables and error messages.
    """
    graph = model.graph
    if has_subgraphs(graph):
        return
    taken = {v.name for v in (*graph.input, *graph.output)}
    short: dict[str, str] = {}
    fresh = (name for name in _short_names() if name not in taken)

    def shortened(name: str) -> str:
        if not name or name in taken:
            return name
        if name not in short:
            short[name] = next(fresh) + (SMOOTHING if name.endswith(SMOOTHING) else "")
        return short[name]

    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = shortened(name)
        if node.op_type not in _NAMED and node.domain in ("", "ai.onnx"):
            node.ClearField("name")
    for tensor in graph.initializer:
        tensor.name = shortened(tensor.name)


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """What ONNX Runtime's basic optimizer makes of a graph: constants and batch norms folded.

    The graph itself where that would bring in the runtime's own operators. Raises ModelError for a graph that the
    runtime refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        open_session(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC, save=path)
        folded = onnx.load_model_from_string(path.read_bytes())
    if {n.domain for n in folded.graph.node} - {n.domain for n in model.graph.node} - {"", "ai.onnx"}:
        folded.CopyFrom(model)
    used = {n.domain for n in folded.graph.node} | {n.domain for f in folded.functions for n in f.node} | {""}
    kept = [o for o in folded.opset_import if o.domain in used or (o.domain == "ai.onnx" and "" in used)]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    return folded
