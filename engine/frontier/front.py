"""Which trials to look at: the frontier of chosen objectives, and the best under limits. Records in, records out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import SpecError
from engine.frontier import dominance
from engine.frontier.columns import Rows, Trials
from engine.frontier.knee import knee as knee_of
from engine.metrics import HOST_TIMES, METRICS, is_score, short_name
from engine.trials.trial import Trial

OBJECTIVES = ("accuracy", "size_bytes", "latency_ms")
"""What a frontier is of where nobody says otherwise."""


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


def parse_objectives(text: str, trials: Sequence[Trial] = (), what: str = "an objective") -> tuple[str, ...]:
    """`accuracy,size_bytes` -> metric keys; the trials' own metric by its name. SpecError names one that is not `what` it should be."""
    own = {short_name(k): k for k in Trials.of(trials).metrics if is_score(k)}
    known = ", ".join((*own, *METRICS))
    keys = []
    for name in (k.strip() for k in text.split(",") if k.strip()):
        keys.append(own.get(short_name(name), name))
        if keys[-1] not in METRICS:
            raise SpecError(f"{name!r} is not {what}; known: {known}")
    if not keys:
        raise SpecError(f"no {what.split()[-1]} given; known: {known}")
    return tuple(dict.fromkeys(keys))


def usual_objectives(trials: Sequence[Trial], device: str = "host") -> tuple[str, ...]:
    """`OBJECTIVES` as far as some trial has them: a sweep may leave latency out, and what it is judged by stands for accuracy."""
    table = Trials.of(trials)
    measured = set(table.measured(device))
    wanted = (table.judged_by, *OBJECTIVES[1:])
    found = tuple(key for key in wanted if key in measured)
    return found if len(found) > 1 else OBJECTIVES


def objective_points(trials: Sequence[Trial], objectives: Sequence[str], device: str = "host") -> dominance.Floats:
    """Values of shape (trials, objectives) in base units, NaN where not measured.

    Raises SpecError where the host's times of two machines would come onto one axis.
    """
    table = Trials.of(trials)
    check_one_machine(table, objectives, device)
    return table.points(objectives, device)


def check_one_machine(trials: Sequence[Trial], objectives: Sequence[str], device: str = "host") -> None:
    """Raises SpecError when an objective is a time of the host and more than one machine measured it."""
    if device != "host" or not HOST_TIMES & set(objectives):
        return
    machines = Trials.of(trials).timing_machines
    if len(machines) > 1:
        raise SpecError(
            f"latency was measured on {len(machines)} machines ({'; '.join(sorted(machines.values()))}), which cannot share an axis; run "
            "the sweep again on one of them, or choose other axes"
        )


def front_rows(trials: Sequence[Trial], objectives: Sequence[str], device: str = "host") -> tuple[Rows, int | None]:
    """The rows of the frontier of the trials that have every objective measured, best first objective first, and the row of its knee."""
    points = objective_points(trials, objectives, device)
    maximise = [METRICS[key].maximise for key in objectives]
    rows = np.flatnonzero(dominance.non_dominated(points, maximise))
    first = points[rows, 0]
    knee = knee_of(points[rows], maximise)
    order = np.argsort(-first if maximise[0] else first, kind="stable")
    return rows[order], None if knee is None else int(rows[knee])


def find_front(trials: Sequence[Trial], objectives: Sequence[str], device: str = "host") -> Front:
    """The frontier of the trials that have every objective measured."""
    table = Trials.of(trials)
    rows, knee = front_rows(table, objectives, device)
    return Front(
        objectives=tuple(objectives),
        trials=tuple(table.take(rows)),
        knee=None if knee is None else table.ids[knee],
        hypervolume=_relative_hypervolume(
            table.points(objectives, device), [METRICS[key].maximise for key in objectives]
        ),
    )


def _relative_hypervolume(points: dominance.Floats, maximise: list[bool]) -> float:
    measured = points[np.isfinite(points).all(axis=1)]
    if not len(measured):
        return 0.0
    low, high = measured.min(axis=0), measured.max(axis=0)
    scaled = (measured - low) / np.where(high > low, high - low, 1.0)
    reference = [0.0 if up else 1.0 for up in maximise]
    return dominance.hypervolume(scaled, maximise, reference)


def within_limits(trials: Sequence[Trial], limits: Mapping[str, float], device: str = "host") -> dominance.Bools:
    """Which trials keep every limit: the least allowed where more is better, else the greatest; bool of shape (trials,)."""
    if not limits:
        return np.ones(len(trials), np.bool_)
    keys = list(limits)
    points = objective_points(trials, keys, device)
    return dominance.within(points, [METRICS[k].maximise for k in keys], [limits[k] for k in keys])


def best_row(trials: Sequence[Trial], kept: dominance.Bools, device: str = "host") -> int | None:
    """The row of the best of the `kept` trials, by what the sweep is judged by, the smaller file on a tie; None where none has that."""
    table = Trials.of(trials)
    merit = table.merit()
    rows = np.flatnonzero(kept & ~np.isnan(merit))
    if not len(rows):
        return None
    rows = rows[merit[rows] == merit[rows].max()]
    return int(rows[np.nan_to_num(table.numbers("size_bytes", device).value[rows]).argmin()])


def best_under(trials: Sequence[Trial], limits: Mapping[str, float], device: str = "host") -> Trial | None:
    """The best trial that keeps every limit (metric key -> least or greatest value), the smaller file on a tie; see `best_row`."""
    row = best_row(trials, within_limits(trials, limits, device), device)
    return None if row is None else trials[row]
