"""Networks whose parameters are there only after a first run, and networks that lose a batch of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import ModelError
from engine.models.builders import Origin, build
from engine.models.sources import load_network, open_network, save_network
from engine.spec.sections import Model

torch.set_num_threads(1)

NET = """
import torch
from torch import nn

def lazy(num_classes=3):
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(num_classes))

class Late(nn.Module):
    def forward(self, x):
        if not hasattr(self, "head"):
            self.head = nn.Linear(x.flatten(1).shape[1], 3)
        return self.head(x.flatten(1))

def late():
    return Late()

def small():
    return nn.Sequential(nn.LazyConv2d(4, 30), nn.Flatten(), nn.LazyLinear(3))

class Squeezes(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 3, 8)
    def forward(self, x):
        return self.body(x).squeeze()

def squeezes():
    return Squeezes()

class Alone(Squeezes):
    def forward(self, x):
        assert len(x) > 1, "a batch, please"
        return self.body(x).flatten(1)

def alone():
    return Alone()
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def data() -> Dataset:
    split = Split(np.zeros((20, 1, 8, 8), np.uint8), np.arange(20) % 3)
    return Dataset("toy", "0" * 64, ("a", "b", "c"), Preprocessing(1 / 255, (0.5,), (0.5,)), split, split, split, split)


@pytest.mark.parametrize("function", ["lazy", "late"])
def test_parameters_that_the_first_run_makes_follow_from_the_seed(net: Path, function: str, tmp_path: Path) -> None:
    origin = Origin(f"{net}:{function}", 3, (1, 8, 8), "")
    torch.manual_seed(1)
    states = [build(origin, seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(states[0][n], t) for n, t in states[1].items())
    assert any(not torch.equal(states[0][n], t) for n, t in states[2].items())
    trained = {n: t + 1 for n, t in states[2].items()}
    torch.save(trained, tmp_path / "w.pt")
    loaded = load_network(Model(source=origin.source, weights=str(tmp_path / "w.pt")), data())
    save_network(loaded, tmp_path / "a.safetensors")
    for module in (loaded.module, open_network(tmp_path / "a.safetensors").module):
        assert all(torch.equal(module.state_dict()[n], t) for n, t in trained.items())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("small", r"cannot read 1×8×8 images: .*; choose a network"),
        (
            "squeezes",
            r"returns \(3,\) for one image, not \(1, 3\): something, such as squeeze\(\) without an axis, drops the batch",
        ),
        ("alone", r"cannot read a single one of 1×8×8 images: a batch, please; "),
    ],
)
def test_what_does_not_run_is_one_line(net: Path, function: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_network(Model(source=f"{net}:{function}"), data())
    assert "\n" not in str(caught.value)
