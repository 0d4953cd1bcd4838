"""Small ONNX networks made by hand, for tests of the measures."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _save(path, nodes, weights, input_shape, output_shape):
    initialisers = [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()]
    graph = helper.make_graph(
        nodes, "tiny", [_value("input", input_shape)], [_value("logits", output_shape)], initialisers
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def conv_net(path: Path, channels: int = 8, size: int = 8, batch: int | str = "N", classes: int = 10) -> Path:
    """3×3 convolution, ReLU, global average, linear."""
    rng = np.random.default_rng(channels)
    weights = {"conv": rng.standard_normal((channels, 1, 3, 3)), "fc": rng.standard_normal((channels, classes))}
    nodes = [
        helper.make_node("Conv", ["input", "conv"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["logits"]),
    ]
    return _save(path, nodes, weights, [batch, 1, size, size], [batch, classes])


def linear_net(path: Path, matrix: np.ndarray, side: int, batch: int | str = "N") -> Path:
    """Images (N, 1, side, side) times `matrix` (side * side, classes)."""
    nodes = [helper.make_node("Flatten", ["input"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["logits"])]
    return _save(path, nodes, {"w": matrix}, [batch, 1, side, side], [batch, matrix.shape[1]])


def image_net(path: Path) -> Path:
    """Gives images back: its output is no (N, classes)."""
    return _save(path, [helper.make_node("Relu", ["input"], ["logits"])], {}, ["N", 1, 4, 4], ["N", 1, 4, 4])
