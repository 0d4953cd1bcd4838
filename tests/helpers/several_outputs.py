"""A graph with several outputs of different units, sizes and number types, and data that some of them answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OUTPUTS = ("boxes", "scores", "kind")


def several_net(path: Path | None = None, seed: int = 0) -> onnx.ModelProto:
    """x (N, 3, 8, 8) -> boxes (N, 4) in hundreds, scores (N, 5) that add up to 1, kind (N,) int64 and spare (N, 6)."""
    rng = np.random.default_rng(seed)
    shapes = {"w": (8, 3, 3, 3), "a": (8, 12), "wb": (12, 4), "bb": (4,), "ws": (12, 5), "wr": (12, 6), "hundred": (1,)}
    weights = {name: rng.normal(0, 0.6, shape).astype(np.float32) for name, shape in shapes.items()}
    weights["hundred"] = np.array([100], np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "a"], ["m"]),
        helper.make_node("Relu", ["m"], ["h"]),
        helper.make_node("Gemm", ["h", "wb", "bb"], ["small"]),
        helper.make_node("Mul", ["small", "hundred"], ["boxes"]),
        helper.make_node("MatMul", ["h", "ws"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["kind"], axis=1, keepdims=0),
        helper.make_node("MatMul", ["h", "wr"], ["spare"]),
    ]
    floats, whole = TensorProto.FLOAT, TensorProto.INT64
    graph = helper.make_graph(
        nodes,
        "several",
        [helper.make_tensor_value_info("x", floats, ["N", 3, 8, 8])],
        [
            helper.make_tensor_value_info("boxes", floats, ["N", 4]),
            helper.make_tensor_value_info("scores", floats, ["N", 5]),
            helper.make_tensor_value_info("kind", whole, ["N"]),
            helper.make_tensor_value_info("spare", floats, ["N", 6]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    if path is not None:
        onnx.save(model, path)
    return model


def several_inputs(n: int, seed: int) -> np.ndarray:
    """Inputs (n, 3, 8, 8) that the outputs vary with."""
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 1, (n, 3, 8, 8)) + rng.normal(0, 1, (n, 3, 1, 1))).astype(np.float32)


def unoptimised(
    model: onnx.ModelProto | Path, x: np.ndarray, names: tuple[str, ...] = OUTPUTS
) -> dict[str, np.ndarray]:
    """What ONNX Runtime says without rewriting the graph."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(list(names), {"x": x}), strict=True))
