"""Layers in the one form that quantization knows: data times a stored matrix or filter, plus one stored number for each output channel.

Exporters and the runtime's own fusions write more than that: a residual as Gemm's third input, a bias that is computed, a product with the
stored factor on its left or transposed, a batch of one matrix. Each becomes the plain layer and what is left of it as nodes around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from engine.graph.counts import run_shapes

Node = onnx.NodeProto
Array = npt.NDArray[Any]


def to_plain_layers(model: onnx.ModelProto) -> None:
    """Rewrite the layers of a folded graph of opset 21 that are not plain, in place; the graph computes what it did, to rounding."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    _take_in_norms(model.graph, stored)
    rewriting = _Rewriting(stored, _ranks(model, stored))
    for node in model.graph.node:
        rewriting.add(node)
    nodes = [Node.FromString(n.SerializeToString()) for n in rewriting.nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in rewriting.made.items())


def _take_in_norms(graph: onnx.GraphProto, stored: dict[str, Array]) -> None:
    """Batch norms behind a Gemm become part of it, in place: ONNX Runtime folds those behind Conv and MatMul alone.

    y = (xW + b - mean) * s + shift with s = scale / sqrt(var + epsilon), so that W becomes W * s, and b becomes (b - mean) * s + shift.
    """
    uses = Counter(name for node in graph.node for name in node.input) + Counter(o.name for o in graph.output)
    makers = {output: node for node in graph.node for output in node.output}
    gone = []
    for norm in graph.node:
        gemm = makers.get(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if gemm is None or gemm.op_type != "Gemm" or uses[gemm.output[0]] > 1 or len(norm.output) > 1:
            continue
        of_gemm, of_norm = ({a.name: helper.get_attribute_value(a) for a in n.attribute} for n in (gemm, norm))
        bias = gemm.input[2] if len(gemm.input) > 2 else ""
        known = {gemm.input[1], *norm.input[1:5], *([bias] if bias else [])} <= stored.keys()
        if not known or gemm.input[0] in stored or of_gemm.get("beta", 1.0) != 1.0 or of_norm.get("training_mode"):
            continue
        scale, shift, mean, variance = (stored[name].astype(np.float64) for name in norm.input[1:5])
        factor, before = scale / np.sqrt(variance + of_norm.get("epsilon", 1e-5)), stored.get(bias, np.zeros(1))
        if before.size not in (1, factor.size) or before.ndim > 1 + (before.shape[0] == 1):
            continue
        weight = stored[gemm.input[1]].astype(np.float64)
        weight = weight * (factor[:, None] if of_gemm.get("transB") else factor)
        added = (before.reshape(-1) - mean) * factor + shift
        own = gemm.input[1] if uses[gemm.input[1]] == 1 else f"{norm.output[0]}/weight"
        for name, value in ((own, weight), (f"{norm.output[0]}/bias", added)):
            stored[name] = value.astype(np.float32)
            kept = [t for t in graph.initializer if t.name != name]
            del graph.initializer[:]
            graph.initializer.extend([*kept, numpy_helper.from_array(np.ascontiguousarray(stored[name]), name)])
        del gemm.input[1:]
        gemm.input.extend([own, f"{norm.output[0]}/bias"])
        gemm.output[0] = norm.output[0]
        makers[norm.output[0]] = gemm
        gone.append(norm)
    for norm in gone:
        graph.node.remove(norm)


def is_bias(value: Array, channels: int) -> bool:
    """Whether an addend of (…, channels) has one number for each channel, or one for all."""
    return value.size == 1 or (value.size == channels and value.shape[-1] == channels)


_FAR = 1000.0


def holds_a_mask(bias: Array) -> bool:
    """Whether some numbers of a bias lie so far beyond the others that nothing is left of these in a few bits, as of -1e9 or -inf for a
    class that is ruled out: above a thousand, and a thousand times the median.
    """
    size = np.abs(bias.astype(np.float64))
    return bool(size.size and (size > _FAR * max(1.0, float(np.median(size)))).any())


def _ranks(model: onnx.ModelProto, stored: dict[str, Array]) -> dict[str, int]:
    """How many axes the data of those products has whose matrix stands on the left or in a batch, seen in a run."""
    wanted = []
    for node in model.graph.node:
        if node.op_type == "MatMul":
            left, right = node.input
            wanted += [right] if left in stored and right not in stored else []
            wanted += [left] if right in stored and stored[right].ndim > 2 and left not in stored else []
    return {name: len(shape) for name, shape in run_shapes(model, wanted).items()} if wanted else {}


@dataclass
class _Rewriting:
    """`nodes` so far; `stored`: the graph's constants; `made`: those that are new; `ranks`: as `_ranks` gives them."""

    stored: dict[str, Array]
    ranks: dict[str, int]
    nodes: list[Node] = field(default_factory=list)
    made: dict[str, Array] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """The node itself, or what stands for it."""
        known = [name in self.stored for name in node.input]
        if node.domain not in ("", "ai.onnx"):
            self.nodes.append(node)
        elif node.op_type == "Conv" and known[1] and len(known) > 2 and node.input[2] and self._is_apart(node.input[2]):
            self._conv_with_addend(node)
        elif node.op_type == "Gemm" and known[0] != known[1]:
            self._gemm(node, on_the_left=known[0])
        elif node.op_type == "MatMul" and known[0] != known[1]:
            self._product(node, on_the_left=known[0])
        else:
            self.nodes.append(node)

    def _is_apart(self, bias: str) -> bool:
        """Whether a bias is computed, or would be lost in the layer's own few bits."""
        return bias not in self.stored or holds_a_mask(self.stored[bias])

    def _keep(self, value: Array, name: str) -> str:
        self.made[name] = np.ascontiguousarray(value)
        return name

    def _node(self, op: str, inputs: Sequence[str], output: str, name: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def _swapped(self, tensor: str, rank: int, output: str) -> str:
        """The last two axes of a tensor exchanged."""
        return self._node("Transpose", [tensor], output, perm=[*range(rank - 2), rank - 1, rank - 2])

    def _conv_with_addend(self, node: Node) -> None:
        out, rank = node.output[0], self.stored[node.input[1]].ndim
        plain = Node()
        plain.CopyFrom(node)
        del plain.input[2:]
        plain.output[0] = f"{out}/product"
        self.nodes.append(plain)
        axes = self._keep(np.arange(1, rank - 1, dtype=np.int64), f"{out}/axes")
        bias = self._node("Unsqueeze", [node.input[2], axes], f"{out}/addend")
        self._node("Add", [plain.output[0], bias], out)

    def _gemm(self, node: Node, on_the_left: bool) -> None:
        """alpha · A' · B' + beta · C, of which one factor is stored; with A stored it is the transposed product that is plain."""
        a: dict[str, Any] = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        out, weight = node.output[0], node.input[0 if on_the_left else 1]
        data, addend = node.input[1 if on_the_left else 0], node.input[2] if len(node.input) > 2 else ""
        turned = bool(a.get("transB" if on_the_left else "transA"))
        # Of the plain product: whether the weight is stored as (channels, inputs).
        rows = not a.get("transA") if on_the_left else bool(a.get("transB"))
        if (alpha := a.get("alpha", 1.0)) != 1.0:
            weight = self._keep(self.stored[weight] * self.stored[weight].dtype.type(alpha), f"{out}/weight")
        if turned != on_the_left:
            data = self._swapped(data, 2, f"{out}/data")
        value = self.made.get(weight, self.stored.get(weight))
        assert value is not None
        bias, addend = self._bias(addend, a.get("beta", 1.0), value.shape[0 if rows else 1], on_the_left, out)
        plain = f"{out}/product" if addend or on_the_left else out
        inputs = [data, weight, *([bias] if bias else [])]
        self._node("Gemm", inputs, plain, node.name, **({"transB": 1} if rows else {}))
        if on_the_left:
            plain = self._swapped(plain, 2, f"{out}/swapped" if addend else out)
        if addend:
            self._node("Add", [plain, addend], out)

    def _bias(self, addend: str, beta: float, channels: int, transposed: bool, out: str) -> tuple[str, str]:
        """beta · C as (a bias of the plain product, what is left to be added), either "" where there is none."""
        value = self.stored.get(addend)
        if not addend or (value is None and beta == 1.0):
            return "", addend
        if value is None:
            return "", self._node(
                "Mul", [addend, self._keep(np.array(beta, np.float32), f"{out}/beta")], f"{out}/addend"
            )
        seen = value.T if transposed and value.ndim == 2 else value
        if transposed and value.ndim == 1 and value.size > 1:
            seen = value[:, None]  # one number for each column of the result, which are the rows of the plain product
        as_bias = is_bias(seen, channels) and not holds_a_mask(seen)
        if beta != 1.0 or (as_bias and seen.shape != value.shape):
            addend = self._keep((seen if as_bias else value) * np.float32(beta), f"{out}/addend")
        return (addend, "") if as_bias else ("", addend)

    def _product(self, node: Node, on_the_left: bool) -> None:
        weight, data = (node.input[i] for i in ((0, 1) if on_the_left else (1, 0)))
        value, rank, out = self.stored[weight], self.ranks.get(data, 0), node.output[0]
        alone = value.ndim == 2 or (value.ndim > 2 and set(value.shape[:-2]) == {1} and rank >= value.ndim)
        if not alone or (value.ndim == 2 and not on_the_left):
            self.nodes.append(node)
            return
        matrix = value.reshape(value.shape[-2:])
        if not on_the_left:
            self._node("MatMul", [data, self._keep(matrix, f"{weight}/matrix")], out, node.name)
            return
        matrix_name = self._keep(matrix.T, f"{weight}/transposed")
        if rank == 1:
            self._node("MatMul", [data, matrix_name], out, node.name)
            return
        swapped = self._swapped(data, rank, f"{out}/data")
        self._swapped(self._node("MatMul", [swapped, matrix_name], f"{out}/product", node.name), rank, out)
