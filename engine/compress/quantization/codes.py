"""Weights -> N-bit codes by nearest rounding, with the scale (and zero point) of least squared error.

With all 8 bits the scale spreads the whole range. With fewer it pays to clip (Banner et al. 2019, arXiv:1810.05723): the scale is searched
between a clip and the whole range, and below 5 bits then made to keep the size of the signal. Scales of channels are taken from what a file
can store in a byte (grid.py).

7 bits are the "reduced range" of CPUs without VNNI or AMX, whose kernels add pairs of uint8 × int8 products in int16: codes of 8 bits can
saturate there, codes of 7 bits and fewer cannot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.compress.quantization.grid import storable_scales
from engine.compress.quantization.scheme import Codes

Float32 = npt.NDArray[np.float32]

# Clips tried for each channel, as shares of its range: from this to 1. With more codes, clipping pays less.
_SMALLEST_CLIP = {2: 0.25, 3: 0.3, 4: 0.4, 5: 0.6, 6: 0.75, 7: 0.85}
_CLIPS = 33
# Weights rounded at a time: their float32 copies stay in a core's cache.
_CHUNK = 2**16
# Below so many bits codes are few enough to be fitted with another scale than the one they were rounded with.
_FITTED_BELOW = 5
_TINY = np.float32(np.finfo(np.float32).tiny * 256)


def code_range(bits: int, symmetric: bool = True) -> tuple[int, int]:
    """Smallest and largest code: all 2^N, from 0 where there is a zero point; ±127 at 8 bits, as integer kernels have it."""
    if not symmetric:
        return 0, 2**bits - 1
    return (-127, 127) if bits == 8 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def quantized_weight(
    weight: Float32,
    axis: int,
    bits: int,
    per_channel: bool,
    symmetric: bool = True,
) -> Codes:
    """A weight's codes; `axis` is that of output channels."""
    rows = as_rows(weight, axis, per_channel)
    scale, zero = row_scales(rows, bits, symmetric)
    if bits >= _FITTED_BELOW and per_channel:
        scale = storable_scales(scale, bits, up=bits == 8)  # with 8 bits the whole range is to fit
    low, high = code_range(bits, symmetric)
    codes = np.clip(np.rint(rows / scale[:, None]) + zero[:, None], low, high)
    if bits < _FITTED_BELOW:
        scale = _with_unit_gain(rows, codes - zero[:, None], scale)
        scale = storable_scales(scale, bits) if per_channel else scale
    if not per_channel:
        scale, zero = scale.reshape(()), zero.reshape(())
    small = from_rows(codes.astype(np.int16), weight.shape, axis, per_channel)
    return Codes(small, scale, zero.astype(np.int16), bits, axis)


def _with_unit_gain(rows: Float32, codes: Float32, scale: Float32) -> Float32:
    """The scale for which what the codes stand for, projected on the row, is the row itself: `|w|² / <w, codes>`.

    The scale of least squared error makes weights smaller by its share of their energy, 4 % at 3 bits, and a network's signal by as much in
    every layer; this one costs a little error and keeps the signal (Vargaftik et al. 2022, arXiv:2108.08842, use it where vectors are
    averaged; Banner et al. 2019 restore the variance instead).
    """
    product = np.einsum("ij,ij->i", rows, codes)
    energy = np.einsum("ij,ij->i", rows, rows)
    unit: Float32 = np.where(product > 0, energy / np.where(product > 0, product, 1), scale).astype(np.float32)
    return unit


def round_to_codes(weight: Float32, like: Codes) -> Codes:
    """Another weight of the same shape rounded with the scale, zero point and bits of `like`."""
    shape = [1] * weight.ndim
    shape[like.axis] = -1
    scale = like.scale.reshape(shape if like.scale.ndim else ())
    zero = like.zero_point.reshape(shape if like.zero_point.ndim else ())
    low, high = code_range(like.bits, like.symmetric)
    codes = np.clip(np.rint(weight / scale) + zero, low, high).astype(np.int16)
    return Codes(codes, like.scale, like.zero_point, like.bits, like.axis)


def as_rows(weight: Float32, axis: int, per_channel: bool) -> Float32:
    """(output channels, weights each), or one row for the whole tensor."""
    rows = weight.reshape(1, -1) if not per_channel else np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    return np.ascontiguousarray(rows, np.float32)


def from_rows(rows: npt.NDArray[Any], shape: tuple[int, ...], axis: int, per_channel: bool) -> npt.NDArray[Any]:
    """The inverse of `as_rows`."""
    if not per_channel:
        return rows.reshape(shape)
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    back: npt.NDArray[Any] = np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))
    return back


def row_scales(rows: Float32, bits: int, symmetric: bool) -> tuple[Float32, Float32]:
    """Scale and zero point of each row, (rows,) both, of least squared error; zero points are whole numbers, 0 where symmetric."""
    low, high = rows.min(axis=1, initial=0.0), rows.max(axis=1, initial=0.0)
    first, last = code_range(bits, symmetric)
    if symmetric:
        high = np.maximum(high, -low)
        low = np.zeros_like(high)
        first = 0
    dead = high - low < _TINY  # so small that the scale itself would vanish
    # All zeros fit any scale; training may move them, as far as it moves a fresh layer of so many inputs.
    fresh = np.float32(max(1, rows.shape[1]) ** -0.5 / (last - first))
    whole = np.where(dead, fresh, (high - low) / np.float32(last - first)).astype(np.float32)
    # Clipping takes the same share off both ends, so 0.0 keeps its code.
    zero = np.clip(np.rint(-low / whole), first, last)
    best = whole.copy()
    if bits < 8:
        size = max(1, _CHUNK // max(1, rows.shape[1]))
        parts = [
            _search(rows[i : i + size], whole[i : i + size], zero[i : i + size], bits, symmetric)
            for i in range(0, len(rows), size)
        ]
        best = np.concatenate(parts)
    if dead.any() and not dead.all():
        best[dead] = best[~dead].min()  # any will do, but what is stored is limited by the largest
    return best, zero


def _search(rows: Float32, whole: Float32, zero: Float32, bits: int, symmetric: bool) -> Float32:
    """The scale of least squared error of each row, from `whole`, which clips nothing, down."""
    low, high = code_range(bits, symmetric)
    offset = zero[:, None]
    best: Float32 = whole
    least = np.full(len(rows), np.inf, np.float32)
    for clip in np.linspace(_SMALLEST_CLIP[bits], 1, _CLIPS, dtype=np.float32):
        scale = whole * clip
        found = np.clip(np.rint(rows / scale[:, None]) + offset, low, high) - offset
        difference = found * scale[:, None] - rows
        error = np.einsum("ij,ij->i", difference, difference)
        best, least = np.where(error < least, scale, best).astype(np.float32), np.minimum(error, least)
    return best
