"""The layout that a network is trained in: the fast one, but where torch writes past a buffer in it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.compress.finetune import memory_format
from tests.helpers.places import ROOT

SHAPES = [(2, 8), (4, 7), (5, 16), (6, 8), (7, 16)]
# With `channels_last` in the place of the network's own layout each of the shapes ends this with a signal, on any x86.
TRAINING = """
import sys
import numpy as np, torch
from torch import nn
from engine.compress.finetune import Schedule, train
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split

torch.set_num_threads(1)
narrow, wide = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
split = Split(rng.normal(size=(640, 1, 28, 28)).astype(np.float32), rng.integers(0, 3, 640))
network = nn.Sequential(
    nn.Conv2d(1, narrow, 3, 1, 1), nn.ReLU(), nn.Conv2d(narrow, wide, 1, 2, bias=False), nn.BatchNorm2d(wide), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, 3),
)
train(network, split, Preprocessing(1.0, (0.0,), (1.0,)), Schedule(epochs=30, learning_rate=0.01, batch_size=64), seed=0)
print("lives")
"""


@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}->{0[1]}".format)
def test_a_narrow_shortcut_is_trained_without_harm_on_a_cpu_without_avx512(shape: tuple[int, int]):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    command = [sys.executable, "-c", TRAINING, *map(str, shape)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "lives\n"), done.stderr


def shortcut(channels: int, kernel: int = 1, stride: int = 2, groups: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, channels, 3), nn.Conv2d(channels, 16, kernel, stride, groups=groups))


class Functional(nn.Module):
    """A layer that is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(16, 4, 1, 1))
        self.before = nn.Conv2d(1, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(self.before(x), self.weight, stride=2)


@pytest.mark.parametrize(
    ("network", "layout"),
    [
        (shortcut(4), torch.contiguous_format),
        (shortcut(7), torch.contiguous_format),
        (shortcut(16, groups=4), torch.contiguous_format),
        (Functional(), torch.contiguous_format),
        (shortcut(8), torch.channels_last),
        (shortcut(4, stride=1), torch.channels_last),
        (shortcut(4, kernel=3), torch.channels_last),
    ],
)
def test_the_layers_of_a_network_decide_its_layout(network: nn.Module, layout: torch.memory_format):
    assert memory_format(network, (1, 12, 12)) == layout
