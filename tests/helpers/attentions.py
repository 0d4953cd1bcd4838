"""Attentions as people write them, in a small network without masks: whole heads can go from all of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, HEADS = 24, 4


class Separate(nn.Module):
    """Three matrices and constants of the code, as BERT has it."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).view(len(x), -1, 4, 6).transpose(1, 2) for f in (self.query, self.key, self.value))
        shares = (q @ k.transpose(-1, -2) / math.sqrt(6)).softmax(-1)
        return self.out((shares @ v).transpose(1, 2).reshape(len(x), -1, 24))


class Fused(nn.Module):
    """One matrix, and a width that is read off the input, as timm has it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.qkv, self.proj = HEADS, nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, points, width = x.shape
        qkv = self.qkv(x).reshape(n, points, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, points, width))


class Split(nn.Module):
    """One matrix taken apart by a size, heads in one axis with the batch, and a product that is summed by letters."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, points, width = x.shape
        q, k, v = (
            part.unflatten(-1, (HEADS, width // HEADS)).transpose(1, 2).reshape(n * HEADS, points, -1)
            for part in self.qkv(x).split(width, dim=2)
        )
        shares = torch.einsum("bqd,bkd->bqk", q, k).mul(6**-0.5).softmax(2)
        found = torch.bmm(shares, v).view(n, HEADS, points, -1)
        return self.proj(found.permute(0, 2, 1, 3).flatten(2))


class Grouped(nn.Module):
    """Two heads share keys and values (Ainslie et al. 2023, arXiv:2305.13245)."""

    def __init__(self, shared: int = 2) -> None:
        super().__init__()
        self.shared = shared
        self.query, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.key, self.value = (nn.Linear(WIDTH, 6 * HEADS // shared) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        n, points, _ = x.shape
        q = self.query(x).view(n, points, HEADS, 6).transpose(1, 2)
        k, v = (f(x).view(n, points, HEADS // self.shared, 6).transpose(1, 2) for f in (self.key, self.value))
        k, v = (
            y[:, :, None].expand(n, HEADS // self.shared, self.shared, points, 6).reshape(n, HEADS, points, 6)
            for y in (k, v)
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, points, WIDTH))


class Own(nn.Module):
    """torch's own, called as people call it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class Series(nn.Module):
    """(n, 3, points) -> (n, 5): two blocks of an attention and an MLP, gated on request."""

    def __init__(self, attention: type[nn.Module] = Separate, gated: bool = False) -> None:
        super().__init__()
        self.embed, self.head, self.gated = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 5), gated
        self.attentions = nn.ModuleList(attention() for _ in range(2))
        self.first, self.second = (nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2)) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(WIDTH, 32 * (1 + gated)) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(32, WIDTH) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.transpose(1, 2))
        for i, attention in enumerate(self.attentions):
            x = x + attention(self.first[i](x))
            inner = self.up[i](self.second[i](x))
            if self.gated:
                value, gate = inner.chunk(2, dim=-1)
                inner = value * F.silu(gate)
            else:
                inner = F.gelu(inner)
            x = x + self.down[i](inner)
        return self.head(x.mean(1))
