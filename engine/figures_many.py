"""Trials over more than two metrics at once: three axes in space, parallel axes, every pair. What `figures_many_drawn` draws, computed."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.choice import Choice, View
from engine.figures import LOG_SPAN, Role
from engine.frontier import Floats, non_dominated
from engine.record import METRICS, Trial, metric_value
from engine.selection import find_front, objective_points
from engine.words import axis_title, is_estimated, metric_range, shown, text_of

MOST_IN_SPACE, MOST_LINES, MOST_IN_PAIRS = 5000, 300, 600
"""More trials than this are not told apart in the chart, or not drawn in a moment; see `sample`."""
LEAST_METRICS, MOST_AXES, MOST_PAIRED = 2, 8, 4
"""How many metrics parallel axes and the matrix take: at least the first, at most one of the others."""
_SMALLEST, _LARGEST = 7.0, 26.0


@dataclass(frozen=True)
class Axis:
    """One metric on one device. `title` is in words, with unit; `low` and `high` are the ends of what is drawn, in the unit shown."""

    key: str
    title: str
    maximise: bool
    low: float
    high: float

    @property
    def logarithmic(self) -> bool:
        """Whether the values span so much that logarithms are easier to read."""
        return self.key != "accuracy" and self.low > 0 and self.high / self.low > LOG_SPAN

    @property
    def wish(self) -> str:
        """The direction in words."""
        return "more is better" if self.maximise else "less is better"

    def place(self, value: float) -> float:
        """Where a value in the unit shown stands between the worst that is drawn, 0, and the best, 1; 0.5 where all are equal."""
        low, high = (math.log(v) if self.logarithmic else v for v in (self.low, self.high))
        if high <= low:
            return 0.5
        share = ((math.log(value) if self.logarithmic else value) - low) / (high - low)
        return share if self.maximise else 1 - share

    def value_at(self, place: float) -> float:
        """The inverse of `place`, in the unit shown."""
        share = place if self.maximise else 1 - place
        if self.logarithmic:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share


@dataclass(frozen=True)
class Mark:
    """One drawn trial: its values in the units shown, in the order of the axes, NaN where not measured. `hover` is escaped HTML."""

    trial_id: str
    role: Role
    values: tuple[float, ...]
    colour: float | None
    hover: str


@dataclass(frozen=True)
class ManyInfo:
    """What these charts draw. `front` is the frontier that they colour, by id; in a matrix, the trials that are on that of some pair, and
    `pairs` has that of each (number of the axis across, of the one up), in the order of the first.

    `left_out` counts measured trials that could be drawn but are not, because there are too many; `lacking` those that lack a number.
    """

    choice: Choice
    axes: tuple[Axis, ...]
    marks: tuple[Mark, ...]
    front: frozenset[str]
    knee: str | None
    colour_title: str | None
    left_out: int
    lacking: int
    pairs: Mapping[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """How many of the drawn trials are within the limits."""
        return sum(m.role != "over" for m in self.marks)


def sample(ids: Sequence[str], first: Collection[str], most: int) -> list[str]:
    """At most `most` of the ids, in their order: all of `first` as far as they fit, the rest evenly from beginning to end.

    Put in the order of a metric, the ids that are kept are spread over it as all of them are.
    """
    if len(ids) <= most:
        return list(ids)
    wanted = [i for i in ids if i in first]
    others = [i for i in ids if i not in first]
    kept = set(_evenly(wanted, most)) | set(_evenly(others, most - min(most, len(wanted))))
    return [i for i in ids if i in kept]


def _evenly(ids: Sequence[str], count: int) -> list[str]:
    if count >= len(ids):
        return list(ids)
    return [ids[int(i * len(ids) / count)] for i in range(count)]


def space_info(trials: Sequence[Trial], choice: Choice, z: str, also: Collection[str] = ()) -> ManyInfo:
    """Three axes: those of the view and `z`, with the frontier of the three. `also` are ids to draw in any case.

    Raises SpecError where times of two machines would come onto one axis.
    """
    view = choice.view
    front = find_front([t for t in trials if t.id in choice.kept], (view.x, view.y, z), view.device)
    return _info(
        trials, choice, (view.x, view.y, z), frozenset(t.id for t in front.trials), front.knee, MOST_IN_SPACE, also
    )


def parallel_info(
    trials: Sequence[Trial], choice: Choice, metrics: Sequence[str], also: Collection[str] = ()
) -> ManyInfo:
    """One axis per metric, with the frontier of the view's two axes; `also` are ids to draw in any case."""
    return _info(
        trials, choice, metrics[:MOST_AXES], frozenset(choice.front), choice.knee, MOST_LINES, also, whole=False
    )


def matrix_info(
    trials: Sequence[Trial], choice: Choice, metrics: Sequence[str], also: Collection[str] = ()
) -> ManyInfo:
    """Every pair of the first four metrics; a trial is `front` where it is on the frontier of some pair."""
    keys = tuple(metrics[:MOST_PAIRED])
    kept = [t for t in trials if t.id in choice.kept]
    values, maximise = objective_points(kept, keys, choice.view.device), [METRICS[k].maximise for k in keys]
    pairs: dict[tuple[int, int], tuple[str, ...]] = {}
    for up in range(1, len(keys)):
        for across in range(up):
            rows = np.flatnonzero(non_dominated(values[:, [across, up]], [maximise[across], maximise[up]]))
            # Ordered by what is drawn across, ties by what is drawn up.
            order = np.lexsort((values[rows, up], values[rows, across]))
            pairs[across, up] = tuple(kept[i].id for i in rows[order])
    on_some = frozenset(i for ids in pairs.values() for i in ids)
    return replace(_info(trials, choice, keys, on_some, None, MOST_IN_PAIRS, also, whole=False), pairs=pairs)


def _info(
    trials: Sequence[Trial],
    choice: Choice,
    keys: Sequence[str],
    front: frozenset[str],
    knee: str | None,
    most: int,
    also: Collection[str],
    whole: bool = True,
) -> ManyInfo:
    """`whole`: only trials with every number are drawn; otherwise those with at least two."""
    view, by_id = choice.view, {t.id: t for t in trials}
    done = [by_id[i] for i in choice.measured]
    values = objective_points(done, keys, view.device)
    measured = np.isfinite(values).sum(axis=1)
    enough = measured >= (len(keys) if whole else min(2, len(keys)))
    # In the order of the first metric, so that a sample spans it.
    order = [i for i in np.argsort(values[:, 0], kind="stable").tolist() if enough[i]] if len(done) else []
    marked = {i for i in (choice.baseline, choice.best if view.limits else None, knee, *also) if i}
    drawn = sample([done[i].id for i in order], front | marked, most)
    rows = {done[i].id: values[i] for i in order}
    axes = tuple(_axis(done, key, np.array([rows[i][k] for i in drawn]), view) for k, key in enumerate(keys))
    return ManyInfo(
        choice=choice,
        axes=axes,
        marks=tuple(_mark(by_id[i], rows[i], keys, choice, front) for i in drawn),
        front=front & set(drawn),
        knee=knee,
        colour_title=_title(done, view.colour, view.device) if view.colour else None,
        left_out=len(order) - len(drawn),
        lacking=len(done) - len(order),
    )


def _title(trials: Sequence[Trial], key: str, device: str) -> str:
    return axis_title(key, device, any(is_estimated(t, key, device) for t in trials))


def _axis(trials: Sequence[Trial], key: str, values: Floats, view: View) -> Axis:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    return Axis(key, _title(trials, key, view.device), METRICS[key].maximise, shown(key, low), shown(key, high))


def _mark(trial: Trial, values: Floats, keys: Sequence[str], choice: Choice, front: Collection[str]) -> Mark:
    view = choice.view
    role: Role = "over" if trial.id not in choice.kept else "front" if trial.id in front else "beaten"
    colour = metric_value(trial, view.colour, view.device) if view.colour else None
    return Mark(
        trial_id=trial.id,
        role=role,
        values=tuple(shown(k, float(v)) for k, v in zip(keys, values, strict=True)),
        colour=None if colour is None or view.colour is None else shown(view.colour, colour),
        hover=hover_text(trial, (*keys, *([view.colour] if view.colour else [])), view.device, role),
    )


def hover_text(trial: Trial, keys: Sequence[str], device: str, role: Role) -> str:
    """The recipe and its numbers, with ranges and truth labels: escaped HTML."""
    lines = [f"<b>{html.escape(trial.label)}</b>"]
    for key in dict.fromkeys(keys):
        ends = metric_range(trial, key, device)
        span = f" ({text_of(key, ends[0], unit=False)} to {text_of(key, ends[1], unit=False)})" if ends else ""
        note = " estimated" if is_estimated(trial, key, device) else ""
        lines.append(f"{METRICS[key].name}: {text_of(key, metric_value(trial, key, device))}{span}{note}")
    lines += [trial.provenance] if trial.provenance != "deployed" else []
    return "<br>".join([*lines, "outside your limits"] if role == "over" else lines)


def marker_sizes(trials: Sequence[Trial], key: str, device: str) -> dict[str, float]:
    """Diameters in pixels by trial id: the mark's area grows from the least measured value to the greatest; without a value, the least."""
    found = {t.id: metric_value(t, key, device) for t in trials}
    known = [v for v in found.values() if v is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    shares = {i: 0.0 if v is None or high <= low else (v - low) / (high - low) for i, v in found.items()}
    return {i: math.sqrt(_SMALLEST**2 + (_LARGEST**2 - _SMALLEST**2) * s) for i, s in shares.items()}
