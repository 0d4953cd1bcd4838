"""What a frontier chart draws, computed: place, standing and words of every trial, and which of very many are drawn."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.frontier.certainty import Certainty
from engine.frontier.columns import Numbers, Rows, Trials
from engine.frontier.dominance import Bools, Floats
from engine.frontier.front import objective_points, within_limits
from engine.frontier.joined import is_imported
from engine.frontier.recommendation import Choice, View, choose
from engine.frontier.thinning import thin
from engine.metrics import METRICS, axis_title, shown, text_of
from engine.trials.evidence import Seeds
from engine.trials.stated import NOT_HERE
from engine.trials.text import seeds_text, share_text
from engine.trials.trial import Trial

Role = Literal["front", "tied", "beaten", "over", "imported"]
"""imported: not measured here, wherever it stands. Of the others,
front: no other drawn trial beats it; tied: one does, but the measurements cannot tell; beaten: one does; over: outside the limits."""
ROLES: tuple[Role, ...] = ("front", "tied", "beaten", "over", "imported")

MOST_DRAWN = 1_000
"""More marks than this hide each other, and take a browser half a second and more to draw, twice for a new axis."""
MOST_WORDY = 600
"""Up to so many marks have all their numbers in their hover text; above, those that are beaten or outside have a name and their place."""
MOST_RANGES = 500
"""So many intervals are drawn, those of the frontier first; more of them are a grey cloud. The hover text has them all the same."""
# A wider span than this is easier to read in logarithms.
LOG_SPAN = 25.0


@dataclass(frozen=True)
class Point:
    """One drawn trial. Values and (low, high) ranges are in the units shown; `hover` is escaped HTML.

    A range is None where there is none, and where there are too many to draw. The hover text of one that is not `wordy` is its name.
    """

    trial_id: str
    role: Role
    x: float
    y: float
    colour: float | None
    x_range: tuple[float, float] | None
    y_range: tuple[float, float] | None
    hover: str
    seeds: tuple[float, float, float] | None = None
    """Mean, least and greatest over the seeds, on the upright axis, in the unit shown; None where that axis is not accuracy."""
    wordy: bool = True


@dataclass(frozen=True)
class FrontierInfo:
    """What the chart draws: `points` are the finished trials with both axes measured, or a sample of them; titles are in words, with units.

    `counts`: how many trials with both axes there are of each role, drawn or not. `x_span`, `y_span`: between which values all of them lie.
    """

    choice: Choice
    points: tuple[Point, ...]
    x_title: str
    y_title: str
    colour_title: str | None
    certainty: Certainty | None = None
    counts: Mapping[Role, int] = field(default_factory=dict)
    x_span: tuple[float, float] = (1.0, 1.0)
    y_span: tuple[float, float] = (1.0, 1.0)

    @property
    def total(self) -> int:
        """How many trials have both axes measured."""
        return sum(self.counts.values())


def frontier_info(
    trials: Sequence[Trial], view: View, certainty: Certainty | None = None, selected: str | None = None
) -> FrontierInfo:
    """Everything that `frontier_figure` draws, computed; without `certainty` no trial is shown as tied.

    Of more than `MOST_DRAWN` trials all that matter are drawn (frontier, tied, knee, baseline, best, `selected`), and of the others a
    sample that is even over the chart. Raises SpecError where times of two machines would come onto one axis.
    """
    done = Trials.of(trials).done
    choice = choose(done, view)
    values = objective_points(done, (view.x, view.y), view.device)
    there = np.flatnonzero(np.isfinite(values).all(axis=1))
    roles = _roles(done, choice, certainty)
    places = np.stack([shown_all(key, values[there, k]) for k, key in enumerate((view.x, view.y))], axis=1)
    spans = [(float(v.min()), float(v.max())) if len(v) else (1.0, 1.0) for v in places.T]
    rows = there[_drawn(done, there, places, roles, choice, spans, selected)]

    def title(key: str) -> str:
        return axis_title(key, view.device, bool(done.numbers(key, view.device).estimated.any()))

    return FrontierInfo(
        choice=choice,
        points=_points(done, rows, roles[rows], view, certainty),
        x_title=title(view.x),
        y_title=title(view.y),
        colour_title=title(view.colour) if view.colour else None,
        certainty=certainty,
        counts={role: int((roles[there] == i).sum()) for i, role in enumerate(ROLES)},
        x_span=spans[0],
        y_span=spans[1],
    )


def is_log(key: str, span: tuple[float, float]) -> bool:
    """Whether an axis is drawn in logarithms."""
    return METRICS[key].unit != "%" and span[0] > 0 and span[1] / span[0] > LOG_SPAN


def shown_all(key: str, values: Floats) -> Floats:
    """`shown` of many values."""
    return values * shown(key, 1.0)


def _roles(done: Trials, choice: Choice, certainty: Certainty | None) -> npt.NDArray[np.intp]:
    """The role of every finished trial, as a place in `ROLES`."""
    view = choice.view
    roles = np.where(within_limits(done, view.limits, view.device), 2, 3)
    for i in certainty.tied if certainty else ():
        row = done.place.get(i)
        if row is not None and roles[row] == 2:
            roles[row] = 1
    roles[[done.place[i] for i in choice.front]] = 0
    roles[is_imported(done)] = ROLES.index("imported")
    return roles


def _drawn(
    done: Trials,
    there: Rows,
    places: Floats,
    roles: npt.NDArray[np.intp],
    choice: Choice,
    spans: Sequence[tuple[float, float]],
    selected: str | None,
) -> Bools:
    """Which of the rows that are `there` are drawn."""
    if len(there) <= MOST_DRAWN:
        return np.ones(len(there), np.bool_)
    keys = (choice.view.x, choice.view.y)
    screen = np.stack(
        [np.log(v) if is_log(key, span) else v for key, v, span in zip(keys, places.T, spans, strict=True)], axis=1
    )
    layers = roles.copy()
    layers[[done.place[i] for i in (choice.baseline, choice.knee, choice.best) if i]] = 0
    layers[roles == ROLES.index("imported")] = 0
    found = thin(screen, layers[there], MOST_DRAWN, all_of=2)
    # One more, rather than one of the sample instead: the picture stays the same when what was clicked is in it already.
    found[there == done.place.get(selected or "", -1)] = True
    return found


def _points(
    done: Trials, rows: Rows, roles: npt.NDArray[np.intp], view: View, certainty: Certainty | None
) -> tuple[Point, ...]:
    x, y = (done.numbers(k, view.device).take(rows) for k in (view.x, view.y))
    ranged = _with_ranges(roles)
    wordy = (roles < 2) | (roles == ROLES.index("imported")) | (len(rows) <= MOST_WORDY)

    def numbers(key: str, values: Floats) -> list[float]:
        return list(shown_all(key, values).tolist())

    def ranges(key: str, low: Floats, high: Floats) -> list[tuple[float, float] | None]:
        has = ranged & np.isfinite(low)
        ends = zip(numbers(key, low), numbers(key, high), strict=True)
        return [pair if drawn else None for pair, drawn in zip(ends, has.tolist(), strict=True)]

    colours: list[float | None] = [None] * len(rows)
    if view.colour:
        found = done.numbers(view.colour, view.device).value[rows]
        colours = [None if c != c else c for c in numbers(view.colour, found)]
    ids, seeds = done.fact("id")[rows].tolist(), done.fact("seeds")[rows].tolist()
    hovers = _hovers(done, rows, roles, wordy, view, certainty)
    columns = zip(
        ids,
        roles.tolist(),
        numbers(view.x, x.value),
        numbers(view.y, y.value),
        colours,
        ranges(view.x, x.low, x.high),
        ranges(view.y, y.low, y.high),
        hovers,
        seeds,
        wordy.tolist(),
        strict=True,
    )
    return tuple(
        Point(name, ROLES[role], px, py, colour, x_range, y_range, hover, _seeds(runs, view), told)
        for name, role, px, py, colour, x_range, y_range, hover, runs, told in columns
    )


def _with_ranges(roles: npt.NDArray[np.intp]) -> Bools:
    """Whose intervals are drawn: whole roles, those that matter most first, as long as there are few enough."""
    ranged = np.zeros(len(roles), np.bool_)
    for role in range(3):
        if (ranged | (roles == role)).sum() > MOST_RANGES:
            break
        ranged |= roles == role
    return ranged


def _seeds(seeds: Seeds | None, view: View) -> tuple[float, float, float] | None:
    if seeds is None or view.y != seeds.key:
        return None
    mean, low, high = (shown(seeds.key, v) for v in (seeds.mean, seeds.low, seeds.high))
    return mean, low, high


def _hovers(
    done: Trials, rows: Rows, roles: npt.NDArray[np.intp], wordy: Bools, view: View, certainty: Certainty | None
) -> list[str]:
    """The recipe and every number that is on an axis, with ranges and truth labels; the recipe alone where it is not to be wordy."""
    labels = [html.escape(label) for label in done.fact("label")[rows]]
    keys = tuple(dict.fromkeys(k for k in (done.judged_by, "size_bytes", view.x, view.y, view.colour) if k))
    columns = [(k, done.numbers(k, view.device).take(rows)) for k in keys]
    return [
        _hover(labels[i], [number_line(k, n, i) for k, n in columns], done, int(rows[i]), ROLES[roles[i]], certainty)
        if wordy[i]
        else labels[i]
        for i in range(len(rows))
    ]


def number_line(key: str, numbers: Numbers, i: int) -> str:
    """One number of one trial in a hover text, with its range and its truth label."""
    text = f"{METRICS[key].name}: {text_of(key, float(numbers.value[i]))}"
    if numbers.low[i] == numbers.low[i]:
        low, high = (text_of(key, float(end[i]), unit=False) for end in (numbers.low, numbers.high))
        text += f" ({low} to {high})"
    return text + (" estimated" if numbers.estimated[i] else "")


def _hover(label: str, lines: list[str], done: Trials, row: int, role: Role, certainty: Certainty | None) -> str:
    lines = [f"<b>{label}</b>", *lines]
    if (provenance := done.fact("provenance")[row]) != "deployed":
        lines.append(NOT_HERE if role == "imported" else provenance)
    if done.fact("tied_with_baseline")[row]:
        lines.append("tied with the baseline in accuracy")
    if seeds := done.fact("seeds")[row]:
        lines.append(f"over seeds: {seeds_text(seeds)}")
    if certainty and role in {"front", "tied"}:
        standing = "tied with the frontier; " if role == "tied" else ""
        lines.append(f"{standing}on it in {share_text(certainty.p_front.get(done.ids[row], 0.0))} of redraws")
    if role == "over":
        lines.append("outside your limits")
    return "<br>".join(lines)


def drawn_text(info: FrontierInfo) -> str:
    """Which of very many trials are drawn, with the true counts, in words; empty where all are."""
    if len(info.points) >= info.total:
        return ""
    names: dict[Role, str] = {
        "front": "on the frontier",
        "tied": "tied with it",
        "beaten": "beaten by another",
        "over": "outside your limits",
        "imported": NOT_HERE,
    }
    parts = []
    for role, name in names.items():
        drawn = sum(p.role == role for p in info.points)
        if total := info.counts[role]:
            parts.append(f"{'all' if drawn == total else f'{drawn:,} of'} {total:,} {name}")
    return (
        f"{len(info.points):,} of {info.total:,} recipes are drawn: {', '.join(parts)}. "
        "The sample is even over the chart, so what lies apart is there; all recipes count for frontier and limits."
    )
