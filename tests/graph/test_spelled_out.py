"""ONNX Runtime's fused operators of transformers, spelled out: against the runtime's own kernels, without its optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantize import quantized
from engine.graph.counts import graph_facts
from engine.graph.graph import Array, open_session
from engine.graph.inputs import NamedArrays
from engine.graph.spelled_out import spelled_out
from engine.spec.steps import Quantize
from tests.helpers.fused_bert import fused, plain, tokens
from tests.helpers.quantize_cases import UNOPTIMIZED

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 8)).astype(np.float32)
MASK = np.array([[1] * 5, [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], np.int32)
SQUARE = np.tril(np.ones((3, 5, 5), np.int32))
IDS = RNG.integers(0, 7, (3, 5)).astype(np.int32)


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def answers(model: onnx.ModelProto, fed: dict[str, Array]) -> list[Array]:
    found: list[Array] = open_session(model, UNOPTIMIZED).run(None, fed)
    return found


def one_node(
    kind: str, inputs: dict[str, Array], stored: dict[str, Array], order: str, outputs: str = "y", **attributes: Any
) -> onnx.ModelProto:
    node = helper.make_node(
        kind, ["" if n == "_" else n for n in order.split()], ["" if n == "_" else n for n in outputs.split()],
        "fused", domain="com.microsoft", **attributes,
    )  # fmt: skip
    fed = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), ["n", *v.shape[1:]])
        for n, v in inputs.items()
    ]
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 3) for n in outputs.split() if n != "_"]
    graph = helper.make_graph([node], "g", fed, given, [numpy_helper.from_array(v, n) for n, v in stored.items()])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


QKV = {"w": floats(8, 24), "b": floats(24)}
TABLES = {"words": floats(7, 8), "places": floats(9, 8), "kinds": floats(7, 8), "g": floats(8), "h": floats(8)}
CASES: dict[str, tuple[Any, ...]] = {
    "attention": ("Attention", {"x": X}, QKV, "x w b", "y", {"num_heads": 2}),
    "mask": ("Attention", {"x": X, "m": MASK}, QKV, "x w b m", "y", {"num_heads": 2}),
    "mask of pairs": ("Attention", {"x": X, "m": SQUARE}, QKV, "x w b m", "y", {"num_heads": 4}),
    "own filter and scale": (
        "Attention", {"x": X, "m": MASK}, QKV, "x w b m", "y", {"num_heads": 2, "mask_filter_value": -3.0, "scale": 0.7},
    ),
    "narrow values": (
        "Attention", {"x": X}, {"w": floats(8, 20), "b": floats(20)}, "x w b", "y",
        {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 4]},
    ),
    "added": (
        "Attention", {"x": X, "r": floats(3, 2, 5, 5)}, QKV, "x w b _ _ r", "y", {"num_heads": 2},
    ),
    "product": ("FusedMatMul", {"x": X}, {"w": floats(8, 4)}, "x w", "y", {"alpha": 0.25}),
    "turned weight": ("FusedMatMul", {"x": X}, {"w": floats(4, 8)}, "x w", "y", {"transB": 1}),
    "turned data": ("FusedMatMul", {"x": X, "z": floats(3, 5, 4)}, {}, "x z", "y", {"transA": 1, "alpha": 2.0}),
    "skip": (
        "SkipLayerNormalization", {"x": X, "s": floats(3, 5, 8)}, {"g": floats(8), "h": floats(8), "b": floats(8)},
        "x s g h b", "y _ _ t", {"epsilon": 1e-5},
    ),
    "skip alone": ("SkipLayerNormalization", {"x": X, "s": floats(3, 5, 8)}, {"g": floats(8)}, "x s g", "y", {"epsilon": 0.1}),
    "bias and gelu": ("BiasGelu", {"x": X}, {"b": floats(8)}, "x b", "y", {}),
    "gelu": ("Gelu", {"x": X}, {}, "x", "y", {}),
    "fast gelu": ("FastGelu", {"x": X}, {}, "x", "y", {}),
    "quick gelu": ("QuickGelu", {"x": X}, {}, "x", "y", {"alpha": 1.5}),
    "embedding": (
        "EmbedLayerNormalization", {"i": IDS}, {n: TABLES[n] for n in ("words", "places", "g", "h")},
        "i _ words places _ g h", "y _", {"epsilon": 1e-5},
    ),
    "embedding with kinds": (
        "EmbedLayerNormalization", {"i": IDS, "k": IDS[::-1].copy(), "p": IDS[:, ::-1].copy()}, TABLES,
        "i k words places kinds g h _ p", "y _ sum", {"epsilon": 1e-5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_each_operator_means_what_the_runtime_computes(case: str) -> None:
    kind, inputs, stored, order, outputs, attributes = CASES[case]
    model = one_node(kind, inputs, stored, order, outputs, **attributes)
    made = spelled_out(model)
    onnx.checker.check_model(made)
    assert not any(node.domain for node in made.graph.node)
    for found, wanted in zip(answers(made, inputs), answers(model, inputs), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("stored", "order", "options"),
    [(QKV, "x w b", {"unidirectional": 1}), ({}, "x w b", {}), (QKV, "x w b m", {}), (QKV, "x w b _ past", {})],
    ids=["causal", "weights fed", "ends of its own", "past"],
)
def test_what_has_no_plain_form_stays(stored: dict[str, Array], order: str, options: dict[str, int]) -> None:
    inputs = {"x": X, "m": np.array([5, 3, 1], np.int32), "past": floats(2, 3, 2, 4, 4)} | ({} if stored else QKV)
    used = {name: value for name, value in inputs.items() if name in order.split()}
    model = one_node("Attention", used, stored, order, num_heads=2, **options)
    assert spelled_out(model) == model


def test_a_turned_product_with_a_vector_stays() -> None:
    """The runtime turns nothing there."""
    parts = {"x": floats(4, 4), "v": floats(4)}
    model = one_node("FusedMatMul", parts, {}, "x v", transA=1)
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 4
    del model.graph.output[0].type.tensor_type.shape.dim[1:]
    (wanted,) = answers(model, parts)
    assert np.abs(wanted - parts["x"].T @ parts["v"]).max() > 0.1
    np.testing.assert_allclose(answers(spelled_out(model), parts)[0], wanted, atol=1e-5)


@pytest.mark.parametrize("fast", [False, True])
def test_a_graph_of_the_optimizer_counts_as_its_export_does(fast: bool) -> None:
    model, before = fused(fast), plain()
    kinds = {node.op_type for node in model.graph.node if node.domain}
    assert kinds == {"Attention", "SkipLayerNormalization", "FastGelu" if fast else "BiasGelu"}
    fed = tokens(16, 0)
    (found,), (wanted,), (exact,) = (answers(m, fed) for m in (spelled_out(model), model, before))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - exact).max() < 1e-3
    seen, counted = graph_facts(model), graph_facts(before)
    assert seen.macs == counted.macs
    assert abs(seen.params - counted.params) <= 2 * 32  # rows of ones that the export has and the optimizer leaves out
    assert sum(layer.macs > 0 for layer in seen.layers) == sum(layer.macs > 0 for layer in counted.layers) - 2 * 2


WAYS: dict[str, tuple[dict[str, Any], float]] = {
    "dynamic": ({"weight_bits": 8, "activation_bits": 8, "method": "dynamic"}, 0.02),
    "static": ({"weight_bits": 8, "activation_bits": 8, "format": "u8u8"}, 0.06),
    "block": ({"weight_bits": 8, "activation_bits": 32, "method": "block", "block_size": 16}, 0.02),
    "weights": ({"weight_bits": 8, "activation_bits": 32}, 0.02),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_of_rounding_takes_the_attentions_weights(way: str) -> None:
    options, most = WAYS[way]
    data, unseen = NamedArrays(tokens(64, 1)), tokens(32, 2)
    done = quantized(Quantize(**options), fused(), data)
    assert done.note is None
    (wanted,) = answers(plain(), unseen)
    found = open_session(done.model).run(None, unseen)[0]
    assert np.linalg.norm(found - wanted) < most * np.linalg.norm(wanted)
    floats_left = [t for t in done.model.graph.initializer if t.data_type == TensorProto.FLOAT]
    assert not any(len(t.dims) == 2 and t.dims[0] >= 32 and t.dims[1] >= 32 for t in floats_left)


def test_an_attention_without_weights_passes_through() -> None:
    """Its products stand before it; they are rounded, and it is left alone."""
    parts = {"x": X}
    stored = {n: floats(8, 8) for n in ("q", "k", "v")}
    model = one_node("MultiHeadAttention", parts, stored, "xq xk xv", num_heads=2)
    for i, name in enumerate("qkv"):
        model.graph.node.insert(i, helper.make_node("MatMul", ["x", name], [f"x{name}"]))
    done = quantized(Quantize(weight_bits=8, activation_bits=8, format="u8u8"), model, np.repeat(X, 20, axis=0))
    kinds = [node.op_type for node in done.model.graph.node]
    assert kinds.count("MultiHeadAttention") == 1
    (wanted,), (found,) = answers(model, parts), open_session(done.model).run(None, parts)
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)
