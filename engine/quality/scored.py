"""What a metric says of a file's outputs, kept with them, so that two files are compared on the very same samples without running again.

A metric of each sample is kept as its numbers (n,), and compared pair by pair. One of the whole set is kept as its values on samples drawn
anew, the same draws for every file of a sweep: their differences are what a paired bootstrap needs (Efron and Tibshirani 1993, chapter 16).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import StepError
from engine.quality.statistics import Floats, mean_interval
from engine.quality.task_scores import Weighted
from engine.trials.evidence import Interval, Score

DRAWS = 1000
"""Samples are drawn anew so often for a built-in metric of the whole set."""
_SEED = 20261127
_FLIPS = 9_999
_PREFIX = "score_"
_KEPT = ("samples", "draws", "part_counts", "part_values", "part_draws")
# Weights of so many numbers at once: 32 MB.
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Scored:
    """`value` of all samples; `samples` (n,) float64 for a metric of each, `draws` (draws,) float64 for one of the set.

    Of one of the set, where it was asked for, also what it is of parts of the samples: how many each has, `part_counts` (parts,), its
    `part_values` (parts,) and `part_draws` (parts, draws), NaN where it is not defined.
    """

    value: float
    samples: Floats | None = None
    draws: Floats | None = None
    part_counts: npt.NDArray[np.int64] | None = None
    part_values: Floats | None = None
    part_draws: Floats | None = None

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """By the names that they are stored under."""
        held = {"value": np.float64(self.value)} | {name: getattr(self, name) for name in _KEPT}
        return {_PREFIX + name: np.asarray(part) for name, part in held.items() if part is not None}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Scored | None:
        """The inverse of `arrays`, None where nothing was scored."""
        if _PREFIX + "value" not in arrays:
            return None
        return cls(float(arrays[_PREFIX + "value"]), **{name: arrays.get(_PREFIX + name) for name in _KEPT})

    def with_parts(
        self, places: Sequence[npt.NDArray[np.intp]], of: Callable[[npt.NDArray[np.intp]], Scored]
    ) -> Scored:
        """With what `of` says of parts of the samples, given by their places; it raises StepError where the metric is not defined."""
        if not places or self.draws is None:
            return self
        values, draws = np.full(len(places), np.nan), np.full((len(places), len(self.draws)), np.nan)
        for i, some in enumerate(places):
            # One sample has no spread that would say how sure its number is.
            if len(some) < 2:
                continue
            try:
                # Draws in which a metric is not defined are many where samples are few.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)
                    found = of(some)
            except StepError:
                continue
            values[i], draws[i] = found.value, found.draws
        counts = np.array([len(some) for some in places], np.int64)
        return replace(self, part_counts=counts, part_values=values, part_draws=draws)


def drawn(n: int, draws: int) -> Iterator[npt.NDArray[np.intp]]:
    """Numbers of n samples drawn with replacement, (n,), the same ones every time."""
    random = np.random.default_rng(_SEED)
    return (random.integers(0, n, n) for _ in range(draws))


def scored_samples(samples: Floats, name: str) -> Scored:
    """From a number for each sample; raises StepError where one is none."""
    bad = np.flatnonzero(~np.isfinite(samples))
    if len(bad):
        raise StepError(
            f"metric {name} is not a number for {len(bad)} of {len(samples)} samples, first for sample {bad[0]}"
        )
    return Scored(float(samples.mean()), np.asarray(samples, np.float64))


def scored_set(weighted: Weighted, n: int, name: str) -> Scored:
    """From a metric of the whole set, given by weights; raises StepError where it is not a number."""
    value = float(weighted(np.ones((1, n)))[0])
    _check(value, name)
    found = []
    rows = max(1, _AT_ONCE // n)
    chosen = list(drawn(n, DRAWS))
    for start in range(0, DRAWS, rows):
        weights = np.stack([np.bincount(c, minlength=n) for c in chosen[start : start + rows]]).astype(np.float64)
        found.append(weighted(weights))
    return Scored(value, draws=np.concatenate(found))


def scored_calls(call: Callable[[npt.NDArray[np.intp] | None], float], n: int, draws: int, name: str) -> Scored:
    """From a function of the chosen samples (None: all); raises StepError where it gives no number."""
    value = call(None)
    _check(value, name)
    return Scored(value, draws=np.array([call(chosen) for chosen in drawn(n, draws)], np.float64))


def _check(value: float, name: str) -> None:
    if not np.isfinite(value):
        raise StepError(
            f"metric {name} is {value} for the test samples, which is no number; see that it is defined for them"
        )


def score(key: str, found: Scored, n: int, baseline: Scored | None) -> Score:
    """The record of a trial, compared with the baseline on the same samples (None for the baseline itself).

    Raises StepError where the two were not counted on the same samples.
    """
    if found.samples is not None:
        value, low, high = mean_interval(found.samples)
    else:
        value, (low, high) = found.value, _ends(found.draws)
    if baseline is None:
        return Score(key, value, low, high, n)
    if found.samples is not None and baseline.samples is not None:
        if len(found.samples) != len(baseline.samples):
            raise StepError(f"score: {len(found.samples)} samples against {len(baseline.samples)} of the baseline")
        differences = found.samples - baseline.samples
        return Score(key, value, low, high, n, _sign_flips(differences), Interval(*mean_interval(differences)))
    if found.draws is None or baseline.draws is None:
        raise StepError("score: counted for each sample here, for the whole set there; run the sweep again")
    k = min(len(found.draws), len(baseline.draws))
    apart = found.draws[:k] - baseline.draws[:k]
    return Score(key, value, low, high, n, _two_sided(apart), Interval(found.value - baseline.value, *_ends(apart)))


def _ends(draws: Floats | None) -> tuple[float, float]:
    """The 95 % percentile interval of what was drawn; a draw in which the metric is not defined says nothing."""
    known = draws[np.isfinite(draws)] if draws is not None else np.empty(0)
    if not len(known):
        raise StepError("score: no draw of the samples has a number; give more test samples")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _two_sided(apart: Floats) -> float:
    """Twice the share of draws on the rarer side of no difference; no difference at all is no evidence of one."""
    known = apart[np.isfinite(apart)]
    least = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (least + 1) / (len(known) + 1))


def _sign_flips(differences: Floats) -> float:
    """Two-sided p of the permutation test that swaps the two networks sample by sample (Fisher 1935), by 9,999 random swaps."""
    if not differences.any():
        return 1.0
    random = np.random.default_rng(_SEED)
    apart = differences[differences != 0]
    seen = abs(apart.sum())
    # Sums in another order differ in the last digits, which are no evidence.
    slack = 1e-12 * np.abs(apart).sum()
    extreme, left = 0, _FLIPS
    while left:
        rows = min(left, max(1, _AT_ONCE // len(apart)))
        signs = random.integers(0, 2, (rows, len(apart)), np.int8) * 2 - 1
        extreme += int((np.abs(signs @ apart) >= seen - slack).sum())
        left -= rows
    return (extreme + 1) / (_FLIPS + 1)
