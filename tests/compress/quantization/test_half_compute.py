"""Networks in float16: what it cannot hold is counted as numpy's float16 says, what overflows stays in float, and answers are numpy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from pydantic import ValidationError

from engine.compress.quantization.half_compute import Counts, half_counts
from engine.compress.quantize import prepare, quantized
from engine.errors import SpecError
from engine.graph.counts import graph_facts
from engine.graph.graph import open_session
from engine.spec.labels import step_label
from engine.spec.steps import Quantize
from engine.spec.validation import validated

STEP = Quantize(weight_bits=16, activation_bits=32, compute="float16")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 12)).astype(np.float32)


def two_products(first: np.ndarray, second: np.ndarray) -> onnx.ModelProto:
    """x (n, 12) -> MatMul, Relu, MatMul -> (n, 5)."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["m"], "first"),
        helper.make_node("Relu", ["m"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "b"], ["y"], "second"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in (("a", first), ("b", second))],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


FIRST, SECOND = RNG.normal(size=(12, 8)), RNG.normal(size=(8, 5))


def test_numbers_are_counted_as_numpy_rounds_them() -> None:
    edges = [0, 65504, 65519, 65520, 1e9, np.inf, np.nan, 2.0**-14, 2.0**-15, 2.0**-24, 2.0**-25, 2.0**-25 * 1.01, 1e-9]
    values = np.concatenate([edges, np.exp(RNG.uniform(-30, 15, 4000))]).astype(np.float32)
    values = np.concatenate([values, -values])
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    found = Counts.of(values)
    assert found.over == (np.isinf(half) & np.isfinite(values)).sum()
    assert found.zero == ((half == 0) & (values != 0)).sum()
    assert found.subnormal == ((np.abs(values) < 2.0**-14) & (half != 0) & np.isfinite(values)).sum()
    assert found.all == len(values)


def test_another_axis_first_before_a_product_does_not_end_the_process() -> None:
    """As in attention with sequences first: in float16 ONNX Runtime 1.32 ends with a segmentation fault as it loads such a file."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "turn", perm=[1, 0, 2]),
        helper.make_node("MatMul", ["t", "a"], ["y"], "product"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, "n", 8])],
        [numpy_helper.from_array(FIRST.astype(np.float32), "a")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = RNG.normal(size=(5, 3, 12)).astype(np.float32)
    done = quantized(STEP, model, x)
    assert "stays in 32-bit floats" not in (done.note or "")
    (found,) = open_session(done.model).run(None, {"x": x})
    np.testing.assert_allclose(found, x.swapaxes(0, 1).astype(np.float64) @ FIRST, atol=0.03)


def test_answers_are_those_of_numpys_float16() -> None:
    model = two_products(FIRST, SECOND)
    made = quantized(STEP, model, X)
    stored = {t.data_type for t in made.model.graph.initializer}
    assert stored == {TensorProto.FLOAT16}
    assert {x.weight_bits for x in graph_facts(made.model).layers} == {16}
    found = open_session(made.model).run(None, {"x": X})[0]
    assert found.dtype == np.float32
    half = [v.astype(np.float16) for v in (X, FIRST.astype(np.float32), SECOND.astype(np.float32))]
    wanted = (np.maximum(half[0] @ half[1], 0) @ half[2]).astype(np.float32)
    # Rounded weights, float64 between: what a runtime that computes in float32 through casts gives; and numpy's, rounded at every step.
    exact = np.maximum(X.astype(np.float64) @ half[1].astype(np.float64), 0) @ half[2].astype(np.float64)
    scale = np.abs(exact).max()
    assert np.abs(found - exact).max() < 4e-3 * scale
    assert np.abs(found - wanted).max() < 8e-3 * scale
    assert np.abs(found - open_session(model).run(None, {"x": X})[0]).max() > 0


def test_what_overflows_and_what_reads_it_stays_in_float() -> None:
    model = two_products(FIRST * 1e5, SECOND * 1e-5)
    counts = {c.name: c for c in half_counts(model, X)}
    product = X @ (FIRST * 1e5).astype(np.float32)
    assert counts["first"].outputs.over == (np.abs(product) >= 65520).sum() > 0
    assert counts["first"].weights.over == (np.abs((FIRST * 1e5).astype(np.float32)) >= 65520).sum() > 0
    made = quantized(STEP, model, X)
    found, before = (open_session(m).run(None, {"x": X})[0] for m in (made.model, model))
    np.testing.assert_allclose(found, before, rtol=2e-2, atol=2e-3 * np.abs(before).max())
    assert "stays in 32-bit floats: first" in (made.note or "")
    assert "weights" in (made.note or "")


def scaled_down(kind: int, factor: float, name: str) -> onnx.ModelProto:
    """x (n, 12) of a number type, as floats times or through a number, then two_products."""
    model = two_products(FIRST, SECOND)
    model.graph.input[0].type.tensor_type.elem_type = kind
    model.graph.node[0].input[0] = "small"
    if kind != TensorProto.FLOAT:
        model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["floats"], "cast", to=TensorProto.FLOAT))
    floats = "x" if kind == TensorProto.FLOAT else "floats"
    model.graph.node.insert(len(model.graph.node) - 3, helper.make_node(name, [floats, "factor"], ["small"], "scaling"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
    return model


@pytest.mark.parametrize(
    ("kind", "factor", "name", "most"),
    [
        (TensorProto.FLOAT, 1e-3, "Mul", 5e5),
        (TensorProto.INT32, 1e-3, "Mul", 5e5),
        # A cast whose only reader stays in float, for its constant: a whole number is no float.
        (TensorProto.INT32, 1e5, "Div", 5e4),
        (TensorProto.INT32, 1e5, "Div", 5e5),
    ],
)
def test_what_a_graph_is_given_is_not_made_infinite(kind: int, factor: float, name: str, most: float) -> None:
    """ONNX's reference rounds at every cast, where ONNX Runtime's CPU leaves casts out."""
    model = scaled_down(kind, factor, name)
    given = RNG.uniform(-most, most, (50, 12)).astype(helper.tensor_dtype_to_np_dtype(kind))
    made = quantized(STEP, model, given)
    before = open_session(model).run(None, {"x": given})[0]
    for found in (
        open_session(made.model).run(None, {"x": given})[0],
        ReferenceEvaluator(made.model).run(None, {"x": given})[0],
    ):
        np.testing.assert_allclose(found, before, atol=1e-2 * np.abs(before).max())
    assert "scaling" in (made.note or "")


def test_weights_that_vanish_are_zero_as_in_numpy() -> None:
    weight = FIRST.copy()
    weight[0], weight[1] = 1e-9, -1e-6
    made = quantized(STEP, two_products(weight, SECOND), X)
    stored = next(numpy_helper.to_array(t) for t in made.model.graph.initializer if list(t.dims) == [12, 8])
    np.testing.assert_array_equal(stored, weight.astype(np.float32).astype(np.float16))
    assert "become zero" in (made.note or "")
    assert "lose digits" in (made.note or "")


def test_infinite_constants_stay_infinite() -> None:
    """A mask of -inf, which ONNX Runtime's converter alone would make -65504."""
    model = two_products(FIRST, SECOND)
    model.graph.node[1].CopyFrom(helper.make_node("Where", ["there", "m", "far"], ["r"], "mask"))
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.arange(8) > 0, "there"), numpy_helper.from_array(np.float32([-np.inf]), "far")]
    )
    model.graph.node.insert(2, helper.make_node("Softmax", ["r"], ["s"], "shares"))
    model.graph.node[3].input[0] = "s"
    found, before = (open_session(m).run(None, {"x": X})[0] for m in (quantized(STEP, model, X).model, model))
    np.testing.assert_allclose(found, before, atol=5e-3)


def test_what_the_cpu_does_with_it_is_said_and_true() -> None:
    """The optimised graph of this machine is asked, whatever CPU it is."""
    note = quantized(STEP, two_products(FIRST, SECOND), X).note or ""
    assert "operators that multiply" in note
    assert ("through casts" in note) != ("float16 kernels for all 2" in note)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"compute": "bfloat16", "weight_bits": 16}, "has no kernels for it on CPUs .*; use float16"),
        ({"compute": "float16", "weight_bits": 8}, "goes with weight_bits 16; this step has 8"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_one_line(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        validated(Quantize, {"activation_bits": 32, **wrong}, "space.quantize")
    assert "\n" not in str(caught.value)


def test_it_is_named_apart_from_weights_alone_and_old_recipes_keep_their_names() -> None:
    assert step_label(STEP) == "fp16"
    weights = STEP.model_copy(update={"compute": None})
    assert step_label(weights) == "fp16 weights"
    assert "compute" not in weights.model_dump(mode="json")
    assert prepare(two_products(FIRST, SECOND)).graph.node


@pytest.mark.parametrize(
    "other",
    [{"mean_bits": 4}, {"layers": {"conv1": 8}}, {"max_drop": 0.5}, {"float_layers": 1}, {"rounding": "learned"}],
)
def test_what_it_would_pass_over_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=rf"{next(iter(other))} .*"):
        Quantize(weight_bits=16, activation_bits=32, compute="float16", **other)
