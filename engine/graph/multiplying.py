"""Operators that multiply, float ones and integer ones alike: which input is the data, which the weight, which is added."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import onnx

Form = Literal["conv", "transposed conv", "product", "recurrent"]
RECURRENT_OPS = ("GRU", "LSTM", "RNN")
"""Layers that multiply once for each step of a sequence, and beside their data a state, by input 2; nothing here changes them."""


@dataclass(frozen=True)
class _Places:
    """Positions among an operator's inputs: of its two factors, what it adds, and the zero points of its factors; -1 for none.

    `rounded`: whether the operator works on integers, or rounds its data to them itself.
    """

    form: Form
    factors: tuple[int, int] = (0, 1)
    bias: int = -1
    zeros: tuple[int, int] = (-1, -1)
    rounded: bool = False


# Those that are not ONNX's own are ONNX Runtime's, in the domain com.microsoft: onnxruntime/docs/ContribOperators.md.
_PLACES = {
    "Conv": _Places("conv", bias=2),
    "ConvTranspose": _Places("transposed conv", bias=2),
    "Gemm": _Places("product", bias=2),
    "MatMul": _Places("product"),
    **{name: _Places("recurrent", bias=3) for name in RECURRENT_OPS},
    "ConvInteger": _Places("conv", zeros=(2, 3), rounded=True),
    "MatMulInteger": _Places("product", zeros=(2, 3), rounded=True),
    "QLinearConv": _Places("conv", (0, 3), 8, (2, 5), rounded=True),
    "QLinearMatMul": _Places("product", (0, 3), zeros=(2, 5), rounded=True),
    "FusedConv": _Places("conv", bias=2),
    "FusedGemm": _Places("product", bias=2),
    "FusedMatMul": _Places("product"),
    "QGemm": _Places("product", (0, 3), 6, (2, 5), rounded=True),
    "MatMulIntegerToFloat": _Places("product", bias=6, zeros=(4, 5), rounded=True),
    "DynamicQuantizeMatMul": _Places("product", bias=4, zeros=(-1, 3), rounded=True),
    "DynamicQuantizeLSTM": _Places("recurrent", bias=3, zeros=(-1, 9), rounded=True),
    # Codes of a few bits in blocks, with scales; computes in floats (engine/graph/blocks.py).
    "MatMulNBits": _Places("product", bias=5, zeros=(-1, 3)),
}
SMOOTHING = "/smoothing"
"""How the name of a tensor ends by which activations are divided so that they round well (engine/compress/quantization/smooth.py): nothing
else tells it from the learned scale of a norm, and it was not learned."""
UNCOUNTED = frozenset(
    {
        "Attention", "DecoderMaskedMultiHeadAttention", "Einsum", "GroupQueryAttention", "LongformerAttention",
        "MatMulBnb4", "MatMulFpQ4", "MoE", "MultiHeadAttention", "NhwcFusedConv", "PackedAttention", "QAttention", "QMoE",
        "QOrderedAttention", "QOrderedMatMul",
    }
)  # fmt: skip
"""Names of further operators that multiply, whose work and weights nothing here counts."""
MULTIPLYING = frozenset(_PLACES)
"""Names of the operators that multiply."""


@dataclass(frozen=True)
class Factors:
    """The inputs of an operator that multiplies, by tensor name, "" where there is none.

    `weight` is the factor that does not depend on the network's input, on whichever side it stands (`left`); of two activations the right
    one. `rounded`: whether the data are integers inside the operator, whose zero point, where one is given, is `data_zero`.
    """

    form: Form
    data: str
    weight: str
    bias: str
    data_zero: str
    weight_zero: str
    left: bool
    rounded: bool
    channels: int

    def macs(
        self, node: onnx.NodeProto, data: tuple[int, ...], weight: tuple[int, ...], output: tuple[int, ...]
    ) -> int:
        """Multiply-accumulates of one run, from the shapes of data, weight and result; not of recurrent layers."""
        size = 1
        if self.form == "product":
            left = weight if self.left else data
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            summed: tuple[int, ...] = left[-2:-1] if transposed else left[-1:]
        else:  # (out, in / group, …): every output sums over one filter; of ConvTranspose every input is spread over one
            summed = weight[1:]
        for n in (*(data if self.form == "transposed conv" else output), *summed):
            size *= n
        return size


def factors_of(node: onnx.NodeProto, constants: Collection[str]) -> Factors | None:
    """What a node multiplies, given the names of all tensors that do not depend on the network's input; None where it does not."""
    places = _PLACES.get(node.op_type)
    if places is None:
        return None

    def named(place: int) -> str:
        return str(node.input[place]) if 0 <= place < len(node.input) else ""

    first, second = (named(place) for place in places.factors)
    zeros = [named(place) for place in places.zeros]
    left = first in constants and second not in constants and places.form == "product"
    data, weight = (second, first) if left else (first, second)
    if left:
        zeros.reverse()
    rows = left != any(a.name == ("transA" if left else "transB") and a.i for a in node.attribute)
    channels = 0 if places.form == "conv" else (-2 if rows else -1)
    return Factors(places.form, data, weight, named(places.bias), zeros[0], zeros[1], left, places.rounded, channels)


def rounds_to_integers(node: onnx.NodeProto) -> bool:
    """Whether a node belongs to a quantized graph: of the forms QDQ and QOperator, of dynamic quantization, or of ONNX Runtime's own."""
    return (
        node.op_type.startswith(("QLinear", "QAttention", "QGemm", "MatMulNBits", "MatMulBnb4", "DynamicQuantize"))
        or node.op_type.endswith(("QuantizeLinear", "DequantizeLinear"))
        or (node.op_type in _PLACES and _PLACES[node.op_type].rounded)
    )


def rounds_as_it_runs(model: onnx.ModelProto) -> bool:
    """Whether a graph rounds to ranges that it finds while it runs, so that an answer depends on what else is in its batch; in a
    branch or loop, too.
    """
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while nodes:
        node = nodes.pop()
        if node.op_type.startswith("DynamicQuantize"):
            return True
        nodes += [inner for a in node.attribute for graph in (a.g, *a.graphs) for inner in graph.node]
    return False
