"""Small networks as the ONNX files that people have: exported in several ways, or written by hand as other tools write them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn


def network(channels: int = 8, classes: int = 3) -> nn.Module:
    """Convolutions with batch norms that have seen data, a residual sum, a classifier; images (n, 1, 12, 12)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
            self.body = nn.Sequential(
                nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU6()
            )
            self.head = nn.Linear(channels * 36, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            x = nn.functional.max_pool2d(x + self.body(x), 2)
            return self.head(x.view(x.size(0), -1))

    torch.manual_seed(3)
    made = Net()
    with torch.no_grad():
        for _ in range(3):
            made(torch.randn(64, 1, 12, 12))
    return made.eval()


def exported(path: Path, net: nn.Module | None = None, fixed: int | None = None, **how: Any) -> Path:
    """By torch's exporter, as its users call it."""
    free = {} if fixed else {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blank = (torch.zeros(fixed or 2, 1, 12, 12),)
        made = network() if net is None else net
        torch.onnx.export(made, blank, str(path), dynamo=False, input_names=["x"], output_names=["y"], **free, **how)
    return path


def as_constants(path: Path) -> Path:
    """Every weight in a Constant node."""
    model = onnx.load(path)
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    nodes += [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def by_hand(
    path: Path, nodes: list[onnx.NodeProto], weights: dict[str, Any], shape: list[Any], opset: int = 13
) -> Path:
    """A file with an input `x` and an output `y` (n, …)."""
    stored = [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()]
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "net", [taken], [given], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def of_keras(path: Path) -> Path:
    """Images (n, 12, 12, 1), turned by a Transpose; a product with a matrix and a sum for the classifier."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w", "b"], ["c"], "model/conv2d/Conv2D", auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], "model/relu"),
        helper.make_node("Transpose", ["r"], ["u"], "back", perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["u", "flat"], ["f"], "model/flatten"),
        helper.make_node("MatMul", ["f", "d"], ["m"], "model/dense/MatMul"),
        helper.make_node("Add", ["m", "e"], ["y"], "model/dense/BiasAdd"),
    ]
    weights = {
        "w": rng.standard_normal((8, 1, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(8).astype(np.float32),
        "flat": np.array([-1, 288]),
        "d": 0.1 * rng.standard_normal((288, 3)).astype(np.float32),
        "e": rng.standard_normal(3).astype(np.float32),
    }
    return by_hand(path, nodes, weights, ["n", 12, 12, 1])
