"""What a user should know of the weights that a quantize step stores otherwise than asked, in a sentence each."""

from __future__ import annotations

import math
from collections import Counter

import onnx

from engine.compress.quantization.others import is_table, worth_rounding
from engine.compress.quantization.weights import find_layers, one_axis_each, weight_names
from engine.graph.multiplying import RECURRENT_OPS, factors_of

_WORTH_TELLING = 0.01
"""Of the parameters that are read by layers, a share from which on it matters that they stay in float."""


def left_as_it_is(prepared: onnx.ModelProto, one_scale: bool, in_integers: bool, along_outputs: bool) -> str | None:
    """All that is to be told of a prepared graph; None for nothing. `one_scale`: as `left_in_float` has it; `in_integers`: whether products
    are computed in these; `along_outputs`: whether a matrix of two kinds of use is stored twice.
    """
    found = (
        left_in_float(prepared, one_scale),
        fused_attention(prepared) if in_integers else None,
        stored_twice(prepared) if along_outputs else None,
    )
    return " ".join(sentence for sentence in found if sentence) or None


def left_in_float(prepared: onnx.ModelProto, one_scale: bool = False) -> str | None:
    """Which layers have weights that no way of rounding takes, in words; None where they are few.

    `one_scale`: whether each matrix has one for all of it, so that rows can be looked up in one whatever its outputs are.
    """
    sizes = {t.name: math.prod(t.dims) for t in prepared.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    layers = {layer.weight: layer.axis for layer in find_layers(prepared.graph.node, weight_names(prepared.graph))}
    rounded = {*layers, *worth_rounding(prepared, layers, 8, {})}
    left: dict[str, str] = {}
    for node in prepared.graph.node:
        for name in _weights(node, sizes):
            # A matrix whose outputs are not its rows is looked up as it was, as are columns.
            by_rows = is_table(node) and (one_scale or not layers.get(name))
            if name not in rounded or (node.op_type == "Gather" and not by_rows):
                left.setdefault(name, f"{node.op_type} {node.name or node.output[0]!r}")
    share = sum(sizes[name] for name in left) / max(1, sum(sizes[name] for name in {*left, *rounded}))
    if share < _WORTH_TELLING:
        return None
    nodes = list(dict.fromkeys(left.values()))
    named = ", ".join(nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
    return f"{100 * share:.2g} % of the weights stay in 32-bit floats, which no step rounds there: {named}."


def _weights(node: onnx.NodeProto, stored: dict[str, int]) -> list[str]:
    """Stored weights that a node multiplies by or looks up."""
    if node.op_type in RECURRENT_OPS:
        names = list(node.input[1:3])
    elif node.op_type == "Gather":
        names = list(node.input[:1])
    else:
        factors = factors_of(node, stored)
        names = [factors.weight] if factors else []
    return [name for name in names if name in stored]


def fused_attention(prepared: onnx.ModelProto) -> str | None:
    """Which attention is one node that computes in float and that nothing here takes apart, in words; None for none."""
    found = [node for node in prepared.graph.node if node.op_type.endswith("Attention")]
    if not found:
        return None
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(node.op_type for node in found).items())
    first = found[0].name or found[0].output[0]
    return (
        f"{kinds} (the first is {first!r}) multiply in 32-bit floats, whatever is rounded around them: nodes with a past, a causal mask "
        "or heads of their own are left as they are; export the network without the fusion for integers there."
    )


def stored_twice(prepared: onnx.ModelProto) -> str | None:
    """Which weights an integer network has once for each of two uses."""
    before = {t.name for t in prepared.graph.initializer}
    count = len(one_axis_each(prepared).graph.initializer) - len(before)
    if not count:
        return None
    what = "One matrix is" if count == 1 else f"{count} matrices are"
    return f"{what} used both straight and transposed and stored once for either: its kernels take scales along a layer's outputs."
