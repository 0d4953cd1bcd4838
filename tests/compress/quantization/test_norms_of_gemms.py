"""Batch norms behind a Gemm are taken into it before it is quantized: the same numbers, one layer without a product behind it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.compress.quantize import apply, prepare
from engine.models.export import export_onnx
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import relative_error, run

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(64, 6)).astype(np.float32)


def network(bias: np.ndarray | None, readers: int = 1, beta: float = 1.0, **attributes: object) -> onnx.ModelProto:
    """(n, 6) -> Gemm -> batch norm -> Relu -> MatMul; more `readers` of the Gemm's weight or output take the norm's place from it."""
    constants = {
        "w": RANDOM.normal(size=(5, 6) if attributes.get("transB") else (6, 5)),
        "scale": RANDOM.normal(size=5), "shift": RANDOM.normal(size=5), "mean": RANDOM.normal(size=5), "var": RANDOM.uniform(0.5, 2, 5),
        "head": RANDOM.normal(size=(5, 3)), **({} if bias is None else {"b": bias}),
    }  # fmt: skip
    inputs = ["x", "w"] + ([] if bias is None else ["b"])
    nodes = [
        helper.make_node("Gemm", inputs, ["g"], "first", beta=beta, **attributes),
        helper.make_node("BatchNormalization", ["g", "scale", "shift", "mean", "var"], ["n"], epsilon=1e-3),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MatMul", ["r", "head"], ["y"], "last"),
    ]
    if readers == 2:  # the Gemm's output is read beside the norm
        nodes[3:] = [
            helper.make_node("Add", ["r", "g"], ["s"]),
            helper.make_node("MatMul", ["s", "head"], ["y"], "last"),
        ]
    if readers == 3:  # and here its weight by another layer
        nodes[3:] = [
            helper.make_node("Tanh", ["x"], ["t"]),
            helper.make_node("Gemm", ["t", *inputs[1:]], ["other"], "second", beta=beta, **attributes),
            helper.make_node("Add", ["r", "other"], ["s"]),
            helper.make_node("MatMul", ["s", "head"], ["y"], "last"),
        ]
    graph = helper.make_graph(
        nodes, "norms",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


CASES = {
    "a bias": {"bias": RANDOM.normal(size=5)},
    "none": {"bias": None},
    "one number": {"bias": np.float32([0.3])},
    "a row": {"bias": RANDOM.normal(size=(1, 5))},
    "transposed and scaled": {"bias": RANDOM.normal(size=5), "transB": 1, "alpha": 0.5},
    "a weight with two uses": {"bias": RANDOM.normal(size=5), "readers": 3},
}


@pytest.mark.parametrize("name", CASES)
def test_the_norm_becomes_part_of_the_layer(name: str) -> None:
    model = network(**CASES[name])
    prepared = prepare(model)
    assert "BatchNormalization" not in [n.op_type for n in prepared.graph.node]
    assert relative_error(run(prepared, IMAGES), run(model, IMAGES)) < 1e-6
    rounded = apply(Quantize(weight_bits=8, activation_bits=8, rounding="nearest"), model, IMAGES)
    assert relative_error(run(rounded, IMAGES), run(model, IMAGES)) < 0.05


@pytest.mark.parametrize(
    "what", [{"bias": RANDOM.normal(size=5), "readers": 2}, {"bias": RANDOM.normal(size=5), "beta": 2.0}]
)
def test_a_norm_that_is_not_the_layers_alone_stays(what: dict) -> None:
    model = network(**what)
    prepared = prepare(model)
    assert "BatchNormalization" in [n.op_type for n in prepared.graph.node]
    assert relative_error(run(prepared, IMAGES), run(model, IMAGES)) < 1e-6


def test_that_of_a_torch_network() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    net(torch.randn(64, 1, 4, 4) * 3 + 1)
    x = RANDOM.normal(size=(32, 1, 4, 4)).astype(np.float32)
    prepared = prepare(export_onnx(net.eval(), (1, 4, 4)))
    assert [n.op_type for n in prepared.graph.node if n.op_type == "BatchNormalization"] == []
    with torch.no_grad():
        assert relative_error(run(prepared, x), net.double()(torch.from_numpy(x).double()).numpy()) < 1e-6
