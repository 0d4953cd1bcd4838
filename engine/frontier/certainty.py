"""How sure a choice is: who might be on the front, how sure its knee and the recommendation are, and how much picking the best flatters.

Every trial's numbers are drawn again and again as they might have come out, with a fixed seed, and the choice is made anew for each draw.

- Accuracy: the test images are drawn with replacement (Efron 1979), the same ones for all trials, so what trials have in common
  cancels as it does in a paired test. Where right and wrong per image are not stored: normal, from each trial's own interval.
- Latency on the host: normal, from the interval of the ratio to the baseline; the host's energy is made of it and moves with it.
- Other numbers with an interval, a spec's own metric among them: normal, from the interval.
- Sizes and counts are exact. What a profile estimates for another device is off by much the same for all trials, which changes no order:
  it is not drawn.

The cost: `DRAWS` fronts of those trials that have any chance. Where more than 1,000 have one in principle, 10 draws tell how far out the
front comes, and what would not come there in any of them, were it three standard deviations better on both axes, is left out. That is
an approximation: with sweeps of 100,000 made-up trials, some that were left out were on the front in up to 7 % of the draws over all of
them. Of more than 600 that are left there are fewer draws, 100 at the least, so that shares of 5 % are known to 2 points. Above 400
trials accuracy is drawn from the intervals. So 100,000 trials take some tenths of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine.errors import NotFoundError
from engine.frontier import redraws
from engine.frontier.columns import Rows, Trials
from engine.frontier.dominance import Bools, Floats
from engine.frontier.front import best_row, front_rows, objective_points, within_limits
from engine.frontier.joined import is_imported, without_points
from engine.metrics import HOST_TIMES, METRICS
from engine.quality.predictions import load_right
from engine.quality.statistics import Z_95
from engine.trials.trial import Trial

DRAWS = 500
"""Shares are known to 0.02 (standard error at one half)."""
FEWEST_DRAWS = 100
MOST_ROWS_DRAWN = 300_000
MOST_COMPARED = 1_000
MOST_VECTORS = 400
TIED_SHARE = 0.05
"""A trial that is on the front in so many draws, though not by its values, is tied with it."""
_SEED = 20261123
_FROM_IMAGES = frozenset({"accuracy", "vs_baseline"})
# Two and a half half-widths of a 95 % interval each way: a trial left out would have to come out better, against one that surely beats
# it, by seven standard deviations of their difference, or five where only one of the two is uncertain. No draw comes near.
_REACH = 2.5
_PILOT_DRAWS = 10
_FAR = 3.0

Find = Callable[[str], Path]
"""An artifact's name -> its local path; raises NotFoundError."""


@dataclass(frozen=True)
class Certainty:
    """Shares of draws, in [0, 1], trials by id.

    `p_front`: how often a trial is on the front; those left out never are. `tied`: trials that are not on it by their values but in at
    least 5 % of the draws. `groups`: for a trial of the front, the tied ones that it beats by value but not in 95 % of the draws.
    `knee`, `best`: how often the knee, and the most accurate trial within the limits, are the same. `optimism`: by how much the accuracy
    of the best, as a share, is expected to be too high because it was picked among `candidates` by the images that it is reported on;
    None where that cannot be told.
    """

    draws: int
    p_front: Mapping[str, float] = field(default_factory=dict)
    tied: frozenset[str] = frozenset()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    knee: float | None = None
    best: float | None = None
    optimism: float | None = None
    candidates: int = 0


def certainty(
    trials: Sequence[Trial],
    objectives: Sequence[str],
    limits: Mapping[str, float],
    device: str = "host",
    find: Find | None = None,
) -> Certainty:
    """How sure the front, its knee and the best under `limits` are, among the finished trials that keep the limits.

    `find` leads to the stored predictions; without it, or where they are gone, accuracy is drawn from its interval.
    """
    done = Trials.of(trials).done
    directions = [METRICS[k].maximise for k in objectives]
    within = within_limits(done, limits, device)
    kept = done.take(within)
    possible = kept.take(_have_a_chance(kept, objectives, directions, device))
    if len(possible) > MOST_COMPARED and len(objectives) == 2:
        possible = possible.take(_near_the_front(possible, objectives, directions, device))
    images = _images(done, find)
    draws = _draw(possible, objectives, device, images)
    rows, knee = front_rows(possible, objectives, device)
    shares, same_knee = redraws.front_and_knee_shares(draws, directions, knee)
    beaten = np.ones(len(possible), np.bool_)
    beaten[rows] = False
    tied = np.flatnonzero(beaten & (shares >= TIED_SHARE))
    best, flattery, candidates = _best(done, within, limits, device, images)
    ids = possible.ids
    return Certainty(
        draws=len(draws),
        p_front={ids[i]: float(shares[i]) for i in np.flatnonzero(shares)},
        tied=frozenset(ids[i] for i in tied),
        groups=_groups(draws, possible.points(objectives, device), directions, ids, np.sort(rows), tied),
        knee=None if knee is None else same_knee,
        best=best,
        optimism=flattery,
        candidates=candidates,
    )


def _have_a_chance(trials: Trials, objectives: Sequence[str], directions: list[bool], device: str) -> Bools:
    """Which trials have every objective measured and any chance to be on the front."""
    points = objective_points(trials, objectives, device)
    spread = np.stack([_deviations(trials, k, device) for k in objectives], axis=1)
    return redraws.never_beaten_for_sure(points, _REACH * Z_95 * spread, directions)


def _near_the_front(trials: Trials, objectives: Sequence[str], directions: list[bool], device: str) -> Bools:
    """Which trials the fronts of a few draws leave a chance, were they themselves to come out three standard deviations better."""
    points = objective_points(trials, objectives, device)
    favour = np.stack([_deviations(trials, k, device) for k in objectives], axis=1) * np.where(directions, 1.0, -1.0)
    draws = _draw(trials, objectives, device, None, _PILOT_DRAWS)
    return redraws.reached(draws, points + _FAR * favour, directions)


def _groups(
    draws: Floats, points: Floats, directions: list[bool], ids: Sequence[str], front: Rows, tied: Rows
) -> dict[str, tuple[str, ...]]:
    groups = {}
    for winner in front:
        by_value = redraws.beaten_shares(points[None, tied], points[None, winner], directions)
        beaten = tied[by_value > 0]
        shares = redraws.beaten_shares(draws[:, beaten], draws[:, winner], directions)
        if close := tuple(ids[i] for i in beaten[shares < 1 - TIED_SHARE]):
            groups[ids[winner]] = close
    return groups


def _best(
    done: Trials, within: Bools, limits: Mapping[str, float], device: str, images: _Images | None
) -> tuple[float | None, float | None, int]:
    """How sure the best under the limits is, how much its accuracy flatters, and among how many it was picked."""
    kept = np.flatnonzero(within)
    best = best_row(done.take(kept), np.ones(len(kept), np.bool_), device)
    if best is None or np.isnan(done.merit()[kept[best]]):
        return None, None, 0
    rows = np.array(list(dict.fromkeys((int(kept[best]), *_best_of(done).tolist()))), np.intp)
    candidates, judged_by = done.take(rows), done.judged_by
    draws = _draw(candidates, [judged_by, *limits], device, images)
    allowed = np.ones(draws.shape[:2], np.bool_)
    for column, (key, limit) in enumerate(limits.items(), 1):
        values = draws[:, :, column]
        allowed &= values >= limit if METRICS[key].maximise else values <= limit
    # The smaller file on a tie: less than one image's worth of accuracy.
    sizes = np.argsort(np.argsort(np.nan_to_num(candidates.numbers("size_bytes").value)))
    sign = 1.0 if METRICS[judged_by].maximise else -1.0
    merit = np.where(allowed, sign * draws[:, :, 0] - 1e-12 * sizes, -np.inf)
    share = float(((merit.argmax(axis=1) == 0) & allowed[:, 0]).mean())
    picked = candidates.take(within[rows])
    columns = images.columns(picked) if images else None
    if images is None or columns is None or judged_by != "accuracy":
        return share, None, len(picked)
    flattery = _optimism(images.overall[columns], images.drawn[:, columns], images.left_out[:, columns])
    return share, flattery, len(picked)


def _best_of(trials: Trials) -> Rows:
    """Up to 400 rows, the best first."""
    merit = trials.merit()
    rows = np.argsort(-merit, kind="stable")[: int((~np.isnan(merit)).sum())]
    return rows[:MOST_VECTORS]


def optimism(rights: Bools, draws: int = DRAWS) -> float:
    """By how much the accuracy of the best of some trials is too high for having been picked: a share, never negative.

    `rights` (trials, images): right or wrong on the same images. In each draw the best is picked on the images drawn and scored on those
    not drawn (BBC-CV: Tsamardinos, Greasidou, Borboudakis 2018, Machine Learning 107:1895); what it scores less than on all images is
    what picking gave. Scores are taken from the mean of all trials, since how hard the images not drawn happen to be is not of interest.
    """
    return _optimism(rights.mean(axis=1), *bootstrap(rights, draws)) if len(rights) else 0.0


def _optimism(overall: Floats, drawn: Floats, left_out: Floats) -> float:
    """As `optimism`, from accuracies on all images (trials,), and on those drawn and not drawn (draws, trials)."""
    usable = np.isfinite(left_out).all(axis=1)
    if len(overall) < 2 or not usable.any():
        return 0.0
    drawn, left_out = drawn[usable], left_out[usable]
    scored = left_out[np.arange(len(drawn)), drawn.argmax(axis=1)] - left_out.mean(axis=1)
    return max(0.0, float(overall.max() - overall.mean() - scored.mean()))


def bootstrap(rights: Bools, draws: int = DRAWS) -> tuple[Floats, Floats]:
    """Accuracies on images drawn with replacement, and on those that were not drawn: both (draws, trials), NaN where all were drawn.

    `rights` is (trials, images). The same images are drawn for all trials; the seed is fixed.
    """
    n = rights.shape[1]
    rng = np.random.default_rng(_SEED)
    times = np.empty((draws, n), np.float32)
    for row in times:
        row[:] = np.bincount(rng.integers(0, n, n), minlength=n)
    # What all trials have right, or all wrong, is most of a test set and the same for each of them.
    always = rights.all(axis=0)
    differ = np.flatnonzero(rights.any(axis=0) & ~always)
    columns = rights[:, differ].T.astype(np.float32)
    left_out = (times == 0).astype(np.float32)

    def share(weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Floats:
        hits = weights[:, differ] @ columns + weights[:, always].sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return np.asarray(hits / weights.sum(axis=1, keepdims=True), np.float64)

    return share(times), share(left_out)


def _draw(
    trials: Trials,
    keys: Sequence[str],
    device: str,
    images: _Images | None,
    count: int | None = None,
    seed: int = _SEED,
) -> Floats:
    """The numbers of trials as they might have come out: (draws, trials, keys)."""
    if count is None:
        count = int(np.clip(MOST_ROWS_DRAWN // max(1, len(trials)), FEWEST_DRAWS, DRAWS))
    rng = np.random.default_rng(seed)
    draws = np.repeat(objective_points(trials, keys, device)[None], count, axis=0)
    clock: Floats | None = None
    # Nobody knows how an imported point might have come out: it stays where it is.
    here = ~is_imported(trials)
    columns = images.columns(trials.take(here)) if images else None
    for column, key in enumerate(keys):
        if key in _FROM_IMAGES and images is not None and columns is not None:
            moved = (images.drawn - images.overall)[:count]
            # The baseline moves with the same images; where it is unknown, what is left are the differences between trials.
            less = moved[:, [images.baseline]] if key == "vs_baseline" and images.baseline is not None else 0.0
            draws[:, here, column] += moved[:, columns] - less
            continue
        deviations = _deviations(trials, key, device)
        if not deviations.any():
            continue
        if key not in HOST_TIMES:
            draws[:, :, column] += rng.standard_normal((count, len(trials))) * deviations
            continue
        # One draw of the host's clock for all that is made of it.
        clock = rng.standard_normal((count, len(trials))) if clock is None else clock
        draws[:, :, column] += clock * deviations
    return draws


def _deviations(trials: Trials, key: str, device: str) -> Floats:
    """The standard deviation that a normal interval of each number stands for; 0 where it is exact, or off by the same for all trials."""
    found = trials.numbers(key, device)
    if device != "host" and key in {"latency_ms", "energy_mj"}:
        return np.zeros(len(trials))
    if key == "energy_mj":
        ratio = trials.numbers("latency_ratio")
        return np.nan_to_num(found.value * (ratio.high - ratio.low) / ratio.value / (2 * Z_95))
    return np.nan_to_num((found.high - found.low) / (2 * Z_95))


@dataclass(frozen=True)
class _Images:
    """Accuracies on all images (trials,), on images drawn and on those not drawn (draws, trials), and which trials these are."""

    names: tuple[str, ...]
    overall: Floats
    drawn: Floats
    left_out: Floats
    baseline: int | None

    def columns(self, trials: Trials) -> list[int] | None:
        """The columns of trials; None unless all are among them."""
        place = {name: i for i, name in enumerate(self.names)}
        if len(trials) > len(place):
            return None
        return [place[i] for i in trials.ids] if all(i in place for i in trials.ids) else None


def _images(trials: Trials, find: Find | None) -> _Images | None:
    """Draws of the test images for up to 400 trials; None where right or wrong is not stored for all, or not of the same images."""
    chosen = without_points(trials.take(_best_of(trials)))
    if find is None or not len(chosen) or np.isnan(chosen.numbers("accuracy").value).any():
        return None
    try:
        paths = tuple(find(name or "") for name in chosen.fact("predictions"))
    except NotFoundError:
        return None
    found = _bootstrapped(paths)
    if found is None:
        return None
    return _Images(chosen.ids, *found, chosen.baseline)


@lru_cache(maxsize=4)
def _bootstrapped(paths: tuple[Path, ...]) -> tuple[Floats, Floats, Floats] | None:
    """Artifacts never change, and every view of a sweep asks for the same ones."""
    found = [load_right(path) for path in paths]
    rights = [r for r in found if r is not None and len(r)]
    if len(rights) < len(found) or len({len(r) for r in rights}) > 1:
        return None
    together = np.array(rights)
    return (together.mean(axis=1), *bootstrap(together))
