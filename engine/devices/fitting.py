"""Latency from what a network asks for: few non-negative costs per system, fitted to measured rows, with the uncertainty that few leave.

A system takes, for a network with features x (operations by kind, bytes moved, operators),

    latency = scale(system) × Σ_k exp(u_k) × prior_k × x_k

so costs cannot be negative. Four networks cannot tell seven costs apart, so the logarithms u are shared: u = common + family + system,
each drawn around zero with a spread of its own, which is a hierarchical regression (Gelman & Hill 2007, chapter 12) on the logarithm of
latency. It is solved by Gauss-Newton in its dual form, a Gaussian process whose kernel is the inner product of cost shares (Rasmussen &
Williams 2006, section 2.1), with Huber's weights (1964) for rows far off. The variance of a prediction is the process's own: it is wide
for a network that spends its time in a kind of layer that the system's rows hold little of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.graph.demand import Demand

Floats = npt.NDArray[np.float64]

FEATURES = ("conv", "stem", "pointwise", "depthwise", "dense", "moved_bytes", "operators")
"""Multiply-accumulates by kind of layer, bytes in and out of all operators, and how many operators there are."""
MAC_FEATURES = 5
"""The first so many of `FEATURES` are multiply-accumulates."""
Z_90 = 1.6449
"""Two-sided 90 % quantile of the normal distribution."""
_HUBER = 1.5
_ITERATIONS, _WARM_ITERATIONS = 40, 5


def features(demand: Demand) -> tuple[float, ...]:
    """The counts of `FEATURES`, in their order; a product of two activations costs what a dense layer does."""
    macs = demand.macs_by_kind()
    kinds = (macs["conv"], macs["stem"], macs["pointwise"], macs["depthwise"], macs["dense"] + macs["product"])
    return (*(float(k) for k in kinds), float(demand.moved_bytes), float(demand.operators))


@dataclass(frozen=True)
class Prior:
    """What is believed before any row is seen.

    `cost`: relative time of one of each of `FEATURES`. `common`, `family`, `system`: standard deviations, on a natural log scale, of the
    costs that all systems share, of a family's from those, and of a system's from its family's. `noise` is that of one row.
    """

    cost: tuple[float, ...]
    common: float
    family: float
    system: float
    noise: float


# Round guesses, relative to a multiply-accumulate of an ordinary convolution: what runs empty across channels costs a few, a byte about
# two, an operator's call about a thousand. The spreads say how little they are worth, and the rows overrule them. Spreads and noise were
# chosen so that left-out rows lie in the intervals that they give (tests/devices/test_validation.py).
PRIORS: dict[str, Prior] = {
    "microcontroller": Prior((1, 4, 1, 3, 1.5, 2, 1000), common=0.4, family=0.6, system=0.1, noise=0.1),
    "accelerator": Prior((1, 4, 1, 3, 1.5, 1, 1000), common=1.0, family=0.5, system=0.3, noise=0.15),
    "application": Prior((1, 4, 1, 3, 1.5, 2, 3000), common=1.0, family=0.5, system=0.3, noise=0.5),
}
_SCALE = 10.0  # the standard deviation of a system's own speed: wide enough to say nothing


@dataclass(frozen=True)
class Observation:
    """One measured row: a system of a family took `latency_ms` for a network with these `features`."""

    system: str
    family: str
    features: tuple[float, ...]
    latency_ms: float


@dataclass(frozen=True)
class Prediction:
    """Milliseconds, and the standard deviation of their natural logarithm."""

    latency_ms: float
    log_sd: float


class PooledFit:
    """The fit of all systems of one class; `costs` and `predict` are per system."""

    def __init__(self, observations: Sequence[Observation], prior: Prior, start: PooledFit | None = None) -> None:
        """Fit; `start` is a fit of nearly the same rows to begin from. Raises ValueError for no observations."""
        if not observations:
            raise ValueError("a fit needs at least one observation")
        self.prior = prior
        self._systems = [o.system for o in observations]
        self._families = [o.family for o in observations]
        self._counts = np.array([o.features for o in observations], np.float64) * np.array(prior.cost)
        self._log_ms = np.log([o.latency_ms for o in observations])
        self._level = float(np.mean(self._log_ms - np.log(self._counts.sum(axis=1))))
        system = np.array(self._systems)
        family = np.array(self._families)
        self._same_system = (system[:, None] == system[None, :]).astype(np.float64)
        self._same_family = (family[:, None] == family[None, :]).astype(np.float64)
        self._likes: dict[tuple[str, str], tuple[Floats, Floats]] = {}
        self._costs: dict[tuple[str, str], Floats] = {}
        self._weighed: dict[tuple[str, str], tuple[Floats, Floats]] = {}
        self._solve(start)

    def _solve(self, start: PooledFit | None) -> None:
        prior, rows = self.prior, len(self._log_ms)
        u = np.zeros_like(self._counts)
        if start is not None:
            known = {key: start.log_costs(*key) for key in set(self._keys())}
            u = np.array([known[key] for key in self._keys()])
        weight = np.ones(rows)
        for iteration in range(_ITERATIONS if start is None else _WARM_ITERATIONS):
            share, level = self._linearised(u)
            kernel = self._kernel(share, share, self._same_family, self._same_system)
            residual = self._log_ms - level
            covariance = kernel + np.diag(prior.noise**2 / weight)
            dual = np.linalg.solve(covariance, residual)
            found = self._u_of(share * dual[:, None], self._same_family, self._same_system)
            step = found - u
            largest = float(np.abs(step).max())
            # A step of more than e-fold leaves the range in which the linear model holds.
            u = u + step * min(1.0, 1.0 / max(largest, 1e-12))
            error = residual - kernel @ dual
            if iteration >= 2:
                weight = np.minimum(1.0, _HUBER * prior.noise / np.maximum(np.abs(error), 1e-12))
            if largest < 1e-3 and iteration >= 3:
                break
        self._share, self._dual, self._covariance = share, dual, covariance

    def _keys(self) -> list[tuple[str, str]]:
        return list(zip(self._systems, self._families, strict=True))

    def _linearised(self, u: Floats) -> tuple[Floats, Floats]:
        """Each row's shares of cost at u, and what is left of its log latency at u = 0 of the tangent."""
        time = self._counts * np.exp(u)
        total = time.sum(axis=1)
        share = time / total[:, None]
        return share, np.log(total) - (share * u).sum(axis=1) + self._level

    def _kernel(self, one: Floats, other: Floats, family: Floats, system: Floats) -> Floats:
        p = self.prior
        inner = one @ other.T
        result: Floats = inner * (p.common**2 + family * p.family**2 + system * p.system**2) + system * _SCALE**2
        return result

    def _u_of(self, pulled: Floats, family: Floats, system: Floats) -> Floats:
        p = self.prior
        result: Floats = (
            p.common**2 * pulled.sum(axis=0) + p.family**2 * (family @ pulled) + p.system**2 * (system @ pulled)
        )
        return result

    def log_costs(self, system: str, family: str) -> Floats:
        """u of a system, shape (features,); of its family where it has no row."""
        same_family, same_system = self._like(system, family)
        found: Floats = self._u_of(self._share * self._dual[:, None], same_family[None], same_system[None])
        first: Floats = found[0]
        return first

    def _like(self, system: str, family: str) -> tuple[Floats, Floats]:
        if (system, family) not in self._likes:
            same_system = np.array([float(s == system) for s in self._systems])
            self._likes[system, family] = np.array([float(f == family) for f in self._families]), same_system
        return self._likes[system, family]

    def costs_ns(self, system: str, family: str) -> Floats:
        """Nanoseconds of one of each of `FEATURES`, shape (features,), never negative."""
        if (system, family) not in self._costs:
            _, same_system = self._like(system, family)
            scale = self._level + _SCALE**2 * float(same_system @ self._dual)
            found: Floats = np.exp(scale + self.log_costs(system, family)) * np.array(self.prior.cost) * 1e6
            self._costs[system, family] = found
        return self._costs[system, family]

    def _weights(self, system: str, family: str) -> tuple[Floats, Floats]:
        """What the kernel multiplies the shares of each row with, and adds."""
        if (system, family) not in self._weighed:
            p, (same_family, same_system) = self.prior, self._like(system, family)
            alike = p.common**2 + same_family * p.family**2 + same_system * p.system**2
            self._weighed[system, family] = alike, same_system * _SCALE**2
        return self._weighed[system, family]

    @cached_property
    def _precision(self) -> Floats:
        # A sweep asks for thousands of predictions of one fit, and a solution for each would be most of their time.
        return np.asarray(np.linalg.inv(self._covariance), np.float64)

    def predict(self, counts: Sequence[float], system: str, family: str) -> Prediction:
        """Latency of a network with these features on a system that has at least one row."""
        time = self.costs_ns(system, family) * np.array(counts, np.float64) * 1e-6
        total = float(time.sum())
        share = time / total
        # The kernel between this network and the rows, and with itself, as `_kernel` has it of many.
        alike, scale = self._weights(system, family)
        across = (self._share @ share) * alike + scale
        p = self.prior
        own = float(share @ share) * (p.common**2 + p.family**2 + p.system**2) + _SCALE**2
        variance = max(0.0, own - float(across @ self._precision @ across)) + p.noise**2
        return Prediction(total, float(np.sqrt(variance)))


@dataclass(frozen=True)
class LeftOut:
    """A row, and what a fit that had not seen it said of it."""

    observation: Observation
    prediction: Prediction

    @property
    def log_error(self) -> float:
        """Natural logarithm of predicted over measured."""
        return float(np.log(self.prediction.latency_ms / self.observation.latency_ms))

    @property
    def covered(self) -> bool:
        """Whether the measured value lies in the 90 % interval."""
        return abs(self.log_error) <= Z_90 * self.prediction.log_sd


def leave_one_out(observations: Sequence[Observation], prior: Prior) -> list[LeftOut]:
    """Each row against a fit of all others, for systems with two rows or more: their network is unknown for that system."""
    whole = PooledFit(observations, prior)
    many = {o.system for i, o in enumerate(observations) if any(p.system == o.system for p in observations[:i])}
    results = []
    for i, left in enumerate(observations):
        if left.system in many:
            fit = PooledFit([*observations[:i], *observations[i + 1 :]], prior, start=whole)
            results.append(LeftOut(left, fit.predict(left.features, left.system, left.family)))
    return results


def leave_network_out(observations: Sequence[Observation], prior: Prior) -> list[LeftOut]:
    """Each network against a fit of rows of all other networks, on any system: what a user's own network meets."""
    results = []
    for network in dict.fromkeys(o.features for o in observations):
        others = [o for o in observations if o.features != network]
        known = {o.system for o in others}
        fit = PooledFit(others, prior)
        results += [
            LeftOut(o, fit.predict(o.features, o.system, o.family))
            for o in observations
            if o.features == network and o.system in known
        ]
    return results


def mape(log_errors: Sequence[float]) -> float:
    """Mean absolute error as a share of the measured value, from logarithms of predicted over measured."""
    return float(np.mean(np.abs(np.expm1(np.asarray(log_errors, np.float64)))))
