"""Fits of the published rows, and how wrong they are on what they have not seen."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from engine.devices.fitting import (
    PRIORS,
    Z_90,
    LeftOut,
    Observation,
    PooledFit,
    features,
    leave_network_out,
    leave_one_out,
    mape,
)
from engine.devices.published import Row, demand_of, read_rows


def _observation(row: Row) -> Observation:
    return Observation(row.system, row.family, features(demand_of(row)), row.latency_ms)


@lru_cache(maxsize=8)
def class_rows(device_class: str) -> tuple[Row, ...]:
    """The published rows of one class of devices."""
    return tuple(row for row in read_rows() if row.device_class == device_class)


@lru_cache(maxsize=8)
def class_fit(device_class: str) -> PooledFit:
    """The fit of all systems of a class, made once in a process."""
    return PooledFit([_observation(row) for row in class_rows(device_class)], PRIORS[device_class])


@dataclass(frozen=True)
class Power:
    """Milliwatts of a system while it infers, the geometric mean over networks, and the standard deviation of a log around it."""

    mean_mw: float
    log_sd: float


@lru_cache(maxsize=1)
def power_log_sd() -> float:
    """How far the power of one network lies from the mean of a system's others: root mean square of the logarithm."""
    by_system: dict[str, list[float]] = defaultdict(list)
    for row in read_rows():
        if row.power_mw is not None:
            by_system[row.system].append(math.log(row.power_mw))
    errors = [
        np.mean(logs[:i] + logs[i + 1 :]) - value
        for logs in by_system.values()
        if len(logs) > 1
        for i, value in enumerate(logs)
    ]
    return float(np.sqrt(np.mean(np.square(errors))))


@lru_cache(maxsize=512)
def measured_power(system: str, without: str | None = None) -> Power | None:
    """Power of a system by its rows, those of the network `without` left out; None where no energy was submitted."""
    logs = [
        math.log(r.power_mw)
        for r in read_rows()
        if r.system == system and r.power_mw is not None and r.model != without
    ]
    return Power(math.exp(float(np.mean(logs))), power_log_sd()) if logs else None


@dataclass(frozen=True)
class Check:
    """One left-out value: predicted with the ends of its 90 % interval, and as published. `quantity` is latency_ms or energy_mj."""

    row: Row
    quantity: str
    predicted: float
    low: float
    high: float
    published: float

    @property
    def log_error(self) -> float:
        """Natural logarithm of predicted over published."""
        return math.log(self.predicted / self.published)

    @property
    def covered(self) -> bool:
        """Whether the published value lies in the interval."""
        return self.low <= self.published <= self.high


def _checks(rows: tuple[Row, ...], left_out: list[LeftOut]) -> list[Check]:
    found = []
    by_key = {(row.system, _observation(row).features): row for row in rows}
    for left in left_out:
        row = by_key[left.observation.system, left.observation.features]
        latency_ms, sd = left.prediction.latency_ms, left.prediction.log_sd
        ends = (latency_ms * math.exp(-Z_90 * sd), latency_ms * math.exp(Z_90 * sd))
        found.append(Check(row, "latency_ms", latency_ms, *ends, row.latency_ms))
        power = measured_power(row.system, without=row.model)
        if row.energy_mj is not None and power is not None:
            energy_mj = latency_ms * power.mean_mw * 1e-3
            spread = math.exp(Z_90 * math.hypot(sd, power.log_sd))
            found.append(Check(row, "energy_mj", energy_mj, energy_mj / spread, energy_mj * spread, row.energy_mj))
    return found


@lru_cache(maxsize=8)
def own_checks(device_class: str) -> tuple[Check, ...]:
    """Every row of a class predicted from all others: the network is known from other systems, not from its own."""
    rows = class_rows(device_class)
    return tuple(_checks(rows, leave_one_out([_observation(r) for r in rows], PRIORS[device_class])))


@lru_cache(maxsize=8)
def new_network_checks(device_class: str) -> tuple[Check, ...]:
    """Every row of a class predicted from rows of the three other networks alone, as a network that nobody measured would be."""
    rows = class_rows(device_class)
    return tuple(_checks(rows, leave_network_out([_observation(r) for r in rows], PRIORS[device_class])))


def all_checks(everywhere: bool) -> tuple[Check, ...]:
    """The checks of every class; `everywhere`: of networks that the fit has seen on no device."""
    checks_of = new_network_checks if everywhere else own_checks
    return tuple(check for device_class in PRIORS for check in checks_of(device_class))


@dataclass(frozen=True)
class ErrorLine:
    """Errors of one class (or `all`) in one quantity: mean and median absolute error as shares, share of values in the 90 % interval.

    `left_out` is `own` (the network is unknown for this system) or `everywhere` (unknown for all).
    """

    device_class: str
    quantity: str
    left_out: str
    values: int
    mape: float
    median: float
    coverage: float


def error_table() -> list[ErrorLine]:
    """How wrong the fits are, by class and over all, for latency and energy, both ways of leaving out."""
    lines = []
    for left_out, checks_of in (("own", own_checks), ("everywhere", new_network_checks)):
        everything: list[Check] = []
        for device_class in PRIORS:
            checks = list(checks_of(device_class))
            everything += checks
            lines += _lines(device_class, left_out, checks)
        lines += _lines("all", left_out, everything)
    return lines


def _lines(device_class: str, left_out: str, checks: list[Check]) -> list[ErrorLine]:
    lines = []
    for quantity in ("latency_ms", "energy_mj"):
        of = [c for c in checks if c.quantity == quantity]
        if of:
            errors = np.abs(np.expm1([c.log_error for c in of]))
            covered = float(np.mean([c.covered for c in of]))
            lines.append(
                ErrorLine(
                    device_class,
                    quantity,
                    left_out,
                    len(of),
                    mape([c.log_error for c in of]),
                    float(np.median(errors)),
                    covered,
                )
            )
    return lines


def system_errors(system: str, device_class: str) -> tuple[float | None, float | None]:
    """Mean absolute errors of latency and energy on a network left out of one system, as shares; None where it has too few rows."""
    errors = []
    for quantity in ("latency_ms", "energy_mj"):
        logs = [c.log_error for c in own_checks(device_class) if c.row.system == system and c.quantity == quantity]
        errors.append(mape(logs) if logs else None)
    return errors[0], errors[1]
