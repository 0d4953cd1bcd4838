"""Networks that read several inputs: tokens with a mask in ONNX, a picture with a vector in torch; and data that they get right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS = 12
"""Of the vocabulary; word w is of class w modulo 4."""

TWO_INPUTS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=6):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.deep = nn.Conv2d(width, width, 3, padding=1)
        self.side = nn.Linear(4, 8)
        self.head = nn.Linear(width + 8, num_classes)

    def forward(self, image, vector, gain=1.0):
        x = self.deep(self.norm(self.conv(image)).relu()).relu().mean((2, 3))
        return {"logits": gain * self.head(torch.cat([x, self.side(vector).relu()], 1)), "features": x}

def build(num_classes):
    return Net(num_classes)
"""
"""A module of two inputs, one constant and two outputs."""


def pictures_and_vectors(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures (n, 1, 8, 8), vectors (n, 4) and labels: the one tells two pairs of classes apart, the other the classes of a pair."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    pictures = rng.normal(0, 0.3, (n, 1, 8, 8)) + (labels % 2)[:, None, None, None]
    vectors = rng.normal(0, 0.3, (n, 4))
    vectors[:, 0] += labels // 2
    return pictures.astype(np.float32), vectors.astype(np.float32), labels


def tokens_and_masks(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 tokens (n, 16) and masks (n, 16), and labels: the class of most words that the mask lets through."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    own = rng.integers(0, WORDS // 4, (n, 16)) * 4 + labels[:, None]
    other = rng.integers(0, WORDS, (n, 16))
    mask = (rng.random((n, 16)) < 0.6).astype(np.int64)
    mask[:, 0] = 1
    # What the mask hides is misleading.
    tokens = np.where(mask == 1, np.where(rng.random((n, 16)) < 0.8, own, other), (own + 1) % WORDS)
    tokens[:, 0] = own[:, 0]
    return tokens.astype(np.int64), mask, labels


def token_net(path: Path) -> Path:
    """The network of who knows the words' classes: tokens and mask, int64, axes free -> `pooled` (N, 8) and `scores` (N, 4)."""
    rng = np.random.default_rng(0)
    turned, _ = np.linalg.qr(rng.normal(0, 1, (8, 8)))
    classes = np.eye(4, 8, dtype=np.float32) @ turned.astype(np.float32)
    weights = {
        "words": classes[np.arange(WORDS) % 4],
        "last": np.array([2], np.int64),
        "one": np.array([1], np.int64),
        "hidden": turned.T.astype(np.float32),
        "head": np.eye(8, 4, dtype=np.float32) * 4,
        "bias": np.zeros(4, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["words", "tokens"], ["vectors"]),
        node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["kept", "last"], ["wide"]),
        node("Mul", ["vectors", "wide"], ["seen"]),
        node("ReduceSum", ["seen", "one"], ["sums"], keepdims=0),
        node("ReduceSum", ["kept", "one"], ["counts"], keepdims=1),
        node("Div", ["sums", "counts"], ["pooled"]),
        node("MatMul", ["pooled", "hidden"], ["turned"], "turn"),
        node("Relu", ["turned"], ["bright"]),
        node("Gemm", ["bright", "head", "bias"], ["scores"], "classify"),
    ]
    kinds = {"tokens": TensorProto.INT64, "mask": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info(name, kind, ["batch", "sequence"]) for name, kind in kinds.items()],
        [
            helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["batch", 8]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 4]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def token_data(path: Path) -> Path:
    """Tokens, masks and labels of both splits."""
    arrays = {}
    for split, n in (("train", 200), ("test", 120)):
        tokens, mask, labels = tokens_and_masks(n, n)
        arrays |= {f"tokens_{split}": tokens, f"mask_{split}": mask, f"y_{split}": labels}
    np.savez(path, **arrays)
    return path
