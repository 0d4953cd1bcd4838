"""A problem that only the right numbers solve: how bright a picture is, in classes; networks that read it in one way or another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CENTRES = np.array([0.15, 0.4, 0.65, 0.9], np.float32)
"""Mean brightness of each class, pixels in 0 … 1."""


def brightness_data(
    path: Path,
    n: int = 400,
    channels: int = 1,
    side: int = 8,
    dtype: type = np.uint8,
    seed: int = 0,
    **arrays: np.ndarray,
) -> Path:
    """An `.npz` of pictures (n, channels, side, side) in four classes; of colours the first channel alone counts, the others are noise.

    uint8 pixels, or floats in 0 … 1; `arrays` take the place of what would be written.
    """
    found = {}
    for split, count in (("train", n), ("test", n // 2)):
        rng = np.random.default_rng(seed + (split == "test"))
        labels = np.arange(count) % 4
        images = rng.uniform(0, 1, (count, channels, side, side)).astype(np.float32)
        images[:, 0] = np.clip(CENTRES[labels][:, None, None] + rng.normal(0, 0.08, (count, side, side)), 0, 1)
        found |= {
            f"x_{split}": (255 * images).round().astype(np.uint8) if dtype is np.uint8 else images,
            f"y_{split}": labels,
        }
    np.savez(path, **(found | arrays))
    return path


def brightness_net(
    path: Path, channels: int = 1, side: int = 8, scale: float = 1.0, mean: float = 0.0, colour: int = 0, last: bool = False,
    classes: tuple[int, ...] = (0, 1, 2, 3), batch: int | str = "N",
) -> Path:  # fmt: skip
    """The network of who trained on `(pixel in 0 … 1) * scale - mean`: names the class whose centre is nearest.

    `colour`: the channel that it looks at; `last`: it reads (N, side, side, channels); `classes`: which of its outputs each class is.
    """
    centres = CENTRES * scale - mean
    weight, bias = np.zeros((channels, 4), np.float32), np.zeros(4, np.float32)
    weight[colour, list(classes)], bias[list(classes)] = 2 * centres, -(centres**2)
    shape = [batch, side, side, channels] if last else [batch, channels, side, side]
    axes = [1, 2] if last else [2, 3]
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("Gemm", ["means", "w", "b"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes, "brightness",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(a, name) for name, a in (("axes", np.array(axes)), ("w", weight), ("b", bias))],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path
