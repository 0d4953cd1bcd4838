"""Weights in blocks without ONNX Runtime's optimizer, which then gives zeros for some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantize import quantized
from engine.errors import StepError
from engine.graph.graph import open_session, save_onnx
from engine.measure.session import Runner
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import UNOPTIMIZED

RNG = np.random.default_rng(0)
X, W = (RNG.normal(size=size).astype(np.float32) for size in ((4, 64), (64, 32)))


def in_blocks(level: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32])], [numpy_helper.from_array(W, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    step = Quantize(weight_bits=8, activation_bits=32, method="block", accuracy_level=level)
    return quantized(step, model, X).model


@pytest.mark.parametrize("level", [0, 1, 4])
def test_a_reference_without_optimizer_is_no_row_of_zeros(level: int) -> None:
    (found,) = open_session(in_blocks(level), UNOPTIMIZED).run(None, {"x": X})
    assert np.linalg.norm(found - X @ W) < 0.02 * np.linalg.norm(X @ W)


def test_it_is_not_measured_without_optimizer(tmp_path: Path) -> None:
    path = tmp_path / "blocks.onnx"
    save_onnx(in_blocks(4), path)
    message = r"^runtime: graph_optimisation disable makes onnxruntime \S+ compute zeros in operator MatMulNBits of blocks.onnx; use basic$"
    for model in (path, path.read_bytes()):
        with pytest.raises(StepError, match=message.replace("blocks.onnx", r"(blocks\.onnx|the model)")):
            Runner(model, 1, "disable")
    assert np.linalg.norm(Runner(path, 1, "basic")(X) - X @ W) < 0.02 * np.linalg.norm(X @ W)
