"""Two small torch networks with a state, and data that they tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.models.call import call_function

NETS = """
import torch
from torch import nn


class Gru(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.gru, self.head = nn.GRU(4, 16, batch_first=True), nn.Linear(16, classes)

    def forward(self, x, h=None):
        y, hn = self.gru(x, h)
        return self.head(y[:, -1]), hn


class Cell(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.own, self.back = nn.Linear(4, 16), nn.Linear(16, 16, bias=False)
        self.middle, self.head = nn.Linear(16, 24), nn.Linear(24, classes)

    def forward(self, x, h):
        for t in range(x.shape[1]):
            h = torch.tanh(self.own(x[:, t]) + self.back(h))
        return {"y": self.head(torch.relu(self.middle(h))), "hN": h}


def gru(num_classes=3):
    torch.manual_seed(0)
    return Gru(num_classes)


def cell(num_classes=3):
    torch.manual_seed(0)
    return Cell(num_classes)
"""


def write_nets(folder: Path) -> np.ndarray[Any, Any]:
    """nets.py, and gru.npz and cell.npz of 300 series of four numbers at three times each; the series."""
    (folder / "nets.py").write_text(NETS)
    x = np.random.default_rng(0).normal(0, 1, (300, 3, 4)).astype(np.float32)
    for name in ("gru", "cell"):
        network = call_function(f"{folder / 'nets.py'}:{name}", {"num_classes": 3}, {}).eval()
        state = torch.zeros((1, 300, 16) if name == "gru" else (300, 16))
        with torch.no_grad():
            given = network(torch.from_numpy(x), state)
        said = (given[0] if name == "gru" else given["y"]).numpy()
        labels = said.argmax(1)
        labels[:3] = range(3)
        np.savez(folder / f"{name}.npz", x=x, y=labels)
    return x


def spec_of(net: str, **space: Any) -> dict[str, Any]:
    """A sweep of one of the two."""
    state: dict[str, Any] = {"state": "hN"} if net == "gru" else {"state": "hN", "shape": ["N", 16]}
    return {
        "name": net,
        "model": {"source": f"nets.py:{net}"} | ({"output": "y"} if net == "cell" else {}),
        "data": {
            "source": f"{net}.npz",
            "kind": "series",
            "preprocess": "none",
            "classes": 3,
            "inputs": {"x": "x", "h": state},
        },
        "space": space,
        "measure": {"latency": None, "profiles": ["host"]},
    }
