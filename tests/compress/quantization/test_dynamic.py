"""Products that round their data as they run, against the same arithmetic in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantize import apply, prepare, quantized
from engine.graph.counts import graph_facts, is_quantized
from engine.graph.graph import open_session
from engine.spec.steps import Quantize

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(40, 6, 24)).astype(np.float32)


def products(transposed: bool = False) -> onnx.ModelProto:
    """x (n, 6, 24) -> MatMul, Add, Relu, Flatten, Gemm -> (n, 5)."""
    first, second = RNG.normal(size=(24, 32)) * 0.2, RNG.normal(size=(192, 5)) * 0.1
    stored = {
        "w1": first,
        "b1": RNG.normal(size=32),
        "w2": second.T if transposed else second,
        "b2": RNG.normal(size=5),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["p"]),
        helper.make_node("Add", ["p", "b1"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], **({"transB": 1} if transposed else {})),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6, 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def rounded(values: np.ndarray) -> np.ndarray:
    """DynamicQuantizeLinear and back, as its specification has it, in float64."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = np.float64(np.float32((np.float32(high) - np.float32(low)) / np.float32(255)))
    zero = np.clip(np.rint(-low / scale), 0, 255)
    return (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale


def reference(model: onnx.ModelProto, weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    stored = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer} | weights
    hidden = np.maximum(rounded(x.astype(np.float64)) @ stored["w1"] + stored["b1"], 0).reshape(len(x), -1)
    w2 = stored["w2"] if len(stored["w2"]) > 5 else stored["w2"].T
    return rounded(hidden) @ w2 + stored["b2"]


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = open_session(model).run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bits", [8, 7, 4, 3])
@pytest.mark.parametrize("format", ["u8s8", "u8u8"])
def test_a_product_is_that_of_rounded_data_and_codes(transposed: bool, bits: int, format: str) -> None:
    model = products(transposed)
    step = Quantize(
        method="dynamic", weight_bits=bits, format=format, weight_range="safe" if format == "u8s8" else "auto",
        rounding="nearest", bias_correction=False, ends_8bit=False,
    )  # fmt: skip
    found = apply(step, model, DATA)
    assert is_quantized(found)
    facts = graph_facts(found)
    assert [x.weight_bits for x in facts.layers if x.macs] == [7 if (bits, format) == (8, "u8s8") else bits] * 2
    assert {x.activation_bits for x in facts.layers if x.macs} == {8}
    assert facts.macs == graph_facts(model).macs
    from engine.compress.quantize import make_scheme

    scheme = make_scheme(step, prepare(model), DATA)
    layers = {layer.output: layer.weight for layer in scheme.layers}
    weights = dict(
        zip(("w1", "w2"), (scheme.weights[w].values().astype(np.float64) for w in layers.values()), strict=True)
    )
    for x in (DATA[:1], DATA[1:8]):
        wanted = reference(model, weights, x)
        np.testing.assert_allclose(run(found, x), wanted, rtol=0.02, atol=0.02 * np.abs(wanted).max())
        # One rounding that tips over moves a number by a step; the rest is arithmetic.
        assert np.median(np.abs(run(found, x) - wanted)) < 1e-3 * np.abs(wanted).max()


def test_learned_rounding_brings_few_bits_closer() -> None:
    model = products()
    exact = run(model, DATA)
    off = {
        rounding: np.square(
            run(apply(Quantize(method="dynamic", weight_bits=3, rounding=rounding, ends_8bit=False), model, DATA), DATA)
            - exact
        ).mean()
        for rounding in ("nearest", "auto")
    }
    assert off["auto"] < 0.7 * off["nearest"]


def test_a_layer_stated_to_stay_in_float_does() -> None:
    model = products()
    step = Quantize(method="dynamic", layers={"y": 32})
    found = quantized(step, model, DATA, bits={"w1": 8, "w2": 32}).model
    assert {n.op_type for n in found.graph.node} >= {"MatMulInteger", "Gemm"}


def test_ranges_follow_the_data_so_that_nothing_is_calibrated() -> None:
    model = products()
    step = Quantize(method="dynamic", rounding="nearest", bias_correction=False, weight_range="safe")
    far = 1000 * DATA[:4]
    exact = run(model, far)
    assert np.abs(run(apply(step, model, DATA), far) - exact).max() < 0.05 * np.abs(exact).max()
