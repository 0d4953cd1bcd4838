"""What a view of two axes and some limits leaves to choose from: the browser's question, answered with `front.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.frontier.columns import Trials
from engine.frontier.front import best_row, front_rows, within_limits
from engine.trials.trial import Trial


@dataclass(frozen=True)
class View:
    """What is looked at: metric keys for two axes and, optionally, colour; the device; limits by metric key in base units."""

    x: str = "latency_ms"
    y: str = "accuracy"
    colour: str | None = None
    device: str = "host"
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """Trials named by id, None where there is none.

    `measured` are the finished trials, `kept` those of them within the limits, `front` those of them that no other one beats on
    the view's two axes, in the order of x. `best` has the highest accuracy within the limits, and of equals the smaller file.
    """

    view: View
    measured: tuple[str, ...]
    kept: frozenset[str]
    front: tuple[str, ...]
    knee: str | None
    baseline: str | None
    best: str | None


def choose(trials: Sequence[Trial], view: View) -> Choice:
    """Frontier, knee and best choice among the finished trials within the limits."""
    done = Trials.of(trials).done
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
