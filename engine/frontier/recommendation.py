"""What a view of two axes and some limits leaves to choose from: the browser's question, answered with `front.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.frontier.columns import Trials
from engine.frontier.front import best_row, front_rows, usual_objectives, within_limits
from engine.frontier.joined import without_points
from engine.trials.trial import Trial


@dataclass(frozen=True)
class View:
    """What is looked at: metric keys for two axes and, optionally, colour; the device; limits by metric key in base units; whether
    imported points count.
    """

    x: str = "latency_ms"
    y: str = "accuracy"
    colour: str | None = None
    device: str = "host"
    limits: Mapping[str, float] = field(default_factory=dict)
    imported: bool = False


@dataclass(frozen=True)
class Choice:
    """Trials named by id, None where there is none.

    `measured` are the finished trials, and imported points where they count; `kept` those of them within the limits, `front` those of
    them that no other one beats on the view's two axes, in the order of x. `best` has the highest accuracy within the limits, and of
    equals the smaller file.
    """

    view: View
    measured: tuple[str, ...]
    kept: frozenset[str]
    front: tuple[str, ...]
    knee: str | None
    baseline: str | None
    best: str | None


def usual_view(view: View, trials: Trials) -> View:
    """The view, with what there is on the default axes in place of what no trial has: a sweep may leave latency out, or have no labels.

    Axes that are not the default ones were asked for, and stay. Nothing changes while nothing is measured.
    """
    measured = trials.measured(view.device)

    def axis(now: str, default: str, others: Sequence[str], taken: str) -> str:
        if now != default or now in measured:
            return now
        return next((key for key in others if key in measured and key != taken), now)

    y = axis(view.y, View.y, (trials.judged_by, "size_bytes"), view.x)
    return replace(view, x=axis(view.x, View.x, ("size_bytes", "params", "macs"), y), y=y)


def axes_to_ship_by(objectives: Sequence[str], trials: Sequence[Trial], device: str) -> tuple[str, ...]:
    """What the recommendation looks at: what was asked for; of a frontier that nobody chose, the two axes that pages open on.

    So every place that recommends without being asked how gives the same answer.
    """
    if tuple(objectives) != tuple(usual_objectives(trials, device)):
        return tuple(dict.fromkeys(objectives))
    view = usual_view(View(device=device), Trials.of(trials).done)
    return (view.y, view.x)


def choose(trials: Sequence[Trial], view: View) -> Choice:
    """Frontier, knee and best choice among the finished trials within the limits."""
    done = Trials.of(trials).done
    done = done if view.imported else without_points(done)
    kept = done.take(within_limits(done, view.limits, view.device))
    rows, knee = front_rows(kept, (view.x, view.y), view.device)
    order = np.lexsort(kept.points((view.y, view.x), view.device)[rows].T)
    best = best_row(kept, np.ones(len(kept), np.bool_), view.device)
    return Choice(
        view=view,
        measured=done.ids,
        kept=frozenset(kept.ids),
        front=tuple(kept.ids[i] for i in rows[order]),
        knee=None if knee is None else kept.ids[knee],
        baseline=None if done.baseline is None else done.ids[done.baseline],
        best=None if best is None else kept.ids[best],
    )
