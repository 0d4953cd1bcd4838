"""Which trials to look at: the frontier of chosen objectives, and the best under limits. Records in, records out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine import frontier
from engine.errors import SpecError
from engine.record import HOST_TIMES, METRICS, Trial, metric_value


@dataclass(frozen=True)
class Front:
    """The non-dominated trials, best accuracy (or first objective) first.

    `knee` is the id of the trial after which giving up more stops paying, None when the front has no bend. `hypervolume` is the share
    of the box between the best and the worst measured value of every objective that the front dominates, in [0, 1].
    """

    objectives: tuple[str, ...]
    trials: tuple[Trial, ...]
    knee: str | None
    hypervolume: float


def parse_objectives(text: str) -> tuple[str, ...]:
    """`accuracy,size_bytes` -> metric keys; SpecError names an unknown one."""
    keys = tuple(k.strip() for k in text.split(",") if k.strip())
    for key in keys:
        if key not in METRICS:
            raise SpecError(f"{key!r} is not an objective; known: {', '.join(METRICS)}")
    if not keys:
        raise SpecError(f"no objective given; known: {', '.join(METRICS)}")
    return tuple(dict.fromkeys(keys))


def objective_points(trials: Sequence[Trial], objectives: Sequence[str], device: str = "host") -> frontier.Floats:
    """Values of shape (trials, objectives) in base units, NaN where not measured.

    Raises SpecError where the host's times of two machines would come onto one axis.
    """
    check_one_machine(trials, objectives, device)
    rows = [[metric_value(t, key, device) for key in objectives] for t in trials]
    return np.array([[np.nan if v is None else v for v in row] for row in rows], np.float64).reshape(
        -1, len(objectives)
    )


def check_one_machine(trials: Sequence[Trial], objectives: Sequence[str], device: str = "host") -> None:
    """Raises SpecError when an objective is a time of the host and more than one machine measured it."""
    if device != "host" or not HOST_TIMES & set(objectives):
        return
    machines = {t.machine.fingerprint: t.machine.label for t in trials if t.machine and t.latency_ms}
    if len(machines) > 1:
        raise SpecError(
            f"latency was measured on {len(machines)} machines ({'; '.join(sorted(machines.values()))}), which cannot share an axis; run "
            "the sweep again on one of them, or choose other axes"
        )


def find_front(trials: Sequence[Trial], objectives: Sequence[str], device: str = "host") -> Front:
    """The frontier of the trials that have every objective measured."""
    points = objective_points(trials, objectives, device)
    maximise = [METRICS[key].maximise for key in objectives]
    on_front = np.flatnonzero(frontier.non_dominated(points, maximise)).tolist()
    knee = frontier.knee(points, maximise)
    order = sorted(on_front, key=lambda i: -points[i, 0] if maximise[0] else points[i, 0])
    return Front(
        objectives=tuple(objectives),
        trials=tuple(trials[i] for i in order),
        knee=None if knee is None else trials[knee].id,
        hypervolume=_relative_hypervolume(points, maximise),
    )


def _relative_hypervolume(points: frontier.Floats, maximise: list[bool]) -> float:
    measured = points[np.isfinite(points).all(axis=1)]
    if not len(measured):
        return 0.0
    low, high = measured.min(axis=0), measured.max(axis=0)
    scaled = (measured - low) / np.where(high > low, high - low, 1.0)
    reference = [0.0 if up else 1.0 for up in maximise]
    return frontier.hypervolume(scaled, maximise, reference)


def within_limits(trials: Sequence[Trial], limits: Mapping[str, float], device: str = "host") -> frontier.Bools:
    """Which trials keep every limit: the least allowed where more is better, else the greatest; bool of shape (trials,)."""
    if not limits:
        return np.ones(len(trials), np.bool_)
    keys = list(limits)
    points = objective_points(trials, keys, device)
    return frontier.within(points, [METRICS[k].maximise for k in keys], [limits[k] for k in keys])


def best_under(trials: Sequence[Trial], limits: Mapping[str, float], device: str = "host") -> Trial | None:
    """The most accurate trial that keeps every limit (metric key -> least or greatest value), the smaller file on a tie.

    Without labels it is the one that agrees most with the baseline.
    """
    kept = within_limits(trials, limits, device)
    merit = "accuracy" if any(t.accuracy for t in trials) else "agreement"
    found = [(metric_value(t, merit, device), t) for t, ok in zip(trials, kept, strict=True) if ok]
    candidates = [(value, -(t.size_bytes or 0), t) for value, t in found if value is not None]
    return max(candidates, key=lambda c: c[:2])[2] if candidates else None
