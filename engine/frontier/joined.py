"""Imported points beside a sweep's trials, as columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.frontier.columns import Fact, Numbers, Objects, Trials
from engine.frontier.dominance import Bools
from engine.trials.trial import Trial


def with_points(trials: Trials, points: Sequence[Trial]) -> Trials:
    """The trials, and after them the points; as they are where there is none."""
    return Trials(_Joined(trials, Trials.of(points))) if points else trials


def is_imported(trials: Trials) -> Bools:
    """Which are imported points: bool of shape (trials,)."""
    return trials.once("is imported", lambda all_: np.asarray(all_.fact("provenance") == "imported", np.bool_))


def without_points(trials: Trials) -> Trials:
    """What was measured here."""
    imported = is_imported(trials)
    return trials.take(~imported) if imported.any() else trials


class _Joined:
    """Two lots of trials, one after the other."""

    def __init__(self, first: Trials, second: Trials) -> None:
        self._parts = (first, second)

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def devices(self) -> tuple[str, ...]:
        stated = {t.stated.device: None for t in self._parts[1] if t.stated and t.stated.device}
        return (*(d for part in self._parts for d in part.devices), *stated)

    def fact(self, name: Fact) -> Objects:
        return np.concatenate([part.fact(name) for part in self._parts])

    def numbers(self, key: str, device: str) -> Numbers:
        return Numbers.joined([part.numbers(key, device) for part in self._parts])

    def fits(self, device: str) -> Bools:
        return np.concatenate([part.fits(device) for part in self._parts])

    def load(self, rows: Sequence[int]) -> list[Trial]:
        first, second = self._parts
        found = first.take(np.array([r for r in rows if r < len(first)], np.intp))
        here, there = iter(found), iter([second[r - len(first)] for r in rows if r >= len(first)])
        return [next(here) if r < len(first) else next(there) for r in rows]
