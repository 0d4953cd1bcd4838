"""Differences between trials with 95 % intervals, one pair or the mean over many; `effects.py` says what the intervals mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from engine.errors import NotFoundError
from engine.frontier.certainty import Find, _deviations
from engine.frontier.columns import Rows, Trials
from engine.frontier.dominance import Floats
from engine.frontier.estimates import RATIOS, Estimate, on_scale
from engine.metrics import HOST_TIMES, SCENARIO_METRICS, is_score, score_part
from engine.quality.predictions import load_right
from engine.quality.statistics import Z_95, Bools, paired_difference
from engine.trials.metric_values import is_slice

MOST_VECTORS = 2_000
"""Right or wrong per image is read of so many trials: 10,000 images each are 20 MB together."""


class Differences:
    """The numbers of some trials on the scale on which they are subtracted, and what their measurement leaves open.

    `find` leads to the stored predictions, by which accuracy is compared image by image.
    """

    def __init__(self, done: Trials, device: str, find: Find | None) -> None:
        self._done, self._device = done, device
        self._rights = _rights(done, find)
        self._kept: dict[str, tuple[Floats, Floats]] = {}

    def of(self, key: str) -> tuple[Floats, Floats]:
        """Values (trials,), logarithms of ratios, and standard deviations of each, 0 where exact."""
        if key not in self._kept:
            value = self._done.numbers(key, self._device).value
            spread = _spread(self._done, key, self._device)
            if key in RATIOS:
                with np.errstate(divide="ignore", invalid="ignore"):
                    spread = np.nan_to_num(spread / value)
                    value = np.where(value > 0, np.log(value), np.nan)
            self._kept[key] = value, spread
        return self._kept[key]

    def estimates(self, keys: Sequence[str], rows: Rows, signs: Floats) -> dict[str, Estimate]:
        """Of each metric the mean over sets of trials (pairs, k) of the sum with these signs (k,); those that no set has left out."""
        found = {key: self._estimate(key, rows, signs) for key in keys}
        return {key: one for key, one in found.items() if one is not None}

    def _estimate(self, key: str, rows: Rows, signs: Floats) -> Estimate | None:
        values, spread = self.of(key)
        changes = values[rows] @ signs
        there = np.isfinite(changes)
        rows, changes = rows[there], changes[there]
        count = len(changes)
        if not count:
            return None
        mean = float(changes.mean())
        if count == 1 and len(signs) == 2 and (stated := self._stated(key, rows[0])):
            return stated
        if count == 1 and key == "accuracy" and len(signs) == 2 and self._rights is not None:
            low, high = paired_difference(self._rights[rows[0, 1]], self._rights[rows[0, 0]])[1:]
            return Estimate(mean, low, high, 1)
        error = Z_95 * self._error(key, rows, signs, spread)
        if count > 1:
            student = float(stdtrit(count - 1, 0.975)) * float(changes.std(ddof=1)) / math.sqrt(count)
            return on_scale(key, mean, math.hypot(student, error), count)
        return on_scale(key, mean, error if spread.any() else None, 1, exact=_is_exact(key))

    def _stated(self, key: str, pair: Rows) -> Estimate | None:
        """What the record itself says of a trial against the baseline, paired."""
        if int(pair[0]) != self._done.baseline or not (key == "accuracy" or _is_own(key)):
            return None
        found = self._done.numbers(_paired(key), self._device).take(pair[1:])
        value, low, high = (float(v[0]) for v in (found.value, found.low, found.high))
        return Estimate(value, low, high, 1) if math.isfinite(low) else None

    def _error(self, key: str, rows: Rows, signs: Floats, spread: Floats) -> float:
        """The standard error that the measurements leave to the mean."""
        weights = np.zeros(len(spread))
        np.add.at(weights, rows, np.broadcast_to(signs / len(rows), rows.shape))
        if key == "accuracy" and self._rights is not None:
            used = np.flatnonzero(weights)
            image = weights[used] @ self._rights[used]
            # Where no image tells two apart the interval is still not a point: as wide as Tango's then is.
            least = Z_95 / (len(image) + Z_95**2)
            return math.hypot(float(image.std()) / math.sqrt(len(image)), least)
        if key in HOST_TIMES:
            # Each trial was timed by itself, in turns with the baseline.
            return float(np.sqrt((weights**2 * spread**2).sum()))
        # The samples are the same in all pairs: what they leave open does not average out.
        return float(np.sqrt((spread[rows] ** 2).sum(axis=1)).mean())


def _is_own(key: str) -> bool:
    return is_score(key) and not is_slice(key)


def _paired(key: str) -> str:
    """The metric whose interval is that of the difference to the baseline on the same samples."""
    return "vs_baseline" if key == "accuracy" else score_part(key, "score_change") if _is_own(key) else key


def _spread(done: Trials, key: str, device: str) -> Floats:
    """Standard deviations (trials,) of what differences are made of: against the baseline on the same samples, where that is known."""
    found = _deviations(done, _paired(key), device)
    return found if found.any() else _deviations(done, key, device)


def _is_exact(key: str) -> bool:
    return key in RATIOS and key not in HOST_TIMES and key not in SCENARIO_METRICS


def _rights(done: Trials, find: Find | None) -> Bools | None:
    """Right or wrong (trials, images); None where that is not stored for all, or not of the same images."""
    if find is None or len(done) > MOST_VECTORS or np.isnan(done.numbers("accuracy").value).any():
        return None
    try:
        found = [load_right(find(name or "")) for name in done.fact("predictions")]
    except NotFoundError:
        return None
    rights = [r for r in found if r is not None and len(r)]
    return None if len(rights) < len(found) or len({len(r) for r in rights}) > 1 else np.array(rights)
