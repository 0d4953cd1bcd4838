"""A small transformer encoder with a mask, some channels of which are far larger than the others, as trained ones have them."""

from __future__ import annotations

import math

import onnx
import torch
from torch import nn

from engine.models.export import export_onnx

WIDTH, HEADS, LENGTH = 32, 4, 12


class Layer(nn.Module):
    """Attention and two matrices, each with a LayerNormalization: after the sum, as BERT has it, or `before` what it adds."""

    def __init__(self, before: bool) -> None:
        super().__init__()
        self.before = before
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def attend(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        n, length = x.shape[:2]
        q, k, v = (f(x).reshape(n, length, HEADS, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + mask
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, WIDTH))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.before:
            x = x + self.attend(self.first(x), mask)
            return x + self.down(nn.functional.gelu(self.up(self.second(x))))
        x = self.first(x + self.attend(x, mask))
        return self.second(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """Series (n, 12, 32) -> (n, 5); steps that are all zero are padding, masked by `far`."""

    def __init__(self, before: bool, far: float) -> None:
        super().__init__()
        self.layers, self.head, self.far = nn.ModuleList(Layer(before) for _ in range(2)), nn.Linear(WIDTH, 5), far
        for layer in self.layers:
            for norm in (layer.first, layer.second):
                norm.weight.data[:3] *= 20
            for reader in (layer.q, layer.k, layer.v, layer.up):
                reader.weight.data[:, :3] /= 20

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        there = (x.abs().sum(2) > 0).float()
        mask = torch.where(there > 0, 0.0, self.far)[:, None, None]
        for layer in self.layers:
            x = layer(x, mask)
        return self.head((x * there[..., None]).sum(1) / there.sum(1, keepdim=True))


def small_transformer(before: bool = False, far: float = float(torch.finfo(torch.float32).min)) -> onnx.ModelProto:
    """The network's graph, of a free batch."""
    torch.manual_seed(0)
    return export_onnx(Encoder(before, far).eval(), (LENGTH, WIDTH))


def series(n: int, seed: int = 0) -> torch.Tensor:
    """Series of 5 to 12 steps, padded with zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, LENGTH, WIDTH, generator=generator)
    lengths = torch.randint(5, LENGTH + 1, (n, 1), generator=generator)
    return x * (torch.arange(LENGTH)[None] < lengths)[..., None]
