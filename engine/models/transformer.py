"""A small transformer encoder that tells series apart: the zoo's network that is no convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.models.narrow import sizes_of

HEADS = 4
MOST_POINTS = 64
"""Positions that are learnt; a longer series is refused."""


class SeriesTransformer(nn.Module):
    """An encoder (Vaswani et al. 2017, arXiv:1706.03762) over the points of a series, normalised before each part (Xiong et al. 2020,
    arXiv:2002.04745): each point's numbers become a token, positions are learnt, the mean over all points is classified.

    Every series is as long as every other; none is padded, so that nothing is masked.
    """

    def __init__(self, num_classes: int, in_channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.embed = nn.Linear(in_channels, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, MOST_POINTS, width))
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, points) -> (n, classes)."""
        if x.ndim != 3 or x.shape[2] > MOST_POINTS:
            raise ValueError(f"this network reads series, (channels, up to {MOST_POINTS} points)")
        tokens = self.embed(x.transpose(1, 2)) + self.positions[:, : x.shape[2]]
        scores: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return scores


class _Attention(nn.MultiheadAttention):
    """torch's weights, and so its checkpoints, with the products written out: exported, it takes three quarters of the time."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # of itself alone
        """(n, points, width) -> the same."""
        points, width = x.shape[1:]
        # One that lost heads is not as wide within as its input.
        of_each = self.head_dim if sizes_of(self) else width // self.num_heads
        projected = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        heads = projected.view(-1, points, 3, self.num_heads, of_each)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(2, 3) * of_each**-0.5).softmax(3)
        joined = self.num_heads * self.head_dim if sizes_of(self) else width
        found: Tensor = self.out_proj((weights @ value).transpose(1, 2).reshape(-1, points, joined))
        return found


class _Block(nn.Module):
    """Attention and two linear layers, each around a shortcut. (n, points, width) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _Attention(width, HEADS, batch_first=True)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        inner: Tensor = self.narrow(nn.functional.gelu(self.wide(self.norm2(x))))
        return x + inner
