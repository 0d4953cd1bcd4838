"""How far the layers of two files are apart: against numpy, whatever the batch, and layers that cannot be compared."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantize import apply, prepare
from engine.explain import divergence
from engine.explain.divergence import compare_layers, largest_fall, plain
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import MIXTURE_SHAPE, mixture, pictures


def two_products(first: np.ndarray, second: np.ndarray, names: tuple[str, str] = ("one", "two")) -> onnx.ModelProto:
    """relu(x · first) · second, nodes by the names."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"], names[0]),
        helper.make_node("Relu", ["p"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "b"], ["y"], names[1]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("x", len(first)), ("y", second.shape[1]))
    ]
    weights = [numpy_helper.from_array(w.astype(np.float32), name) for w, name in ((first, "a"), (second, "b"))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def decibels(signal: np.ndarray, found: np.ndarray) -> float:
    return 10 * math.log10(np.square(signal).sum() / np.square(signal - found).sum())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum()))


@pytest.mark.parametrize("room", [divergence._RUN_BYTES, 600])
def test_figures_are_numpys_whatever_the_batch(monkeypatch, room):
    monkeypatch.setattr(divergence, "_RUN_BYTES", room)
    rng = np.random.default_rng(0)
    a, b, x = rng.normal(size=(6, 9)), rng.normal(size=(9, 4)), rng.normal(size=(37, 6)).astype(np.float32)
    near, far = a + rng.normal(size=a.shape) * 0.01, b + rng.normal(size=b.shape) * 0.3
    found = compare_layers(two_products(a, b), two_products(near, far), x)
    wide = x.astype(np.float64)
    hidden, other = (np.maximum(wide @ w, 0) for w in (a, near))
    one, two = found["layers"]
    # The layer hands on what its activation function leaves.
    assert one["sqnr_db"] == pytest.approx(decibels(hidden, other), abs=1e-3)
    assert one["cosine"] == pytest.approx(cosine(hidden, other), abs=1e-7)
    assert one["before_exact"]
    assert one["before_db"] is None
    assert two["before_db"] == pytest.approx(one["sqnr_db"])
    assert two["sqnr_db"] == pytest.approx(decibels(hidden @ b, other @ far), abs=1e-3)
    assert found["output"]["cosine"] == pytest.approx(cosine(hidden @ b, other @ far), abs=1e-7)
    assert found["largest"] == "two"
    assert (found["shared"], found["compared"], found["all"]) == (2, 2, 2)


def test_what_does_not_differ_is_exact_and_zeros_have_no_ratio():
    a, b = np.zeros((6, 9)), np.ones((9, 4))
    x = np.ones((3, 6), np.float32)
    found = compare_layers(two_products(a, b), two_products(a, b), x)
    assert all(layer["exact"] and layer["sqnr_db"] is None for layer in found["layers"])
    assert found["largest"] is None
    other = compare_layers(two_products(a, b), two_products(a + 1, b), x)
    assert not other["layers"][0]["exact"]
    assert other["layers"][0]["sqnr_db"] is None
    assert other["layers"][0]["cosine"] is None
    assert other["largest"] is None


def test_narrower_layers_and_other_networks_are_counted_and_left_out():
    rng = np.random.default_rng(1)
    a, b, x = rng.normal(size=(6, 9)), rng.normal(size=(9, 4)), rng.normal(size=(5, 6)).astype(np.float32)
    narrow = compare_layers(two_products(a, b), two_products(a[:, :5], b[:5]), x)
    assert (narrow["shared"], narrow["compared"], narrow["layers"]) == (2, 0, [])
    assert narrow["output"]["sqnr_db"] is not None
    named = compare_layers(two_products(a, b), two_products(a, b, ("one", "three")), x)
    assert (named["all"], named["shared"], [layer["name"] for layer in named["layers"]]) == (2, 1, ["one"])
    student = compare_layers(two_products(a, b), two_products(a, b), x, same=False)
    assert (student["shared"], student["layers"]) == (0, [])


# Seven bits: a CPU without VNNI adds them exactly, too.
@pytest.mark.parametrize(
    "step",
    [
        Quantize(weight_bits=7, activation_bits=8, rounding="nearest", bias_correction=False),
        Quantize(weight_bits=7, activation_bits=8, method="dynamic", rounding="nearest", format="u8u8"),
        Quantize(weight_bits=8, activation_bits=32, rounding="nearest"),
        Quantize(weight_bits=8, method="block", block_size=32, rounding="nearest"),
        Quantize(weight_bits=16, activation_bits=32),
    ],
    ids=lambda step: step.method + str(step.activation_bits) + str(step.weight_bits),
)
def test_every_kind_of_rounding_is_compared_layer_by_layer(step):
    model = mixture()
    images = pictures(24, MIXTURE_SHAPE, 5)
    rounded = apply(step, model, images)
    found = compare_layers(plain(model), plain(rounded), images)
    assert found["compared"] == found["all"] == 7
    # Tensors that do not belong together would be no more alike than chance makes them.
    assert all(layer["exact"] or layer["sqnr_db"] > 20 for layer in found["layers"])
    assert all(layer["before_exact"] or layer["before_db"] > 20 for layer in found["layers"])
    assert found["output"]["sqnr_db"] > 20


def test_a_rounded_layer_hands_on_what_dequantizing_gives():
    """Held against the tensors of the unoptimised graph, found by hand."""
    from engine.graph.graph import open_session, with_outputs
    from tests.helpers.quantize_cases import UNOPTIMIZED

    model = prepare(mixture())
    images = pictures(16, MIXTURE_SHAPE, 6)
    step = Quantize(weight_bits=6, activation_bits=8, rounding="nearest", bias_correction=False)
    rounded = plain(apply(step, model, images))
    name = next(n.name for n in model.graph.node if n.op_type == "Conv")
    relu = next(n for n in model.graph.node if n.op_type == "Relu").output[0]
    conv = next(n for n in rounded.graph.node if n.name == name)
    codes = next(n for n in rounded.graph.node if conv.output[0] in n.input[:1])
    assert codes.op_type == "QuantizeLinear"
    values = next(n for n in rounded.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == codes.output[0])
    one, other = (
        open_session(with_outputs(m, [t]), UNOPTIMIZED).run([t], {m.graph.input[0].name: images})[0]
        for m, t in ((model, relu), (rounded, values.output[0]))
    )
    layer = compare_layers(model, rounded, images)["layers"][0]
    assert layer["name"] == name
    # Integer kernels round a few values to the other side.
    assert layer["sqnr_db"] == pytest.approx(decibels(one, other), abs=0.05)
    assert layer["cosine"] == pytest.approx(cosine(one, other), abs=1e-4)


def place(name: str, before: float | None, after: float | None) -> dict[str, object]:
    """None is exact."""
    return {"name": name, "before_db": before, "before_exact": before is None, "sqnr_db": after, "exact": after is None}


def test_the_layer_that_loses_most_is_the_first_of_them_and_small_errors_count_as_none():
    assert largest_fall([place("a", None, 38.0), place("b", 31.0, 18.0), place("c", 18.0, 16.5)]) == "b"
    assert largest_fall([place("a", 90.0, 41.0), place("b", 41.0, 37.0)]) == "b"
    assert largest_fall([place("a", 30.0, 25.0), place("b", 30.0, 25.0)]) == "a"
    assert largest_fall([place("a", 30.0, 29.5), place("b", None, None), place("c", 20.0, 25.0)]) is None
    unknown = place("a", 30.0, 10.0) | {"sqnr_db": None}
    assert largest_fall([unknown]) is None
