"""From blocks of times to a ratio with its interval: numpy in, numbers out, the same for the same samples.

Two things make a ratio uncertain. Within a process neighbouring runs are alike, so what is resampled are blocks. Between processes memory
lies elsewhere and another core may have been free, which moves a small network's time by a percent or two and is the same for all blocks of
a process: more blocks do not show it, more processes do. The interval has both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.quality.statistics import Z_95

Floats = npt.NDArray[np.float64]

_RESAMPLES = 400
# Two-sided 95 % points of Student's t by degrees of freedom; in between, linear in 1 / degrees of freedom.
_T_95 = {
    1: 12.7062,
    2: 4.3027,
    3: 3.1824,
    4: 2.7764,
    5: 2.5706,
    6: 2.4469,
    8: 2.3060,
    10: 2.2281,
    15: 2.1314,
    30: 2.0423,
}
_FEWEST_BLOCKS = 3
_ENOUGH_QUIET = 10
# A variance, of logarithms, that stands for none at all.
_FINEST = 1e-16


@dataclass(frozen=True)
class Pooled:
    """A mean over processes with the ends of its 95 % interval, all positive; `half_width` is relative, None where no spread is known."""

    value: float
    low: float
    high: float
    half_width: float | None


def student_t(degrees: float) -> float:
    """The two-sided 95 % point of Student's t with so many degrees of freedom; within 0.2 % of the exact one."""
    points = [*sorted((1 / d, t) for d, t in _T_95.items())]
    inverse, quantile = zip((0.0, Z_95), *points, strict=True)
    return float(np.interp(1 / max(degrees, 1.0), inverse, quantile))


def midmean(values: Floats) -> Floats:
    """Mean of the middle half along the last axis: nearly as sure as the mean, and as deaf to outliers as the quartiles."""
    ordered = np.sort(values, axis=-1)
    n = values.shape[-1]
    middle: Floats = ordered[..., n // 4 : n - n // 4].mean(axis=-1)
    return middle


def undisturbed(switches: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which blocks to count, (blocks,): those in which the process was never put off its core; all, where those are too few."""
    quiet = np.asarray(switches, np.int64) == 0
    return quiet if quiet.sum() >= min(_ENOUGH_QUIET, (len(quiet) + 1) // 2) else np.ones(len(quiet), np.bool_)


def block_logs(candidate_ms: Iterable[Sequence[float]], baseline_ms: Iterable[Sequence[float]]) -> Floats:
    """Logarithm of each candidate block's median, less that of the baseline block beside it where there is one; (blocks,)."""
    candidate = np.log([np.median(block) for block in candidate_ms])
    baseline = np.log([np.median(block) for block in baseline_ms])
    logs: Floats = candidate - baseline if len(baseline) else candidate
    return logs


def _within(logs: Floats) -> float:
    """Bootstrap variance (Efron 1979) of the midmean of one process's blocks; the same on each call."""
    indices = np.random.default_rng(0).integers(0, len(logs), (_RESAMPLES, len(logs)))
    return float(midmean(logs[indices]).var())


def pooled(processes: Sequence[Floats]) -> Pooled:
    """Logarithms of blocks, an array for each process -> their mean, back from logarithms, with a 95 % interval.

    Processes are weighted as studies of a random effect are (DerSimonian & Laird 1986): by what a bootstrap over its blocks says of each,
    and by how much they differ beyond that. The interval is Hartung and Knapp's (2001), from the spread of the processes with Student's
    quantile, which is right whatever makes them differ; but no narrower than their blocks allow, since three of them may agree by luck. A
    process of one or two blocks counts only where there is no other kind. One process has only its own blocks to tell from.
    """
    known = [logs for logs in processes if len(logs) >= _FEWEST_BLOCKS] or list(processes)
    centres = np.array([midmean(logs) for logs in known])
    n = len(known)
    within = np.array([_FINEST if len(logs) < _FEWEST_BLOCKS else max(_within(logs), _FINEST) for logs in known])
    if n == 1 and len(known[0]) < _FEWEST_BLOCKS:
        value = float(np.exp(centres[0]))
        return Pooled(value, value, value, None)
    weights = 1 / (within + _between(centres, within))
    centre = float(weights @ centres / weights.sum())
    half = Z_95 / np.sqrt(weights.sum())
    if n > 1:
        spread = weights @ (centres - centre) ** 2 / ((n - 1) * weights.sum())
        half = max(half, student_t(n - 1) * np.sqrt(spread))
    low, high = (float(np.exp(centre + sign * half)) for sign in (-1, 1))
    return Pooled(float(np.exp(centre)), low, high, float(np.expm1(half)))


def _between(centres: Floats, within: Floats) -> float:
    """DerSimonian and Laird's variance between processes, by moments; 0 where they differ no more than their blocks let expect."""
    weights = 1 / within
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    if len(centres) < 2 or scale <= 0:
        return 0.0
    q = weights @ (centres - weights @ centres / weights.sum()) ** 2
    return max(0.0, float((q - (len(centres) - 1)) / scale))
