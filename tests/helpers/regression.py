"""A problem of values: vectors in their own units, a network trained on standardised ones, and its checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

NET = """\
from torch import nn


def build():
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
"""


def regression_problem(folder: Path) -> None:
    """`d.npz` (700 items, no split), `net.py:build` and `net.pt` in the folder; seconds."""
    rng = np.random.default_rng(0)
    x = rng.normal([5, 50, 500, 1, 0, 3], [1, 10, 100, 0.1, 1, 1], (700, 6)).astype(np.float32)
    z = (x - x.mean(0)) / x.std(0)
    y = (200 + 20 * np.tanh(z[:, 0] + z[:, 1]) + 10 * z[:, 2] + rng.normal(0, 1, 700)).astype(np.float32)
    np.savez(folder / "d.npz", x=x, y=y)
    (folder / "net.py").write_text(NET)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
    inputs, wanted = torch.from_numpy(z.astype(np.float32)), torch.from_numpy(y)[:, None]
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    with torch.no_grad():
        net[2].bias.fill_(200.0)
    for _ in range(400):
        loss = (net(inputs) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 4
    torch.save(net.state_dict(), folder / "net.pt")
