"""ONNX Runtime's fused operators of transformers in ONNX's own: what its optimizer writes can be counted and rounded like any export.

Meanings as in onnxruntime/docs/ContribOperators.md, domain com.microsoft. The runtime fuses them anew when it loads the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engine.graph.graph import Array, opset_of
from engine.graph.ranks import Ranks

_DOMAIN = "com.microsoft"
_OPSET = 17
"""The oldest with LayerNormalization."""


def spelled_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph, or a copy in which Attention with weights, FusedMatMul, (Skip, Embed)LayerNormalization and kinds of Gelu are nodes of
    ONNX's own. Where a fused node has something that these have not (a past, masks of beginnings and ends, a causal one), it stays.
    """
    if opset_of(model) < _OPSET or not any(_is_fused(node) for node in model.graph.node):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    stored = {t.name: len(t.dims) for t in model.graph.initializer}
    read = {name for node in model.graph.node for name in node.input} | {o.name for o in model.graph.output}
    ranks = Ranks(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        made = _Made(node, stored, ranks, read)
        if _is_fused(node) and _WAYS[node.op_type](made):
            nodes += made.nodes
            result.graph.initializer.extend(made.constants)
        else:
            nodes.append(node)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del result.graph.node[:]
    result.graph.node.extend(copies)
    return result


def _is_fused(node: onnx.NodeProto) -> bool:
    return bool(node.domain == _DOMAIN and node.op_type in _WAYS)


class _Made:
    """What a fused node becomes: `nodes` and `constants`, named after it."""

    def __init__(
        self, node: onnx.NodeProto, stored: dict[str, int], ranks: Ranks, read: Collection[str | None]
    ) -> None:
        self.node, self.stored, self.ranks, self._read = node, stored, ranks, read
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.attributes: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self._base = node.name or node.output[0]

    def input(self, place: int) -> str:
        """The name of an input, "" for none."""
        return str(self.node.input[place]) if place < len(self.node.input) else ""

    def uses(self, place: int) -> bool:
        """Whether anybody reads an output."""
        return self._output(place) in self._read

    def _output(self, place: int) -> str | None:
        return (self.node.output[place] or None) if place < len(self.node.output) else None

    def rank(self, name: str) -> int | None:
        """How many axes a tensor has, None where nobody knows."""
        return self.stored[name] if name in self.stored else self.ranks.of(name)

    def constant(self, value: Array) -> str:
        """A tensor of its own."""
        name = f"{self._base}/constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def number(self, value: float) -> str:
        """A float32."""
        return self.constant(np.array(value, np.float32))

    def numbers(self, *values: int) -> str:
        """A vector of int64."""
        return self.constant(np.array(values, np.int64))

    def add(
        self, kind: str, *inputs: str, output: str = "", outputs: int = 1, name: str = "", **attributes: Any
    ) -> str:
        """A node; the name of its first output, which ends in 0 of several."""
        base = f"{self._base}/{kind}{len(self.nodes)}"
        made = [output or base] if outputs == 1 else [f"{base}:{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, made, name or base, **attributes))
        return made[0]


def _gelu(made: _Made, x: str) -> bool:
    inner = made.add("Erf", made.add("Div", x, made.number(math.sqrt(2))))
    half = made.add("Mul", x, made.add("Add", inner, made.number(1)))
    made.add("Mul", half, made.number(0.5), output=made.node.output[0])
    return True


def _bias_gelu(made: _Made) -> bool:
    return _gelu(made, made.add("Add", made.input(0), made.input(1)))


def _fast_gelu(made: _Made) -> bool:
    x = made.add("Add", made.input(0), made.input(1)) if made.input(1) else made.input(0)
    cube = made.add("Mul", made.add("Mul", x, x), x)
    inner = made.add("Add", x, made.add("Mul", cube, made.number(0.044715)))
    bent = made.add("Tanh", made.add("Mul", inner, made.number(math.sqrt(2 / math.pi))))
    half = made.add("Mul", x, made.add("Add", bent, made.number(1)))
    made.add("Mul", half, made.number(0.5), output=made.node.output[0])
    return True


def _quick_gelu(made: _Made) -> bool:
    x = made.input(0)
    share = made.add("Sigmoid", made.add("Mul", x, made.number(made.attributes.get("alpha", 1.702))))
    made.add("Mul", x, share, output=made.node.output[0])
    return True


def _norm(made: _Made, x: str, gamma: str, beta: str) -> bool:
    learned = (gamma, beta) if beta else (gamma,)
    epsilon = float(made.attributes.get("epsilon", 1e-12))
    made.add("LayerNormalization", x, *learned, output=made.node.output[0], axis=-1, epsilon=epsilon)
    return True


def _skip_norm(made: _Made) -> bool:
    if made.uses(1) or made.uses(2):
        return False
    added = [made.input(0), made.input(1), *([made.input(4)] if made.input(4) else [])]
    total = added[0]
    for i, name in enumerate(added[1:], 2):
        last = i == len(added)
        total = made.add("Add", total, name, output=made.node.output[3] if last and made.uses(3) else "")
    return _norm(made, total, made.input(2), made.input(3))


def _embed_norm(made: _Made) -> bool:
    ids, kinds, words, places, kind_table, gamma, beta, _, positions = (made.input(i) for i in range(9))
    if made.uses(1) or made.rank(ids) != 2:
        return False
    total = made.add("Gather", words, ids)
    if positions:
        where = made.add("Gather", places, positions)
    else:
        length = made.add("Slice", made.add("Shape", ids), made.numbers(1), made.numbers(2))
        where = made.add("Slice", places, made.numbers(0), length, made.numbers(0))
    last = made.node.output[2] if made.uses(2) else ""
    total = made.add("Add", total, where, output="" if kind_table else last)
    if kind_table:
        total = made.add("Add", total, made.add("Gather", kind_table, kinds), output=last)
    return _norm(made, total, gamma, beta)


def _product(made: _Made) -> bool:
    a = made.attributes
    if a.get("transBatchA") or a.get("transBatchB"):
        return False
    sides = [made.input(0), made.input(1)]
    if a.get("transA") or a.get("transB"):
        ranks = [made.rank(side) or 0 for side in sides]
        if min(ranks) < 2:  # beside a vector the runtime transposes nothing
            return False
        for place, name in enumerate(("transA", "transB")):
            if a.get(name):
                order = [*range(ranks[place] - 2), ranks[place] - 1, ranks[place] - 2]
                sides[place] = made.add("Transpose", sides[place], perm=order)
    alpha, output, name = float(a.get("alpha", 1.0)), made.node.output[0], made.node.name
    found = made.add("MatMul", *sides, output=output if alpha == 1 else "", name=name)
    if alpha != 1:
        made.add("Mul", found, made.number(alpha), output=output)
    return True


def _attention(made: _Made) -> bool:
    a, (x, weight, bias, mask, past, added) = made.attributes, (made.input(i) for i in range(6))
    unusual = a.get("unidirectional") or a.get("do_rotary") or past or made.input(6) or made.uses(1)
    if unusual or weight not in made.stored or not a.get("num_heads"):
        return False
    masked = made.rank(mask) if mask else 0
    if masked not in (0, 2, 3) and not (masked == 1 and made.ranks.sums_up_rows(mask)):
        return False
    width = made.ranks.width(weight)
    sizes = [int(n) for n in a.get("qkv_hidden_sizes") or [width // 3] * 3]
    heads = int(a["num_heads"])
    if sum(sizes) != width or any(size % heads for size in sizes):
        return False
    product = made.add("MatMul", x, weight, name=made.node.name)
    if bias:
        product = made.add("Add", product, bias)
    first = made.add("Split", product, made.numbers(*sizes), outputs=3, axis=-1)
    parts = [first.removesuffix("0") + str(i) for i in range(3)]
    apart = [made.add("Reshape", part, made.numbers(0, 0, heads, -1)) for part in parts]
    orders: Sequence[Sequence[int]] = ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))
    q, k, v = (made.add("Transpose", part, perm=order) for part, order in zip(apart, orders, strict=True))
    scale = float(a.get("scale", 0.0)) or 1 / math.sqrt(sizes[0] // heads)
    scores = made.add("Mul", made.add("MatMul", q, k), made.number(scale))
    if mask:
        there = made.add("Cast", _within(made, x, mask) if masked == 1 else mask, to=onnx.TensorProto.FLOAT)
        gone = made.add("Sub", made.number(1), there)
        far = made.add("Mul", gone, made.number(a.get("mask_filter_value", -10000.0)))
        axes = made.numbers(1) if masked == 3 else made.numbers(1, 2)
        scores = made.add("Add", scores, made.add("Unsqueeze", far, axes))
    if added:
        scores = made.add("Add", scores, added)
    seen = made.add("MatMul", made.add("Softmax", scores, axis=-1), v)
    together = made.add("Transpose", seen, perm=[0, 2, 1, 3])
    made.add("Reshape", together, made.numbers(0, 0, sizes[2]), output=made.node.output[0])
    return True


def _within(made: _Made, x: str, lengths: str) -> str:
    """(n, places), whether a place of x (n, places, …) lies within the sample's length."""
    count = made.add("Gather", made.add("Shape", x), made.constant(np.array(1)))
    places = made.add("Range", made.constant(np.array(0)), count, made.constant(np.array(1)))
    ends = made.add("Unsqueeze", made.add("Cast", lengths, to=onnx.TensorProto.INT64), made.numbers(1))
    return made.add("Less", places, ends)


_WAYS: dict[str, Callable[[_Made], bool]] = {
    "Attention": _attention, "FusedMatMul": _product, "SkipLayerNormalization": _skip_norm,
    "EmbedLayerNormalization": _embed_norm, "BiasGelu": _bias_gelu, "FastGelu": _fast_gelu, "QuickGelu": _quick_gelu,
    "Gelu": lambda made: _gelu(made, made.input(0)),
}  # fmt: skip
