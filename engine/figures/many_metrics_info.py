"""Trials over more than two metrics at once: three axes in space, parallel axes, every pair. What the charts of them draw."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.figures.frontier_info import Role, is_log, number_line
from engine.frontier.columns import Rows, Trials
from engine.frontier.dominance import Floats, non_dominated
from engine.frontier.front import front_rows, objective_points
from engine.frontier.recommendation import Choice, View
from engine.metrics import METRICS, axis_title, shown
from engine.trials.stated import NOT_HERE
from engine.trials.trial import Trial

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
        return is_log(self.key, (self.low, self.high))

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
        return sum(m.trial_id in self.choice.kept for m in self.marks)


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
    view, kept = choice.view, _kept(trials, choice)
    rows, knee = front_rows(kept, (view.x, view.y, z), view.device)
    front = frozenset(kept.ids[i] for i in rows)
    name = None if knee is None else kept.ids[knee]
    return _info(trials, choice, (view.x, view.y, z), front, name, MOST_IN_SPACE, also)


def _kept(trials: Sequence[Trial], choice: Choice) -> Trials:
    """The trials within the limits."""
    table = Trials.of(trials)
    return table.take(np.array([i in choice.kept for i in table.ids], np.bool_))


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
    kept = _kept(trials, choice)
    values, maximise = objective_points(kept, keys, choice.view.device), [METRICS[k].maximise for k in keys]
    pairs: dict[tuple[int, int], tuple[str, ...]] = {}
    for up in range(1, len(keys)):
        for across in range(up):
            rows = np.flatnonzero(non_dominated(values[:, [across, up]], [maximise[across], maximise[up]]))
            # Ordered by what is drawn across, ties by what is drawn up.
            order = np.lexsort((values[rows, up], values[rows, across]))
            pairs[across, up] = tuple(kept.ids[i] for i in rows[order])
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
    view, done = choice.view, Trials.of(trials).done
    values = objective_points(done, keys, view.device)
    measured = np.isfinite(values).sum(axis=1)
    enough = measured >= (len(keys) if whole else min(2, len(keys)))
    # In the order of the first metric, so that a sample spans it.
    order = np.argsort(values[:, 0], kind="stable")
    there = [done.ids[i] for i in order[enough[order]]]
    marked = {i for i in (choice.baseline, choice.best if view.limits else None, knee, *also) if i}
    drawn = sample(there, front | marked, most)
    rows = np.array([done.place[i] for i in drawn], np.intp)
    return ManyInfo(
        choice=choice,
        axes=tuple(_axis(done, key, values[rows, k], view) for k, key in enumerate(keys)),
        marks=_marks(done, rows, values[rows], keys, choice, front),
        front=front & set(drawn),
        knee=knee,
        colour_title=_title(done, view.colour, view.device) if view.colour else None,
        left_out=len(there) - len(drawn),
        lacking=len(done) - len(there),
    )


def _title(trials: Trials, key: str, device: str) -> str:
    return axis_title(key, device, bool(trials.numbers(key, device).estimated.any()))


def _axis(trials: Trials, key: str, values: Floats, view: View) -> Axis:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    return Axis(key, _title(trials, key, view.device), METRICS[key].maximise, shown(key, low), shown(key, high))


def _marks(
    done: Trials, rows: Rows, values: Floats, keys: Sequence[str], choice: Choice, front: Collection[str]
) -> tuple[Mark, ...]:
    """The marks of the rows, of which `values` (rows, keys) are in base units."""
    view = choice.view
    told = dict.fromkeys((*keys, *([view.colour] if view.colour else [])))
    columns = {key: done.numbers(key, view.device).take(rows) for key in told}
    scale = [shown(key, 1.0) for key in keys]
    marks = []
    for i, row in enumerate(rows.tolist()):
        name = done.ids[row]
        role: Role = "over" if name not in choice.kept else "front" if name in front else "beaten"
        role = "imported" if done.fact("provenance")[row] == "imported" else role
        lines = [f"<b>{html.escape(done.fact('label')[row])}</b>"]
        lines += [number_line(key, numbers, i) for key, numbers in columns.items()]
        said = done.fact("provenance")[row]
        lines += [] if said == "deployed" else [NOT_HERE if role == "imported" else said]
        lines += ["outside your limits"] if role == "over" else []
        colour = shown(view.colour, float(columns[view.colour].value[i])) if view.colour else math.nan
        marks.append(
            Mark(
                trial_id=name,
                role=role,
                values=tuple((values[i] * scale).tolist()),
                colour=None if math.isnan(colour) else colour,
                hover="<br>".join(lines),
            )
        )
    return tuple(marks)


def marker_sizes(trials: Sequence[Trial], key: str, device: str) -> dict[str, float]:
    """Diameters in pixels by trial id: the mark's area grows from the least measured value to the greatest; without a value, the least."""
    table = Trials.of(trials)
    found = table.numbers(key, device).value
    known = found[np.isfinite(found)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    shares = np.nan_to_num((found - low) / (high - low)) if high > low else np.zeros(len(found))
    diameters = np.sqrt(_SMALLEST**2 + (_LARGEST**2 - _SMALLEST**2) * shares)
    return dict(zip(table.ids, diameters.tolist(), strict=True))
