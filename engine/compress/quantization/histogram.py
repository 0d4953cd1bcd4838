"""Histograms of activations, and the range that each calibration method reads off one.

A histogram has bins of equal width with an edge at 0. When a value lies beyond the last bin, widths double and neighbours merge, so one
pass over the images in constant memory is enough, whatever their range.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Method = Literal["minmax", "percentile", "entropy", "mse"]
Ends = tuple[float, float]

TAIL = {8: 1e-5, 16: 0.0}
"""Share of values that `percentile` cuts off at either end, by bits."""
_TAIL_BELOW = 1e-4
BINS = 4096
"""On either side of 0, at least half of them below the largest value: an end is known to 1/2048, an eighth of a uint8 step."""
# What `mse` tries for each end, as shares of what was seen, and how often it goes over both ends.
_CLIPS = np.linspace(0.05, 1.0, 58)
_ROUNDS = 2
# How many bins the thresholds that `entropy` tries lie apart.
_THRESHOLD_STEP = 32


class Histogram:
    """`low`, `high`: the ends of all values seen; `counts`, (2 · BINS,): of a sample of them, bin i from (i - BINS) · `width` up."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self.width = 0.0
        self.counts: Int64 = np.zeros(2 * BINS, np.int64)

    def add(self, values: npt.NDArray[np.float32], every: int) -> None:
        """Note the ends of all `values`, flat, and count one of so many; none for 0."""
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        largest = max(-self.low, self.high)
        if not every or not np.isfinite(largest):
            return
        if not largest:  # zeros alone; they lie in the bin above 0, whatever its width will be
            self.counts[BINS] += len(values[::every])
            return
        self.width = self.width or largest / (BINS - 1)
        while largest >= self.width * (BINS - 1):
            self._double()
        places = values[::every] * np.float32(1 / self.width)
        places += BINS  # nothing is negative then, so that cutting off the fraction rounds down
        self.counts += np.bincount(places.astype(np.int64), minlength=2 * BINS)

    def _double(self) -> None:
        pairs = self.counts.reshape(BINS, 2).sum(axis=1)
        self.counts[:] = 0
        self.counts[BINS // 2 : BINS // 2 + BINS] = pairs
        self.width *= 2

    def range(self, method: Method, bits: int) -> Ends:
        """The ends that a method chooses for codes of so many bits, never wider than what was seen."""
        if method == "minmax" or not self.width:
            return self.low, self.high
        if method == "percentile":
            low, high = percentiles(self, bits)
        elif method == "mse":
            low, high = least_squares(self, bits)
        else:
            low, high = least_divergence(self, bits)
        return max(self.low, low), min(self.high, high)


def percentiles(seen: Histogram, bits: int) -> Ends:
    """Cuts off the outermost values at either end, 0.001 % with 8 bits, 0.01 % with fewer (Wu et al. 2020, arXiv:2004.09602)."""
    share = np.cumsum(seen.counts) / seen.counts.sum()
    tail = TAIL.get(bits, _TAIL_BELOW)
    first, last = int((share <= tail).sum()), int((share < 1 - tail).sum())  # the bins in which the percentiles lie
    return (first - BINS) * seen.width, (last + 1 - BINS) * seen.width


def least_squares(seen: Histogram, bits: int) -> Ends:
    """The ends whose codes have the least squared error, searched for one at a time, the upper first."""
    used = np.flatnonzero(seen.counts)
    values = np.asarray((used - BINS + 0.5) * seen.width, np.float64)
    counts = seen.counts[used].astype(np.float64)
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    for _ in range(_ROUNDS):
        uppers = max(seen.high, 0.0) * _CLIPS
        high = float(uppers[np.argmin(_squared_errors(values, counts, np.full_like(uppers, low), uppers, bits))])
        lowers = min(seen.low, 0.0) * _CLIPS
        low = float(lowers[np.argmin(_squared_errors(values, counts, lowers, np.full_like(lowers, high), bits))])
    return low, high


def _squared_errors(values: Float64, counts: Float64, lows: Float64, highs: Float64, bits: int) -> Float64:
    """The summed squared error of codes between each pair of ends, (pairs,)."""
    steps = 2**bits - 1
    scale = np.maximum((highs - lows) / steps, np.finfo(np.float64).tiny)[:, None]
    zero = np.rint(-lows[:, None] / scale)
    rounded = (np.clip(np.rint(values / scale) + zero, 0, steps) - zero) * scale
    errors: Float64 = (rounded - values) ** 2 @ counts
    return errors


def least_divergence(seen: Histogram, bits: int) -> Ends:
    """The threshold on |x| that loses the least information, by Kullback-Leibler divergence (Migacz 2017, "8-bit inference with TensorRT").

    Codes are spread over [0, threshold], half of them where there are negative values. Exact zeros, which every scale holds, are left out
    of account as TensorRT does: the first bin counts as much as the second.
    """
    largest = max(-seen.low, seen.high)
    bins = min(int(largest / seen.width) + 1, BINS)
    counts = (seen.counts[BINS:] + seen.counts[BINS - 1 :: -1])[:bins].astype(np.float64)
    counts[0] = counts[1] if bins > 1 else counts[0]
    levels = 2 ** (bits - 1) if seen.low < 0 else 2**bits
    sizes = np.unique(np.append(np.arange(min(levels, bins), bins, _THRESHOLD_STEP), bins))
    best = sizes[np.argmin([divergence(counts, int(size), levels) for size in sizes])]
    threshold = float(best * seen.width)
    return -threshold, threshold


def divergence(counts: Float64, size: int, levels: int) -> float:
    """KL of the first `size` bins, what lies beyond added to the last, from the same in `levels` codes, spread evenly over used bins."""
    inside = counts[:size]
    reference = inside.copy()
    reference[-1] += counts[size:].sum()
    starts = np.arange(levels) * size // levels
    used = inside > 0
    total, members = np.add.reduceat(inside, starts), np.add.reduceat(used.astype(np.float64), starts)
    spread = np.where(used, np.repeat(total / np.maximum(members, 1), np.diff(starts, append=size)), 0.0)
    p, q = reference / max(reference.sum(), 1), spread / max(spread.sum(), 1)
    # Where the codes have nothing, a little, so that the divergence is finite.
    q = np.maximum(q, 1e-9)
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())
