"""A spec that runs in seconds without torch: a linear network fitted to bars and blobs, kept as ONNX, and one int8 recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.helpers.tiny import images
from tests.helpers.tiny_onnx import linear_net


def in_bits(*bits: int) -> str:
    """Its recipes, weights rounded to so many bits each, as `--set` takes them."""
    step = "{{step: quantize, weight_bits: {}, activation_bits: 8, calibration_samples: 16, rounding: nearest}}"
    return f"recipes=[{', '.join(f'[{step.format(n)}]' for n in bits)}]"


def write_small_sweep(folder: Path, more: str = "") -> Path:
    """The network, its data and spec.yaml in `folder`; the path of the spec. `more` are lines of it."""
    train, test = images(600, 0), images(60, 1)
    x = train[0].reshape(len(train[0]), -1) / 255.0
    x = (x - x.mean()) / x.std()
    matrix = np.linalg.lstsq(x, np.eye(3)[train[1]] - 1 / 3, rcond=None)[0]
    linear_net(folder / "net.onnx", matrix, 12)
    np.savez(folder / "data.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    spec = folder / "spec.yaml"
    spec.write_text(
        "name: small\n"
        "model: {source: net.onnx}\n"
        "data: {source: data.npz}\n"
        "recipes: [[{step: quantize, weight_bits: 8, activation_bits: 8, calibration_samples: 16, rounding: nearest}]]\n"
        "measure: {latency: null}\n" + more
    )
    return spec
