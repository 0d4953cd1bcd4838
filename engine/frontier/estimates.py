"""A change of one metric with its interval, from pairs or from a least-squares fit: differences, or ratios by way of their logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from engine.frontier.dominance import Floats
from engine.metrics import SCENARIO_METRICS

RATIOS = frozenset(
    {"size_bytes", "size_zipped_bytes", "latency_ms", "latency_ratio", "energy_mj", "params", "nonzero_params", "macs"}
) | frozenset(SCENARIO_METRICS)
"""Metrics whose change is a ratio."""


@dataclass(frozen=True)
class Estimate:
    """A change of one metric: a difference in base units or a ratio, its 95 % interval (None for one that is exact or unknown), and of how
    many pairs. `exact`: nothing is left open by measurement or by other pairs.
    """

    value: float
    low: float | None
    high: float | None
    pairs: int
    exact: bool = False

    def told_apart(self, key: str) -> bool | None:
        """Whether it is more than chance; None where that is not known."""
        none = 1.0 if key in RATIOS else 0.0
        if self.low is None or self.high is None:
            return self.value != none if self.exact else None
        return not self.low <= none <= self.high


def on_scale(key: str, mean: float, half: float | None, count: int, exact: bool = False) -> Estimate:
    """A mean and half its interval -> an estimate: ratios from the scale of logarithms, differences as they are."""
    low, high = (None, None) if half is None else (mean - half, mean + half)
    if key not in RATIOS:
        return Estimate(mean, low, high, count, exact)
    return Estimate(math.exp(mean), _power(low), _power(high), count, exact)


def _power(value: float | None) -> float | None:
    # Of two pairs that disagree an interval may have no end that a float can hold.
    return None if value is None else math.exp(min(value, 700.0))


class Fit:
    """Ordinary least squares of the values (n,) that there are on a design (n, p)."""

    def __init__(self, design: Floats, values: Floats) -> None:
        there = np.isfinite(values)
        x, y = design[there], values[there]
        inverse = np.linalg.pinv(x.T @ x) if len(y) else np.zeros((design.shape[1],) * 2)
        self._inverse, self._moments, self._count = inverse, x.T @ x, len(y)
        self.coefficients = inverse @ x.T @ y
        self.free = len(y) - int(np.linalg.matrix_rank(x)) if len(y) else 0
        rest = y - x @ self.coefficients
        self._variance = float(rest @ rest) / self.free if self.free > 0 else math.nan

    def estimate(self, key: str, column: int) -> Estimate | None:
        """One coefficient; None where the recipes do not tell it from others, or leave nothing to judge it by."""
        told = (self._inverse @ self._moments)[column]
        unit = np.zeros(len(told))
        unit[column] = 1.0
        if self.free < 1 or np.abs(told - unit).max() > 1e-6:
            return None
        error = math.sqrt(max(0.0, self._variance * self._inverse[column, column]))
        half = float(stdtrit(self.free, 0.975)) * error
        return on_scale(key, float(self.coefficients[column]), half, 0)
