"""What a view of two axes and some limits leaves to choose from: the browser's question, answered with `selection`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.record import Trial
from engine.selection import best_under, find_front, objective_points, within_limits


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
    done = [t for t in trials if t.state == "done"]
    kept = [t for t, ok in zip(done, within_limits(done, view.limits, view.device), strict=True) if ok]
    front = find_front(kept, (view.x, view.y), view.device)
    order = np.lexsort(objective_points(front.trials, (view.y, view.x), view.device).T)
    best = best_under(kept, {}, view.device)
    return Choice(
        view=view,
        measured=tuple(t.id for t in done),
        kept=frozenset(t.id for t in kept),
        front=tuple(front.trials[i].id for i in order),
        knee=front.knee,
        baseline=next((t.id for t in done if not t.recipe.steps), None),
        best=best.id if best else None,
    )
