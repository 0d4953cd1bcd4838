"""Intervals and tests for what a finite test set can say: numbers in, numbers out, numpy inside.

Everything is two-sided at 95 %. "Paired" means that both networks answered the same images, which is what makes small differences visible:
the images on which both agree cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# Two-sided 95 % quantile of the normal distribution.
Z_95 = 1.959963984540054
# Halvings of a step of at most 2: beyond them the ends no longer move in double precision.
_HALVINGS = 60


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Ends of the 95 % score interval of a share (Wilson 1927, JASA 22:209), in [0, 1]; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = correct / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At 0 and n the end is exact in algebra and off by a rounding in floating point.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == n else min(1.0, centre + half)
    return low, high


def mcnemar_midp(right_a: Bools, right_b: Bools) -> float:
    """Two-sided mid-p of McNemar's exact test that a and b, (n,) right or wrong on the same images, are equally good.

    Fagerland, Lydersen, Laake 2013 (BMC Med Res Methodol 13:91), who find it better than the exact and asymptotic ones.
    """
    only_a, only_b = discordant(right_a, right_b)
    n, k = only_a + only_b, min(only_a, only_b)
    # Whole numbers throughout: binomial coefficients of thousands overflow floats, and logarithms lose digits.
    term, below = 1, 0  # C(n, i) and the sum of those before it
    for i in range(k):
        below += term
        term = term * (n - i) // (i + 1)
    return float(min(1.0, (2 * below + term) / 2**n))


def discordant(right_a: Bools, right_b: Bools) -> tuple[int, int]:
    """On how many images only a, and only b, is right."""
    return int(np.count_nonzero(right_a & ~right_b)), int(np.count_nonzero(~right_a & right_b))


def paired_difference(right_a: Bools, right_b: Bools) -> tuple[float, float, float]:
    """Share right of a minus that of b, both (n,) on the same images, with the ends of its 95 % interval, in [-1, 1].

    Tango's score interval (Tango 1998, Statistics in Medicine 17:891), which Fagerland, Lydersen and Laake 2014 (Statistics in Medicine
    33:2850) recommend at any n. Raises ValueError for n = 0.
    """
    n = len(right_a)
    if n == 0:
        raise ValueError("a difference of no images has no interval")
    only_a, only_b = discordant(right_a, right_b)
    return (only_a - only_b) / n, *tango(only_a, only_b, n)


def tango(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Ends of Tango's 95 % score interval from the discordant counts among n pairs."""
    share = (only_a - only_b) / n
    low = _bisect(lambda d: _tango_z(only_a, only_b, n, d) <= Z_95, -1.0, share)
    high = _bisect(lambda d: _tango_z(only_a, only_b, n, d) < -Z_95, share, 1.0)
    return low, high


def _tango_z(only_a: int, only_b: int, n: int, difference: float) -> float:
    """The score statistic that the true difference is `difference`; the share of only b is estimated under that hypothesis."""
    b = -only_a - only_b + (2 * n - only_a + only_b) * difference
    c = -only_b * difference * (1 - difference)
    q = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * q + difference * (1 - difference))
    distance = only_a - only_b - n * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _bisect(turned: Callable[[float], bool], low: float, high: float) -> float:
    """The place between `low` and `high` from which on `turned` holds; its ends where it never or always does."""
    if turned(low):
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if turned(middle) else (middle, high)
    return high


def mean_interval(values: Floats) -> tuple[float, float, float]:
    """The mean of values (n,) with the ends of its 95 % normal interval; both ends are the mean for n = 1. Raises ValueError for n = 0."""
    if not len(values):
        raise ValueError("a mean of no values has no interval")
    mean = float(values.mean())
    half = Z_95 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return mean, mean - half, mean + half


def calibration_error(confidence: Floats, right: Bools, bins: int = 15) -> float:
    """Expected calibration error in [0, 1]: how far confidence (n,) and share right are apart, over bins of equal width.

    Naeini, Cooper, Hauskrecht 2015 (AAAI), with the 15 bins of Guo et al. 2017 (arXiv:1706.04599). Raises ValueError for n = 0.
    """
    if not len(right):
        raise ValueError("no images, no calibration error")
    # (0, 1/15], (1/15, 2/15], …: a confidence on an edge belongs below it, as in Guo et al.
    place = np.clip(np.ceil(np.clip(confidence, 0, 1) * bins).astype(np.intp) - 1, 0, bins - 1)
    gap = np.bincount(place, confidence, bins) - np.bincount(place, right, bins)
    return float(np.abs(gap).sum() / len(right))
