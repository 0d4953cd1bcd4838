"""The recipe, in short or in full, that promises the most hypervolume for each node second, from all that is measured so far.

Every figure is believed of every recipe (`belief`); what a recipe would add to the frontier is drawn from that and divided by what its
missing nodes take (Snoek et al. 2012, arXiv:1206.2944). Where recipes are screened, one can be seen in short first: it costs little, and
of those that show nothing the rest is saved; one of which hardly a draw adds anything is stopped then.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.frontier import dominance
from engine.search.belief import Alike, Belief, Floats, Ints, believed
from engine.search.evidence import Scale, Source, told
from engine.search.guess import Guesses
from engine.search.prices import LEAST, Prices
from engine.search.search_space import Space
from engine.search.volume import gains
from engine.trials.trial import Trial

DRAWS = 64
"""So many figures are drawn of each recipe."""
HOPELESS = 0.02
"""A screened recipe is stopped where no more than this share of its draws adds to the frontier: with 64, one."""
_NOTHING = 1e-4
"""Of the frontier's volume; what adds less is no gain."""
_SHORT = 0.1
"""How much recipes in short may differ from those in full, as a share of how much options make, before measurements tell."""
_WONDER = 1.1
"""No draw is believed to be better than the best that is measured or expected by more than a tenth of the way there from the worst."""
_JOINT = 16
"""So often is it drawn what all that is left would add together."""
_COMMON = 0.5
"""Share of the variance of such a draw that all recipes have in common, as those do that go on from one training."""
_MOST = 64
"""Most recipes, those that promise most, of which it is drawn what they add together."""
_FIRST = 3
"""So many recipes that train nothing are measured after the baseline before any that trains."""


@dataclass(frozen=True)
class Seen:
    """What is known when a choice is made, all by row: finished trials (done ones have figures), trials of recipes in short, what is under
    way in full and in short, which recipes are not to be measured any more, or only when nothing else is left, and which cannot be had in
    short (`closed`).
    """

    done: Mapping[int, Trial]
    short: Mapping[int, Trial]
    busy: Collection[int] = ()
    busy_short: Collection[int] = ()
    over: Collection[int] = ()
    last: Collection[int] = ()
    closed: Collection[int] = ()


@dataclass(frozen=True)
class Hopeless:
    """Why a screened recipe is not worth the rest: what its judged figure would be, from `low` to `high`, and the row of one measured that
    is better, None where it misses a limit; `chance` that it adds to the frontier.
    """

    low: float
    value: float
    high: float
    better: int | None
    chance: float


@dataclass(frozen=True)
class Choice:
    """What to do next: a row, in short or in full, None where nothing is left; whom to stop; how much of the frontier's volume is found,
    as a share of what is expected of measuring all; and how much `soon`, once what is under way has come out as expected.
    """

    row: int | None
    in_short: bool = False
    hopeless: Mapping[int, Hopeless] = field(default_factory=dict)
    found: float | None = None
    soon: float | None = None


class Gain:
    """The choices of one sweep, whose recipes are the first `own` rows of the space; the others are of `earlier` sweeps: finished trials,
    and how much they are doubted. `trained` (n,): whether a row has a training. `order` (own,) breaks ties.
    """

    def __init__(
        self,
        space: Space,
        own: int,
        trained: npt.NDArray[np.bool_],
        order: Ints,
        seed: int,
        earlier: Sequence[tuple[Source, float]] = (),
        guesses: Guesses | None = None,
    ) -> None:
        self.guesses = guesses
        self.space, self.own, self.trained, self.seed = space, own, trained, seed
        self.earlier = tuple(source for source, _ in earlier)
        self.rank = np.argsort(order)
        lengths = np.array([len(a.values) for a in space.axes], np.int64)
        ordered = np.array([a.ordered for a in space.axes], np.bool_)
        self.alike = Alike(lengths, ordered, (_SHORT, *(doubt for _, doubt in earlier)))
        self._memo: tuple[Any, tuple[Belief, ...]] | None = None

    def choose(self, seen: Seen, prices: Prices, scales: Sequence[Scale], objectives: int, screens: bool) -> Choice:
        """The next step. The first row is the baseline, which is measured before anything is chosen. `scales`: the objectives first, so
        many, then the figures that only have a limit.
        """
        taken = {*seen.done, *seen.busy, *seen.over}
        left = np.array([row for row in range(self.own) if row not in taken], np.int64)
        if not len(left):
            return Choice(None, found=self.found(replace(seen, busy=()), scales, objectives), soon=1.0)
        if left[0] == 0:
            return Choice(0 if np.isfinite(prices.alone()[0]) else None)
        if 0 not in seen.done:
            return Choice(None)
        beliefs = self._believed(seen, scales)
        drawn = _Drawn(self, seen, scales, objectives, beliefs, left)
        hopeless = self._hopeless(seen, drawn) if screens else {}
        found, soon = drawn.found(), drawn.soon()
        free = np.array([row not in hopeless and row not in seen.busy_short for row in left.tolist()])
        if not free.any():
            return Choice(None, False, hopeless, found, soon)
        ready = free & ~np.isin(left, np.array([*seen.last], np.int64))
        row, in_short = self._best(seen, prices, drawn, np.flatnonzero(ready if ready.any() else free), screens)
        return Choice(row, in_short, hopeless, found, soon)

    def found(self, seen: Seen, scales: Sequence[Scale], objectives: int) -> float | None:
        """As a choice says it; None before the baseline is measured."""
        left = np.array([row for row in range(self.own) if row not in {*seen.done, *seen.busy, *seen.over}], np.int64)
        if 0 not in seen.done:
            return None
        return _Drawn(self, seen, scales, objectives, self._believed(seen, scales), left).found() if len(left) else 1.0

    def _believed(self, seen: Seen, scales: Sequence[Scale]) -> tuple[Belief, ...]:
        key = (tuple(sorted((r, t.state) for r, t in seen.done.items())), tuple(sorted(seen.short)), tuple(scales))
        if self._memo is None or self._memo[0] != key:
            own = Source(seen.done, seen.done.get(0))
            others = (Source(seen.short, seen.short.get(0)), *self.earlier)
            evidence = [
                told(s, self.space.codes, own, others, lambda row: bool(self.trained[row]), self.expected(s))
                for s in scales
            ]
            units = [_unit(s, values) for s, (_, values, _) in zip(scales, evidence, strict=True)]
            self._memo = key, tuple(believed(self.alike, *one, unit) for one, unit in zip(evidence, units, strict=True))
        return self._memo[1]

    def expected(self, scale: Scale) -> Floats:
        """What is expected of each row (n,) before anything is measured, beside the baseline."""
        return np.zeros(len(self.trained)) if self.guesses is None else self.guesses.of_metric(scale)

    def _best(
        self, seen: Seen, prices: Prices, drawn: _Drawn, some: npt.NDArray[np.intp], screens: bool
    ) -> tuple[int | None, bool]:
        """A row, None where none can be paid for, and whether it is to be seen in short: what promises most for its price."""
        # First a few that train nothing: they are cheap, and what a quantization does to the network it does, about, to its offspring.
        cheap = ~self.trained[drawn.left[some]] & (drawn.gain[some] > 0) & np.isfinite(prices.alone()[drawn.left[some]])
        if cheap.any() and len(seen.done) + len(seen.busy) <= _FIRST:
            some = some[cheap]
        rows = drawn.left[some]
        full_alone, short_alone = prices.alone()[rows], prices.alone(in_short=True)[rows]
        may_short = np.array([screens and row not in seen.short and row not in seen.closed for row in rows.tolist()])
        may_short &= np.isfinite(short_alone)
        rank = self.rank[rows]
        gain, chance = drawn.gain[some], drawn.chance[some]
        if not (gain > 0).any():
            gain = drawn.nearest()[some]
        gains_of = np.zeros(self.own)
        gains_of[rows] = gain
        full, short_first, rest = (each[rows] for each in prices.per_gain(gains_of, drawn.together))
        in_full = np.where(np.isfinite(full_alone), 1 / np.maximum(full, LEAST), -1.0)
        first = np.where(may_short, 1 / np.maximum(short_first + chance * rest, LEAST), -1.0)
        best = int(np.lexsort((rank, -np.maximum(in_full, first)))[0])
        if max(in_full[best], first[best]) < 0:
            return None, False
        return int(rows[best]), bool(first[best] > in_full[best])

    def _hopeless(self, seen: Seen, drawn: _Drawn) -> dict[int, Hopeless]:
        found = {}
        for place, row in enumerate(drawn.left.tolist()):
            if row in seen.short and row not in seen.busy_short and drawn.chance[place] <= HOPELESS:
                found[row] = drawn.why_not(place)
        return found


def _unit(scale: Scale, values: Floats) -> float:
    """How much options are expected to make of a figure: 1 of logarithms and log-odds, of others what they made so far."""
    if scale.kind != "plain":
        return 1.0
    return float(np.ptp(values)) or abs(float(values[0])) or 1.0


class _Drawn:
    """Figures of the recipes that are left, drawn from what is believed, and what they would add."""

    def __init__(
        self, gain: Gain, seen: Seen, scales: Sequence[Scale], objectives: int, beliefs: Sequence[Belief], left: Ints
    ) -> None:
        self.left, self.scales, self.count = left, scales, objectives
        self.chances = np.random.default_rng([gain.seed, len(seen.done), len(seen.short)])
        codes = gain.space.codes
        guessed = [gain.expected(s) for s in scales]
        self.believed = [
            (g[left] + mean, sd) for g, (mean, sd) in zip(guessed, (b.at(codes[left]) for b in beliefs), strict=True)
        ]
        done = [t for _, t in sorted(seen.done.items())]
        self.done_rows = np.array(sorted(seen.done), np.int64)
        self.measured = np.array([[s.of(t) for s in scales] for t in done]).reshape(len(done), len(scales))
        busy = np.array(sorted(seen.busy), np.int64)
        if len(busy):
            # As if what is under way came out as expected.
            expected = np.array([g[busy] + b.at(codes[busy])[0] for g, b in zip(guessed, beliefs, strict=True)]).T
            self.front_of = np.vstack([self.measured, expected])
        else:
            self.front_of = self.measured
        self._corners()
        points, kept = self._points(self.front_of)
        self.front = points[kept]
        self.measured_front = points[: len(done)][kept[: len(done)]]
        spread = [(mean[:, None] + sd[:, None] * self._normals(DRAWS)) for mean, sd in self.believed]
        every, is_kept = self._points(np.stack(spread, axis=-1).reshape(-1, len(scales)))
        self.volume = dominance.hypervolume(self.front, [True] * self.count, np.zeros(self.count))
        more = (gains(every, self.front) * is_kept).reshape(len(left), DRAWS)
        self.gain = more.mean(axis=1)
        self.joint = [self._points(self._at_once()) for _ in range(_JOINT)]
        self.chance = (more > _NOTHING * max(self.volume, _NOTHING)).mean(axis=1)

    def _normals(self, count: int) -> Floats:
        """Standard normal numbers, evenly over the distribution, in another order for each figure."""
        from scipy.special import ndtri

        return self.chances.permutation(ndtri((np.arange(count) + 0.5) / count))

    def _at_once(self) -> Floats:
        """Figures of all recipes that are left, drawn together (left, scales): how far off what is believed is, is half common to all."""
        common, own = math.sqrt(_COMMON), math.sqrt(1 - _COMMON)
        drawn = []
        for mean, sd in self.believed:
            chances = common * self.chances.standard_normal() + own * self.chances.standard_normal(len(mean))
            drawn.append(mean + sd * chances)
        return np.stack(drawn, axis=-1)

    def _corners(self) -> None:
        """The worst and the best of each objective that is measured or expected: the volume is counted from the one, in shares of the
        way.
        """
        self.worst, self.best = np.zeros(self.count), np.ones(self.count)
        for i, scale in enumerate(self.scales[: self.count]):
            values = scale.back(
                np.concatenate([self.measured[:, i][np.isfinite(self.measured[:, i])], self.believed[i][0]])
            )
            low, high = float(values.min()), float(values.max())
            self.worst[i], self.best[i] = (low, high) if scale.maximise else (high, low)
            if low == high:
                self.best[i] = self.worst[i] + (1.0 if scale.maximise else -1.0)

    def _points(self, scaled: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Figures (n, scales) -> places between worst and best (n, objectives), and whether all limits are kept."""
        kept = np.asarray(np.isfinite(scaled).all(axis=1), np.bool_)
        places = np.zeros((len(scaled), self.count))
        for i, scale in enumerate(self.scales):
            values: Floats = scale.back(np.nan_to_num(scaled[:, i]))
            if scale.limit is not None:
                # Signs turned, so that more is better of each.
                sign = 1.0 if scale.maximise else -1.0
                kept = np.asarray(kept & (sign * values >= sign * scale.limit), np.bool_)
            if i < self.count:
                # Whoever believes in wonders would look for them alone.
                places[:, i] = np.minimum((values - self.worst[i]) / (self.best[i] - self.worst[i]), _WONDER)
        return places, kept

    def found(self) -> float | None:
        """The volume that is measured as a share of what is expected of all recipes together; None where neither anything is found nor any
        draw expects it, as within limits that nothing keeps so far: that is not to have found all.
        """
        return self._share(dominance.hypervolume(self.measured_front, [True] * self.count, np.zeros(self.count)))

    def soon(self) -> float | None:
        """As `found`, with what is under way as expected."""
        return self._share(self.volume)

    def _share(self, volume: float) -> float | None:
        return None if self.expected <= 0 else min(1.0, volume / self.expected)

    @cached_property
    def expected(self) -> float:
        """The volume of all recipes together."""
        return self.volume + self.together(self.left)

    def together(self, rows: Ints) -> float:
        """What some of the recipes that are left would add together, on the mean of joint draws."""
        at = np.searchsorted(self.left, rows)
        if len(at) > _MOST:
            at = at[np.argsort(-self.gain[at], kind="stable")[:_MOST]]
        up, zero, whole = [True] * self.count, np.zeros(self.count), []
        for points, kept in self.joint:
            some = points[at][kept[at]]
            whole.append(dominance.hypervolume(np.vstack([self.front, some]), up, zero))
        return float(np.mean(whole)) - self.volume

    def nearest(self) -> Floats:
        """Where no draw adds anything: how likely each recipe keeps the limits, or else how near it comes to that; positive."""
        from scipy.special import log_ndtr

        score = np.zeros(len(self.left))
        for scale, (mean, sd) in zip(self.scales, self.believed, strict=True):
            if scale.limit is not None:
                off = (mean - scale.to(scale.limit)) / sd
                score += log_ndtr(off if scale.maximise else -off)
        near: Floats = np.exp(score - score.max()) + 1e-12
        return near

    def why_not(self, place: int) -> Hopeless:
        """Why one of the recipes that are left is hopeless: what it would come to, and who is better in every expected figure."""
        scale, (mean, sd) = self.scales[0], (self.believed[0][0][place], self.believed[0][1][place])
        low, value, high = scale.back(np.array([mean - 2 * sd, mean, mean + 2 * sd])).tolist()
        expected, _ = self._points(np.array([[m[place] for m, _ in self.believed]]))
        points, kept = self._points(self.measured)
        beats = kept & (points >= expected[0]).all(axis=1)
        better = None
        if beats.any():
            # Of several that are better, the one that answers best.
            better = int(self.done_rows[np.flatnonzero(beats)[np.argmax(points[beats, 0])]])
        return Hopeless(low, value, high, better, float(self.chance[place]))
