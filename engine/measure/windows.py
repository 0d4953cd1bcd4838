"""How a convolution's kernel moves over images: which codes meet at a place of its output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.intp]


class Window:
    """A kernel over images of one size; a matrix product is one of no axes over an image of one pixel.

    `pads`: before and after, along each axis. `places`: the output's size.
    """

    def __init__(self, attributes: Mapping[str, Any], size: Sequence[int], kernel: Sequence[int]) -> None:
        axes = range(len(size))
        self._size, self._kernel = size, kernel
        self._strides = attributes.get("strides", [1] * len(size))
        self._dilations = attributes.get("dilations", [1] * len(size))
        span = [self._dilations[i] * (kernel[i] - 1) + 1 for i in axes]
        self.pads = [_pads(attributes, i, size[i], span[i], self._strides[i]) for i in axes]
        self.places = [(size[i] + sum(self.pads[i]) - span[i]) // self._strides[i] + 1 for i in axes]

    @cached_property
    def seen(self) -> Positions:
        """(taps, places): the position in the image, row by row, that a tap of the kernel meets; -1 in the padding."""
        return self._positions(self._size, [before for before, _ in self.pads])

    @cached_property
    def inside(self) -> bool:
        """Whether the kernel never meets padding."""
        return bool((self.seen >= 0).all())

    @cached_property
    def seen_padded(self) -> Positions:
        """The same in the image with its padding."""
        return self._positions([n + sum(p) for n, p in zip(self._size, self.pads, strict=True)], [0] * len(self.pads))

    def _positions(self, size: Sequence[int], before: Sequence[int]) -> Positions:
        axes = len(size)
        found, inside = np.zeros([1] * 2 * axes, np.intp), np.ones([1] * 2 * axes, bool)
        for i in range(axes):
            taps = np.arange(self._kernel[i]) * self._dilations[i] - before[i]
            along = taps[:, None] + np.arange(self.places[i]) * self._strides[i]
            shape = [1] * 2 * axes
            shape[i], shape[axes + i] = along.shape
            along = along.reshape(shape)
            found, inside = found * size[i] + along, inside & (along >= 0) & (along < size[i])
        return np.where(inside, found, -1).reshape(math.prod(self._kernel), math.prod(self.places))

    @cached_property
    def met(self) -> Positions:
        """(taps, positions): the place at which a tap meets a position of the image; -1 at none."""
        return _turned(self.seen, math.prod(self._size))

    @cached_property
    def met_padded(self) -> Positions:
        """The same of the image with its padding."""
        return _turned(self.seen_padded, math.prod(n + sum(p) for n, p in zip(self._size, self.pads, strict=True)))


def _turned(seen: Positions, positions: int) -> Positions:
    met = np.full((len(seen), positions), -1, np.intp)
    for found, places in zip(met, seen, strict=True):
        inside = places >= 0
        found[places[inside]] = np.flatnonzero(inside)
    return met


def _pads(attributes: Mapping[str, Any], axis: int, size: int, span: int, stride: int) -> tuple[int, int]:
    """Padding before and after along an axis."""
    kind = attributes.get("auto_pad", b"NOTSET").decode()
    if kind == "NOTSET":
        stated = attributes.get("pads", [0] * 2 * (axis + 1))
        return stated[axis], stated[axis + len(stated) // 2]
    if kind == "VALID":
        return 0, 0
    total = max(0, (-(-size // stride) - 1) * stride + span - size)
    small, large = total // 2, total - total // 2
    return (small, large) if kind == "SAME_UPPER" else (large, small)
