"""Rounding with step sizes that learn (LSQ; Esser et al. 2020, arXiv:1902.08153): activations and weights.

Rounding is to the nearest code, halves to even, then clipped, as QuantizeLinear does. Gradients pass through where nothing is clipped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.compress.quantization.codes import code_range
from engine.compress.quantization.grid import storable_scales
from engine.compress.quantization.scheme import ActivationScale, Codes, Float32
from engine.compress.torch_device import device, from_array, to_array

# A step size never falls below this share of what it was at the start, so that none turns zero or negative.
_SMALLEST_SHARE = 0.05
_LARGEST = float(np.finfo(np.float32).max)


def balance(values: int, largest_code: float) -> float:
    """LSQ's gradient scale of a step size, which makes it learn about as fast as the values that it rounds."""
    return float((values * max(largest_code, 1.0)) ** -0.5)


def _vectors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of one shape as vectors in one order, without copies where they lie in memory alike."""
    first = tensors[0]
    dense = first.is_contiguous() or (first.ndim == 4 and first.is_contiguous(memory_format=torch.channels_last))
    if dense and all(t.stride() == first.stride() for t in tensors):
        return tuple(t.as_strided((t.numel(),), (1,)) for t in tensors)
    return tuple(t.reshape(-1) for t in tensors)


class _RoundActivation(torch.autograd.Function):
    """x -> clip(round(x / scale), low, high) * scale, in few passes over memory: they are what it costs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: float, high: float) -> Tensor:
        rounded = torch.div(x, scale).round_().clamp_(low, high).mul_(scale)
        ctx.save_for_backward(x, rounded, scale)
        ctx.ends = (low, high)
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, rounded, scale = ctx.saved_tensors
        low, high = ctx.ends
        size = float(scale)
        inner = torch.ops.aten.hardtanh_backward(gradients[0], x, low * size, high * size)  # 0 where x is clipped
        # d rounded / d scale is (rounded - x) / scale where nothing is clipped, and rounded / scale, the end itself, elsewhere.
        gradient, rounded_vector = _vectors(gradients[0], rounded)
        passed, x_vector = _vectors(inner, x)
        share = torch.dot(passed, x_vector)
        if share.isnan():  # padding of -inf is clipped, and 0 times it would be no number
            share = torch.dot(passed, x_vector.clamp(-_LARGEST, _LARGEST))
        step = (torch.dot(gradient, rounded_vector) - share) / size
        return inner, (step * balance(x.numel(), max(high, -low))).reshape(scale.shape), None, None


class _RoundWeight(torch.autograd.Function):
    """weight -> clip(round(weight / scale), low, high) * scale; `scale`, `low`, `high` broadcast against the weight."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
        exact = weight / scale
        codes = torch.clamp(exact.round(), low, high)
        ctx.save_for_backward(exact, codes, low, high)
        ctx.shape = scale.shape
        return codes * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        exact, codes, low, high = ctx.saved_tensors
        inside = (exact >= low) & (exact <= high)
        step = (gradients[0] * torch.where(inside, codes - exact, codes)).sum_to_size(ctx.shape)
        largest = float(torch.maximum(high, -low).max())
        return gradients[0] * inside, step * balance(exact.numel() // step.numel(), largest), None, None


class RoundedActivation(nn.Module):
    """A tensor's rounding; `scale` (1,) learns. `limit` (channels, 1, …) bounds the codes of each channel of a (n, channels, …) tensor."""

    def __init__(self, rounding: ActivationScale, limit: Float32 | None = None) -> None:
        super().__init__()
        self.start = rounding
        self.limit = None if limit is None else from_array(limit)
        self.scale = nn.Parameter(torch.tensor([float(rounding.scale)]).to(device()))
        self.low, self.high = float(-rounding.zero_point), float(rounding.largest - rounding.zero_point)

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of any shape -> the nearest of its codes' values."""
        rounded: Tensor = _RoundActivation.apply(x, self.scale, self.low, self.high)
        if self.limit is None:
            return rounded
        return torch.minimum(rounded, ((self.limit / self.scale).round() * self.scale).detach())

    def keep_positive(self) -> None:
        """After an update: the step size is not zero or below."""
        self.scale.data.clamp_(min=_SMALLEST_SHARE * float(self.start.scale))

    def result(self) -> ActivationScale:
        """What the file will hold."""
        return replace(self.start, scale=np.float32(self.scale.item()))


class RoundedWeight(nn.Module):
    """A stored weight's rounding: the weight is `factor × v`, and v is what is rounded; v and `scale` (channels or 1,) learn.

    The factor stays: with it v has channels of norm 1, so that one learning rate suits channels of any size. v starts such that its codes
    are those of the scheme, however they were chosen.
    """

    def __init__(self, weight: Tensor, codes: Codes) -> None:
        super().__init__()
        self.start = codes
        self._shape = [1] * weight.ndim
        if codes.scale.ndim:
            self._shape[codes.axis] = -1
        scale, zero = (from_array(v.astype(np.float32)).reshape(self._shape) for v in (codes.scale, codes.zero_point))
        low, high = code_range(codes.bits, codes.symmetric)
        self.low, self.high, self._zero = low - zero, high - zero, zero
        exact, centred = weight / scale, from_array(codes.codes.astype(np.float32)) - zero
        # Learned rounding may have gone the other way: such a weight starts from its code itself. From just inside the code's interval,
        # the first updates would carry it back over the edge, and with it all that was learned.
        moved = torch.clamp(exact.round(), self.low, self.high) != centred
        weight = torch.where(moved, centred * scale, weight)
        self._factor = self._norm(weight) if codes.scale.ndim else torch.ones_like(scale)
        self.v = nn.Parameter(weight / self._factor)
        # A vector, as what decays is told by: weights do, their step sizes do not.
        self.scale = nn.Parameter((scale / self._factor).reshape(-1))
        self._smallest = self.scale.detach() * _SMALLEST_SHARE

    def _norm(self, weight: Tensor) -> Tensor:
        others = [d for d in range(weight.ndim) if d != self.start.axis]
        norm = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
        return torch.where(norm > 0, norm, torch.ones_like(norm))

    def forward(self) -> Tensor:
        """The weight that the runtime sees, its scales from the grid that the file stores them on; gradients pass through."""
        scale = self.scale.reshape(self._shape)
        rounded: Tensor = _RoundWeight.apply(self.v, scale, self.low, self.high)
        return rounded * (self.stored_scale().reshape(self._shape) / scale.detach())

    def keep_positive(self) -> None:
        """After an update: no step size is zero or below."""
        self.scale.data.clamp_(min=self._smallest)

    @torch.no_grad()
    def stored_scale(self) -> Tensor:
        """The scale that the file will hold, (channels,) or ()."""
        scale = self.scale * self._factor.reshape(-1)
        return from_array(storable_scales(to_array(scale.reshape(self.start.scale.shape)), self.start.bits))

    @torch.no_grad()
    def result(self) -> Codes:
        """What the file will hold."""
        codes = torch.clamp((self.v / self.scale.reshape(self._shape)).round(), self.low, self.high) + self._zero
        whole = np.ascontiguousarray(to_array(codes), np.int16)
        return replace(self.start, codes=whole, scale=to_array(self.stored_scale()))
