"""The range of a tensor is the one that its readers are served best by."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantization.calibrate import activation_scale, observe
from engine.compress.quantization.ranges import METHODS, best_scales
from engine.compress.quantization.weights import find_layers, weight_names

BITS = {"input": 8}


def reader(weights: tuple[float, float]) -> onnx.ModelProto:
    """A 1x1 convolution of two channels."""
    weight = numpy_helper.from_array(np.array(weights, np.float32).reshape(1, 2, 1, 1), "w")
    data = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2, 64, 64])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, 64, 64])
    graph = helper.make_graph([helper.make_node("Conv", ["input", "w"], ["y"])], "g", [data], [result], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def images() -> np.ndarray:
    """Small values in both channels, and in the second four of half a million that are a hundred times as large."""
    generator = np.random.default_rng(0)
    made = generator.uniform(-1, 1, (64, 2, 64, 64)).astype(np.float32)
    far = generator.integers(0, 64 * 4096, 3)
    made[:, 1].flat[far] = 100
    made[0, 1, 0, 0] = 100
    return made


def chosen(model: onnx.ModelProto, read: bool = True) -> float:
    layers = find_layers(model.graph.node, weight_names(model.graph)) if read else []
    seen = observe(model, ["input"], images())
    return float(best_scales(model, seen, BITS, {"input": layers}, images())["input"].scale)


def scales(model: onnx.ModelProto) -> dict[str, float]:
    seen = observe(model, ["input"], images())["input"]
    return {m: float(activation_scale(*seen.range(m, 8), 8).scale) for m in METHODS}


def test_large_values_that_nobody_reads_are_cut_off() -> None:
    model = reader((1.0, 0.0))
    assert chosen(model) < 0.2 * scales(model)["minmax"]


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1e-3, 1.0)])
def test_large_values_that_carry_the_answer_stay(weights: tuple[float, float]) -> None:
    model = reader(weights)
    assert chosen(model) == pytest.approx(scales(model)["minmax"], rel=0.3)


def test_a_tensor_that_no_layer_reads_takes_the_least_squared_error() -> None:
    model = reader((1.0, 1.0))
    assert chosen(model, read=False) == scales(model)["mse"]
