"""What is told of weights that are not stored as asked."""

from __future__ import annotations

import torch
from torch import nn

from engine.compress.quantize import note
from engine.models.export import export_onnx
from engine.spec.steps import Quantize

INT8, WEIGHTS = Quantize(weight_bits=8, activation_bits=8), Quantize(weight_bits=4, activation_bits=32)


class Mixed(nn.Module):
    """A convolution, a transposed one that is too small to be worth rounding, and a recurrent layer."""

    def __init__(self, recurrent: bool) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(1, 8, 3, padding=1), nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.gru = nn.GRU(64, 16, batch_first=True) if recurrent else None
        self.head = nn.Linear(16 if recurrent else 64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(torch.relu(self.conv(x)))  # (n, 4, 16, 16)
        x = torch.nn.functional.avg_pool2d(x, 4).reshape(-1, 1, 64)
        return self.head(self.gru(x)[0][:, -1] if self.gru is not None else x[:, 0])


def test_layers_that_stay_in_float_are_named_with_their_share() -> None:
    up, conv, head = 8 * 4 * 4, 8 * 9, 64 * 5
    for step in (INT8, WEIGHTS):
        told = note(step, export_onnx(Mixed(recurrent=False).eval(), (1, 8, 8)))
        assert told is not None
        assert told.startswith(f"{100 * up / (up + conv + head):.2g} % of the weights stay in 32-bit floats")
        assert "ConvTranspose" in told
        told = note(step, export_onnx(Mixed(recurrent=True).eval(), (1, 8, 8)))
        assert told is not None
        recurrent = 3 * 16 * (64 + 16)
        assert told.startswith(f"{100 * up / (up + recurrent + conv + 16 * 5):.2g} %")
        assert "GRU" not in told


def test_nothing_is_told_of_networks_that_are_rounded_whole() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    model = export_onnx(network.eval(), (1, 8, 8))
    assert note(INT8, model) is None
    assert note(WEIGHTS, model) is None
