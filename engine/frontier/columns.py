"""Trials as columns: every number of a sweep as arrays, so that a sweep of 100,000 recipes answers as one of 100 does.

`Trials` is a sequence of trials and behaves like a tuple of them. Beside that it has their metrics and facts as arrays, each made
when it is first asked for and kept; nothing in it changes. They come from trials at hand, from stored records (`stored_columns`), or from
other trials that are seen on more devices (`engine/devices/projected.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt
from pydantic_core import to_json

from engine.frontier.dominance import Bools, Floats
from engine.metrics import DEVICE_METRICS, METRICS
from engine.trials.evidence import Interval
from engine.trials.metric_values import FAITHFUL, in_order, metric_interval, own_metrics
from engine.trials.text import is_estimated
from engine.trials.trial import Trial

Fact = Literal[
    "id",
    "label",
    "state",
    "provenance",
    "machine",
    "is_baseline",
    "tied_with_baseline",
    "predictions",
    "artifact",
    "demand",
    "seeds",
    "finished_s",
    "error",
    "stopped",
    "own_metrics",
    "steps",
]
"""What is known of a trial beside its numbers. `machine` is (fingerprint, label) or None, `demand` is JSON (UTF-8, one object for all that
ask the same, where they are stored) or None, `own_metrics` the keys of the spec's own metric and of its slices, `steps` its recipe's, each
as JSON (UTF-8); the others are as in `Trial`."""
Objects: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.object_]]
Rows: TypeAlias = npt.NDArray[np.intp]
Place: TypeAlias = tuple[str, str]
_Made = TypeVar("_Made")

_AT_ONCE = 500


@dataclass(frozen=True)
class Numbers:
    """One metric of some trials in base units, each of shape (trials,), NaN where not measured.

    `low` and `high` are the ends of the interval, NaN where there is none. `estimated`: not measured on the device it speaks of.
    """

    value: Floats
    low: Floats
    high: Floats
    estimated: Bools

    @classmethod
    def none(cls, count: int) -> Numbers:
        """A metric that nobody measured."""
        nothing = np.full(count, np.nan)
        return cls(nothing, nothing, nothing, np.zeros(count, np.bool_))

    def take(self, rows: Rows) -> Numbers:
        """Those of the rows, in their order."""
        return Numbers(self.value[rows], self.low[rows], self.high[rows], self.estimated[rows])

    @classmethod
    def joined(cls, parts: Sequence[Numbers]) -> Numbers:
        """One after the other."""
        return cls(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in ("value", "low", "high", "estimated"))
        )


class _Source(Protocol):
    def __len__(self) -> int: ...

    def devices(self) -> tuple[str, ...]: ...

    def fact(self, name: Fact) -> Objects: ...

    def numbers(self, key: str, device: str) -> Numbers: ...

    def fits(self, device: str) -> Bools: ...

    def load(self, rows: Sequence[int]) -> list[Trial]: ...


class Trials(Sequence[Trial]):
    """Trials and their columns; see the top of this module. Made by `Trials.of`, `records.stored_trials` and `projected`."""

    def __init__(self, source: _Source) -> None:
        """From one of the sources below or in the modules named above."""
        self._source = source
        self._facts: dict[Fact, Objects] = {}
        self._numbers: dict[Place, Numbers] = {}
        self._once: dict[Hashable, Any] = {}

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Trials:
        """The columns of trials at hand; what has columns already stays as it is."""
        return trials if isinstance(trials, Trials) else cls(_AtHand(tuple(trials)))

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> Trial: ...

    @overload
    def __getitem__(self, index: slice) -> Trials: ...

    def __getitem__(self, index: int | slice) -> Trial | Trials:
        """One whole trial, or the columns of several."""
        rows = range(len(self))[index]
        return self._source.load([rows])[0] if isinstance(rows, int) else self.take(np.asarray(rows, np.intp))

    def __iter__(self) -> Iterator[Trial]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self._source.load(range(start, min(start + _AT_ONCE, len(self))))

    def fact(self, name: Fact) -> Objects:
        """One fact of every trial, shape (trials,)."""
        if name not in self._facts:
            self._facts[name] = self._source.fact(name)
        return self._facts[name]

    def numbers(self, key: str, device: str = "host") -> Numbers:
        """One metric of every trial, as `metric_interval` has it of one."""
        place = (key, device if key in DEVICE_METRICS else "")
        if place not in self._numbers:
            found = self._source.numbers(key, device)
            if place[1] and device not in self.devices:
                return found  # Anybody can ask for any device: not kept.
            self._numbers[place] = found
        return self._numbers[place]

    def once(self, name: Hashable, make: Callable[[Trials], _Made]) -> _Made:
        """What follows from these trials alone: made when it is first asked for under a name, and kept with them, so names must be few."""
        if name not in self._once:
            self._once[name] = make(self)
        made: _Made = self._once[name]
        return made

    def fits(self, device: str) -> Bools:
        """Which trials nothing that is known of the device speaks against, shape (trials,); true where nothing is known."""
        return self._source.fits(device)

    def points(self, keys: Sequence[str], device: str = "host") -> Floats:
        """Values of several metrics, shape (trials, keys)."""
        return np.stack([self.numbers(k, device).value for k in keys], axis=1) if keys else np.empty((len(self), 0))

    def take(self, rows: Rows | Bools) -> Trials:
        """Those of the rows (numbers in their order, or one bool for each)."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Trials(_Part(self, np.asarray(chosen, np.intp)))

    @cached_property
    def done(self) -> Trials:
        """The finished ones."""
        finished = np.asarray(self.fact("state") == "done", np.bool_)
        return self if finished.all() else self.take(finished)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every trial."""
        return tuple(self.fact("id").tolist())

    @cached_property
    def place(self) -> Mapping[str, int]:
        """Id -> row."""
        return {name: row for row, name in enumerate(self.ids)}

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """The host, and every profile that some trial was projected onto."""
        return tuple(dict.fromkeys(("host", *self._source.devices())))

    def measured(self, device: str = "host") -> tuple[str, ...]:
        """The keys of the metrics that some trial has, in the order of `metrics`."""

        def found(_: Trials) -> tuple[str, ...]:
            return tuple(k for k in self.metrics if not np.isnan(self.numbers(k, device).value).all())

        return self.once(("measured", device), found) if device in self.devices else found(self)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The keys of all metrics that these trials may have."""
        return in_order([k for keys in dict.fromkeys(self.fact("own_metrics")) for k in keys])

    @cached_property
    def judged_by(self) -> str:
        """The metric that says how good a trial is: the spec's own, accuracy, or without labels and targets how close it is to the
        baseline.
        """
        own = next((keys[0] for keys in self.fact("own_metrics") if keys and keys[0].startswith("score:")), None)
        if own is not None:
            return str(own)
        return next((k for k in FAITHFUL if not np.isnan(self.numbers(k).value).all()), FAITHFUL[0])

    def merit(self) -> Floats:
        """What it is judged by, of every trial (trials,), more being better; NaN where not measured."""
        key = self.judged_by
        return self.numbers(key).value * (1 if METRICS[key].maximise else -1)

    @cached_property
    def baseline(self) -> int | None:
        """The row of the network as it came, None where it is not among these."""
        found = np.flatnonzero(self.fact("is_baseline"))
        return int(found[0]) if len(found) else None

    @cached_property
    def machines(self) -> Mapping[str, str]:
        """Fingerprint -> label of the machines that measured these trials."""
        return dict(m for m in dict.fromkeys(self.fact("machine")) if m)

    @cached_property
    def timing_machines(self) -> Mapping[str, str]:
        """Fingerprint -> label of those that measured a latency."""
        timed = ~np.isnan(self.numbers("latency_ms").value)
        if isinstance(self._source, _Part) and len(whole := self._source.whole.timing_machines) < 2:
            return whole if timed.any() else {}
        return dict(m for m in dict.fromkeys(self.fact("machine")[timed]) if m)


class _AtHand:
    """Trials that are there as such."""

    def __init__(self, trials: tuple[Trial, ...]) -> None:
        self._trials = trials

    def __len__(self) -> int:
        return len(self._trials)

    def devices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for t in self._trials for name in t.projections))

    def fact(self, name: Fact) -> Objects:
        return as_objects([_FACTS[name](t) for t in self._trials])

    def numbers(self, key: str, device: str) -> Numbers:
        found = [metric_interval(t, key, device) for t in self._trials]
        return as_numbers(
            [(n.value, n.low, n.high) if isinstance(n, Interval) else n for n in found],
            [is_estimated(t, key, device) for t in self._trials],
        )

    def fits(self, device: str) -> Bools:
        found = (t.projections.get(device) for t in self._trials)
        return np.array([p is None or p.fits for p in found], np.bool_)

    def load(self, rows: Sequence[int]) -> list[Trial]:
        return [self._trials[i] for i in rows]


class _Part:
    """Some rows of other trials."""

    def __init__(self, whole: Trials, rows: Rows) -> None:
        self.whole, self._rows = whole, rows

    def __len__(self) -> int:
        return len(self._rows)

    def devices(self) -> tuple[str, ...]:
        return self.whole.devices

    def fact(self, name: Fact) -> Objects:
        return self.whole.fact(name)[self._rows]

    def numbers(self, key: str, device: str) -> Numbers:
        return self.whole.numbers(key, device).take(self._rows)

    def fits(self, device: str) -> Bools:
        return self.whole.fits(device)[self._rows]

    def load(self, rows: Sequence[int]) -> list[Trial]:
        return self.whole._source.load([int(self._rows[i]) for i in rows])


def as_objects(values: Sequence[object]) -> Objects:
    """A column of anything."""
    return np.fromiter(values, np.object_, len(values))


def as_numbers(found: Sequence[Any], estimated: Sequence[bool] | Bools) -> Numbers:
    """From a number, (value, low, high) or None for each trial."""
    rows = [
        (n[0], n[1], n[2]) if type(n) is tuple else (math.nan if n is None else n, math.nan, math.nan) for n in found
    ]
    value, low, high = np.array(rows, np.float64).reshape(-1, 3).T.copy()
    return Numbers(value, low, high, np.array(estimated, np.bool_))


_FACTS: dict[Fact, Callable[[Trial], object]] = {
    "id": lambda t: t.id,
    "label": lambda t: t.label,
    "state": lambda t: t.state,
    "provenance": lambda t: t.provenance,
    "machine": lambda t: (t.machine.fingerprint, t.machine.label) if t.machine else None,
    "is_baseline": lambda t: not t.recipe.steps,
    "tied_with_baseline": lambda t: bool(t.tied_with_baseline),
    "predictions": lambda t: t.predictions,
    "artifact": lambda t: t.artifact,
    "demand": lambda t: to_json(t.demand.to_json()) if t.demand else None,
    "seeds": lambda t: t.seeds,
    "finished_s": lambda t: t.finished_s,
    "error": lambda t: t.error,
    "stopped": lambda t: t.stopped,
    "own_metrics": lambda t: own_metrics(t.score.key if t.score else None, t.slices.key if t.slices else None),
    "steps": lambda t: tuple(to_json(step) for step in t.recipe.to_json()),
}
