"""Networks that are taken for sound where they are looked at, and ask for everything where they run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def _save(path: Path, nodes: list[onnx.NodeProto], numbers: dict[str, np.ndarray]) -> Path:
    shape = ["N", 1, 28, 28]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Flatten", ["big"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, ["N", 10])],
        [numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _weight() -> dict[str, np.ndarray]:
    return {"w": np.ones((784, 10), np.float32)}


def endless(path: Path) -> Path:
    """Runs for ever: a loop of 2^62 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Sin", ["v"], ["w_"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w_", FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["rounds", "yes", "x"], ["big"], body=body)
    return _save(path, [loop], _weight() | {"rounds": np.array(2**62), "yes": np.array(True)})


def huge(path: Path, numbers: int = 10**12) -> Path:
    """Makes so many numbers out of one picture, of which their mean is added to it."""
    nodes = [
        helper.make_node("Expand", ["x", "to"], ["wide"]),
        helper.make_node("ReduceMean", ["wide"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Add", ["x", "mean"], ["big"]),
    ]
    return _save(path, nodes, _weight() | {"to": np.array([1, numbers // 784, 28, 28])})
