"""Some of many trials: those that a filter matches, in an order, a page of them. Of 100,000 only the records of that page are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import SpecError
from engine.frontier.columns import Trials
from engine.frontier.front import objective_points
from engine.frontier.matching import match
from engine.metrics import METRICS
from engine.trials.trial import Trial


@dataclass(frozen=True)
class Listing:
    """A page of trials, in order: of `total`, `matched` are what the filter asks for, and the first of the page is number `first` of these,
    from 0. `lacking` says how many lack what it asks for, empty where none do.
    """

    total: int
    matched: int
    first: int
    trials: Trials
    lacking: str = ""


def list_trials(
    trials: Sequence[Trial],
    where: str | None = None,
    sort: str | None = None,
    device: str = "host",
    first: int = 0,
    count: int | None = None,
) -> Listing:
    """The trials that a filter matches (all without one), best first by the metric `sort`, those that lack it last, or in the order of the
    plan.

    Raises SpecError for a filter that cannot be read, where it or the order would compare times of two machines, and for a page that
    cannot be.
    """
    if first < 0 or (count is not None and count < 1):
        raise SpecError(f"a page of {count} trials from number {first} is none; ask for 1 or more, from 0 on")
    table = Trials.of(trials)
    found = match(table, where, device) if where is not None else None
    rows = np.arange(len(table)) if found is None else np.flatnonzero(found.rows)
    if sort is not None:
        values = objective_points(table, (sort,), device)[rows, 0]
        # NaN is sorted last, and what is equal stays in its order.
        rows = rows[np.argsort(-values if METRICS[sort].maximise else values, kind="stable")]
    page = rows[first : None if count is None else first + count]
    return Listing(len(table), len(rows), first, table.take(page), found.lacking_text() if found else "")
