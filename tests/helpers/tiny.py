"""A small real problem for tests that run whole sweeps: three classes of 12×12 images that a tiny network learns in seconds."""

from pathlib import Path

import numpy as np

BUILDER = """
import torch
from torch import nn

def build(num_classes=3):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""


def images(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 12, 12) uint8 and labels: horizontal bars, vertical bars or a blob, under noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    x = rng.normal(60, 40, (n, 12, 12))
    for i, label in enumerate(labels):
        at = rng.integers(1, 8)
        if label == 0:
            x[i, at : at + 3, :] += 90
        elif label == 1:
            x[i, :, at : at + 3] += 90
        else:
            x[i, at : at + 4, at : at + 4] += 130
    return np.clip(x, 0, 255).astype(np.uint8), labels.astype(np.int64)


def write_problem(folder: Path, extra_space: str = "") -> Path:
    """A spec with its network and data in `folder`; the path of the spec. Six recipes, or more with `extra_space`."""
    (folder / "net.py").write_text(BUILDER)
    train, test = images(600, 0), images(300, 1)
    np.savez(folder / "data.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    spec = folder / "spec.yaml"
    spec.write_text(
        f"""
name: tiny
model: {{source: "net.py:build"}}
data: {{source: data.npz}}
space:
{extra_space}
  prune: [null, {{method: channel, ratio: [0.25, 0.5], finetune_epochs: 2}}]
  quantize: [null, {{weight_bits: 8, activation_bits: 8, calibration_samples: 32}}]
"""
    )
    return spec
