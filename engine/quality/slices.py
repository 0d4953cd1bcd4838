"""Figures of parts of the test samples, of one site or device, and which of them is worst. Stored answers in, records out.

Slices are often small, and the usual intervals of a mean, or from samples drawn anew, are too sure then: those here are Student's, and
draws are spread by as much more as these are (Hesterberg 2015, The American Statistician 69:371). Where all samples of a slice say the
same, the spread of all samples stands for theirs. One sample has no spread: of it nothing is said but shares, whose intervals (Wilson's,
Tango's) hold at any number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from engine.datasets.slices import Rows, rows_of
from engine.datasets.splits import UNLABELLED, Array
from engine.errors import StepError
from engine.metrics import METRICS
from engine.quality.predictions import Predictions
from engine.quality.scored import Scored
from engine.quality.scores import Labels
from engine.quality.statistics import Z_95, Bools, Floats, paired_difference, wilson
from engine.quality.values import Values, alike, relative_error
from engine.quality.worst_of_many import largest_drop, lowest_share, lowest_value
from engine.spec.metric import BUILT_IN
from engine.trials.evidence import Interval
from engine.trials.slices import FIGURES, Figure, Slice, SliceFigure, Slices, WorstSlice

# Fewer draws in which a metric of the set is defined say nothing of how sure it is.
_LEAST_DRAWS = 50
# Of fewer samples the draws' own ends lie too close on the side where none of them happens to lie.
_FEW = 30
_AT_MOST_ONE = frozenset(metric.title for metric in BUILT_IN.values() if metric.better == "max")


@dataclass(frozen=True)
class _Told:
    """A number of some samples, with its standard error of so many degrees of freedom, and the ends of its 95 % interval."""

    value: float
    error: float
    freedom: int
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high)


_All = Sequence[_Told | None]


def by_slice(
    found: Predictions | Values,
    baseline: Predictions | Values | None,
    labels: Labels,
    slices: Mapping[str, Array],
    key: str | None,
) -> Slices | None:
    """What a file's answers say in every slice (`slices`: text (n,) by name), beside the baseline's (None for the baseline itself); None
    without slices, and where nothing is judged. `key`: that of the spec's own metric, None without one.

    Raises StepError where answers, labels and slices are not of the same samples.
    """
    rows = rows_of(slices)
    if not rows:
        return None
    lengths = {len(found), len(labels), *map(len, slices.values())} | (
        {len(baseline)} if baseline is not None else set()
    )
    if len(lengths) > 1:
        raise StepError(f"slices: answers, labels and slices cover {sorted(lengths)} samples; run the sweep again")
    figures: dict[Figure, _Figure] = {}
    if isinstance(found, Predictions) and (labels != UNLABELLED).all():
        before = baseline.predicted == labels if isinstance(baseline, Predictions) else None
        figures["accuracy"] = _shares(found.predicted == labels, before, rows, maximise=True)
    if key is not None and found.scored is not None and (baseline is None or baseline.scored is not None):
        other = None if baseline is None else baseline.scored
        figures["score"] = _scores(found.scored, other, rows, key, len(labels))
    if not figures:
        figures["fidelity"] = _fidelity(found, baseline, rows)
    judged = next(name for name in FIGURES if name in figures)
    close = "agreement" if isinstance(found, Predictions) else "relative_error"
    keys: dict[Figure, str] = {"score": key or "", "accuracy": "accuracy", "fidelity": close}
    return Slices(
        keys[judged],
        tuple(
            Slice(r.array, r.value, len(r), **{str(name): figure.parts[i] for name, figure in figures.items()})
            for i, r in enumerate(rows)
        ),
        _named(rows, figures[judged].worst),
        _named(rows, figures[judged].drop) if baseline is not None else None,
    )


@dataclass(frozen=True)
class _Figure:
    """One figure of every slice, and the place and interval of the worst and of the largest drop."""

    parts: tuple[SliceFigure | None, ...]
    worst: tuple[int, Interval] | None
    drop: tuple[int, Interval] | None = None


def _named(rows: Sequence[Rows], worst: tuple[int, Interval] | None) -> WorstSlice | None:
    return None if worst is None else WorstSlice(rows[worst[0]].array, rows[worst[0]].value, worst[1])


def _shares(right: Bools, before: Bools | None, rows: Sequence[Rows], maximise: bool) -> _Figure:
    """Of what is right or wrong; `maximise` False: of what is wrong, the less the better."""
    parts = []
    for r in rows:
        mine = right[r.places]
        change = None if before is None else Interval(*paired_difference(mine, before[r.places]))
        parts.append(SliceFigure(float(mine.mean()), *wilson(int(mine.sum()), len(mine)), change))
    good, counts = right if maximise else ~right, np.array([len(r) for r in rows])
    values = np.array([good[r.places].mean() for r in rows])
    worst, (low, high) = int(values.argmin()), lowest_share(np.array([good[r.places].sum() for r in rows]), counts)
    least = Interval(values[worst], low, high) if maximise else Interval(1 - values[worst], 1 - high, 1 - low)
    if before is None:
        return _Figure(tuple(parts), (worst, _plain(least)))
    was = before if maximise else ~before
    lost, gained = (np.array([(x[r.places]).sum() for r in rows]) for x in (was & ~good, good & ~was))
    drops = (lost - gained) / counts
    most = int(drops.argmax())
    drop = Interval(drops[most], *largest_drop(lost, gained, counts))
    return _Figure(tuple(parts), (worst, _plain(least)), (most, _plain(drop)))


def _plain(interval: Interval) -> Interval:
    return Interval(float(interval.value), float(interval.low), float(interval.high))


def _scores(found: Scored, baseline: Scored | None, rows: Sequence[Rows], key: str, total: int) -> _Figure:
    """Of the spec's own metric, of `total` samples."""
    maximise, ends = METRICS[key].maximise, _ends((found, baseline), key)
    if found.samples is not None and (baseline is None or baseline.samples is not None):
        mine, other = found.samples, None if baseline is None else baseline.samples
        if other is not None and len(other) != len(mine):
            raise StepError(f"slices: {len(mine)} samples against {len(other)} of the baseline; run the sweep again")
        if all(np.isin(x, (0.0, 1.0)).all() for x in (mine, other) if x is not None):
            return _shares(mine == 1, None if other is None else other == 1, rows, maximise)
        numbers = [_mean(mine, r) for r in rows]
        changes = [None] * len(rows) if other is None else [_mean(mine - other, r) for r in rows]
        return _figure(numbers, changes, maximise, ends)
    places = range(len(rows))
    for scored in (found, baseline):
        if scored is not None:
            _check_parts(scored, rows)
    changes = [None if baseline is None else _drawn(found, baseline, i, total) for i in places]
    return _figure([_drawn(found, None, i, total) for i in places], changes, maximise, ends)


def _check_parts(scored: Scored, rows: Sequence[Rows]) -> None:
    counts = None if scored.part_counts is None else scored.part_counts.tolist()
    if counts != [len(r) for r in rows]:
        raise StepError("slices: the metric was counted on other parts of the samples; run the sweep again")


def _fidelity(found: Predictions | Values, baseline: Predictions | Values | None, rows: Sequence[Rows]) -> _Figure:
    """How close answers are to the baseline's, where nobody told what is right."""
    other = found if baseline is None else baseline
    if isinstance(found, Predictions) and isinstance(other, Predictions):
        same = found.predicted == other.predicted
        shares = _shares(same, None, rows, maximise=True)
        return _Figure(shares.parts, shares.worst, shares.worst and (shares.worst[0], _missing(shares.worst[1])))
    assert isinstance(found, Values)
    assert isinstance(other, Values)
    if len(found.outputs) < found.count:
        return _Figure((None,) * len(rows), None)  # not all outputs are kept
    mine, theirs = alike(found, other)
    numbers: list[_Told | None] = []
    for r in rows:
        some = relative_error(mine[r.places], theirs[r.places]) if len(r) > 1 else None
        if some is None:
            numbers.append(None)
            continue
        error = (some.high - some.low) / (2 * Z_95)
        numbers.append(_spread(some.value, error, some.low, some.high, len(r)))
    figure = _figure(numbers, [None] * len(rows), maximise=False, ends=(0.0, math.inf))
    # The baseline is no distance from itself: all of it was lost.
    return _Figure(figure.parts, figure.worst, figure.worst)


def _missing(share: Interval) -> Interval:
    """What is missing to all of it, which the baseline has of itself."""
    return Interval(1 - share.value, 1 - share.high, 1 - share.low)


def _figure(numbers: _All, changes: _All, maximise: bool, ends: tuple[float, float] = (-math.inf, math.inf)) -> _Figure:
    """From a number and a change of every slice, None where there is none. `ends`: beyond which no number is."""

    def within(low: float, high: float) -> tuple[float, float]:
        return max(low, ends[0]), min(high, ends[1])

    parts = tuple(
        None if n is None else SliceFigure(n.value, *within(n.low, n.high), None if c is None else c.interval)
        for n, c in zip(numbers, changes, strict=True)
    )
    worst, drop = _lowest(numbers, maximise), _lowest(changes, maximise)
    least = worst and (worst[0], Interval(worst[1].value, *within(worst[1].low, worst[1].high)))
    return _Figure(parts, least, drop and (drop[0], _as_loss(drop[1], maximise)))


def _ends(scored: Sequence[Scored | None], key: str) -> tuple[float, float]:
    """What a metric is not below or above: 0, where nothing that was counted is, and 1, for those of ours of which more is better."""
    seen = [x for s in scored if s is not None for x in (s.samples, s.draws, s.part_draws) if x is not None]
    least = 0.0 if all(np.nanmin(x) >= 0 for x in seen) else -math.inf
    return least, 1.0 if METRICS[key].name in _AT_MOST_ONE else math.inf


def _as_loss(change: Interval, maximise: bool) -> Interval:
    """A change as how much worse it is."""
    return Interval(-change.value, -change.high, -change.low) if maximise else change


def _lowest(numbers: _All, maximise: bool) -> tuple[int, Interval] | None:
    """The place of the worst number, and its value with the interval of the worst of many; None where there is none."""
    known = [(i, n) for i, n in enumerate(numbers) if n is not None]
    if not known:
        return None
    sign = 1.0 if maximise else -1.0
    values, errors, freedom = (
        np.array([getattr(n, name) for _, n in known], np.float64) for name in ("value", "error", "freedom")
    )
    low, high = lowest_value(sign * values, errors, freedom)
    place, worst = known[int((sign * values).argmin())]
    return place, Interval(worst.value, low, high) if maximise else Interval(worst.value, -high, -low)


def _mean(samples: Floats, rows: Rows) -> _Told | None:
    """The mean of a slice's numbers."""
    mine = samples[rows.places]
    if len(mine) < 2:
        return None
    # Where all say the same, the spread of all samples stands for theirs.
    deviation = float((mine if np.ptp(mine) else samples).std(ddof=1))
    value, error, freedom = float(mine.mean()), deviation / math.sqrt(len(mine)), len(mine) - 1
    half = float(stdtrit(freedom, 0.975)) * error
    return _Told(value, error, freedom, value - half, value + half)


def _drawn(scored: Scored, baseline: Scored | None, place: int, total: int) -> _Told | None:
    """A metric of the whole set on a slice, or its change against the baseline's, from the same draws of both."""
    value, draws, n = _part(scored, place)
    every = scored.draws
    if baseline is not None:
        before, others, _ = _part(baseline, place)
        value -= before
        k = min(len(draws), len(others))
        draws = draws[:k] - others[:k]
        every = None if every is None or baseline.draws is None else every[:k] - baseline.draws[:k]
    known = draws[np.isfinite(draws)]
    if not math.isfinite(value) or len(known) < _LEAST_DRAWS:
        return None
    low, high = (float(end) for end in np.percentile(known, [2.5, 97.5]))
    error = float(known.std(ddof=1))
    if np.ptp(known) <= 1e-12 * abs(value) and every is not None:
        # As of a mean.
        usable = every[np.isfinite(every)]
        error = float(usable.std(ddof=1)) * math.sqrt(total / n) if len(usable) > 1 else 0.0
        low, high = value - Z_95 * error, value + Z_95 * error
    return _spread(value, error, low, high, n)


def _part(scored: Scored, place: int) -> tuple[float, Floats, int]:
    """A metric of the whole set on one part: its number, those of the draws, and of how many samples; see `_check_parts`."""
    assert scored.part_counts is not None
    assert scored.part_values is not None
    assert scored.part_draws is not None
    return float(scored.part_values[place]), scored.part_draws[place], int(scored.part_counts[place])


def _spread(value: float, error: float, low: float, high: float, n: int) -> _Told:
    """What samples drawn anew say, as much wider as Student's interval of so many is than the one from draws."""
    more, reach = math.sqrt(n / (n - 1)), float(stdtrit(n - 1, 0.975))
    below, above = (more * reach / Z_95 * max(0.0, side) for side in (value - low, high - value))
    if n < _FEW:
        below, above = (max(side, more * reach * error) for side in (below, above))
    return _Told(value, error * more, n - 1, value - below, value + above)
