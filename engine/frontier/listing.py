"""Some of many trials: those within limits, in an order, a page of them. Of 100,000 only the records of that page are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import SpecError
from engine.frontier.columns import Trials
from engine.frontier.front import objective_points, parse_objectives, within_limits
from engine.metrics import METRICS
from engine.trials.trial import Trial


@dataclass(frozen=True)
class Listing:
    """A page of trials, in order: of `total`, `kept` keep the limits, and the first of the page is number `first` of these, from 0."""

    total: int
    kept: int
    first: int
    trials: Trials


def list_trials(
    trials: Sequence[Trial],
    limits: Mapping[str, float] | None = None,
    sort: str | None = None,
    device: str = "host",
    first: int = 0,
    count: int | None = None,
) -> Listing:
    """The trials that keep all limits (in base units: the least where more is better, else the most), best first by the metric `sort`,
    those that lack it last, or in the order of the plan. What lacks a metric that is limited does not keep the limit.

    Raises SpecError where a limit or the order would compare times of two machines, and for a page that cannot be.
    """
    if first < 0 or (count is not None and count < 1):
        raise SpecError(f"a page of {count} trials from number {first} is none; ask for 1 or more, from 0 on")
    table = Trials.of(trials)
    rows = np.flatnonzero(within_limits(table, limits or {}, device))
    if sort is not None:
        values = objective_points(table, (sort,), device)[rows, 0]
        # NaN is sorted last, and what is equal stays in its order.
        rows = rows[np.argsort(-values if METRICS[sort].maximise else values, kind="stable")]
    page = rows[first : None if count is None else first + count]
    return Listing(len(table), len(rows), first, table.take(page))


def parse_limits(text: str, trials: Sequence[Trial]) -> dict[str, float]:
    """`accuracy=0.9,size_bytes=50000` -> limits by metric, in base units; SpecError says what is none."""
    limits = {}
    for part in (p.strip() for p in text.split(",") if p.strip()):
        name, equals, number = part.partition("=")
        (key,) = parse_objectives(name, trials, "a metric")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not equals or not math.isfinite(value):
            raise SpecError(f"{part!r} is no limit; write metric=number, as in accuracy=0.9,size_bytes=50000")
        if METRICS[key].unit == "%" and abs(value) > 1:
            raise SpecError(f"{part!r} is no limit: {name.strip()} is a share; write {value / 100:g} for {value:g} %")
        limits[key] = value
    if not limits:
        raise SpecError(f"{text!r} has no limit; write metric=number, as in accuracy=0.9,size_bytes=50000")
    return limits
