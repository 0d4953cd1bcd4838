"""How sure a choice is: who might be on the front, how sure its knee and the recommendation are, and how much picking the best flatters.

Every trial's numbers are drawn again and again as they might have come out, with a fixed seed, and the choice is made anew for each draw.

- Accuracy: the test images are drawn with replacement (Efron 1979), the same ones for all trials, so what trials have in common
  cancels as it does in a paired test. Where right and wrong per image are not stored: normal, from each trial's own interval.
- Latency on the host: normal, from the interval of the ratio to the baseline; the host's energy is made of it and moves with it.
- Other numbers with an interval: normal, from the interval.
- Sizes and counts are exact. What a profile estimates for another device is off by much the same for all trials, which changes no order:
  it is not drawn.

The cost: `DRAWS` fronts of those trials that have any chance. Above 2,000 of them there are fewer draws, and above 400 accuracy is drawn
from the intervals, so that 10,000 trials still take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine import frontier
from engine.errors import NotFoundError
from engine.evidence import Interval
from engine.frontier import Bools, Floats
from engine.predictions import load_right
from engine.record import HOST_TIMES, METRICS, Trial, metric_interval
from engine.selection import best_under, find_front, objective_points, within_limits
from engine.statistics import Z_95

DRAWS = 500
"""Shares are known to 0.02 (standard error at one half)."""
FEWEST_DRAWS = 100
MOST_ROWS_DRAWN = 1_000_000
MOST_VECTORS = 400
TIED_SHARE = 0.05
"""A trial that is on the front in so many draws, though not by its values, is tied with it."""
_SEED = 20261123
_FROM_IMAGES = frozenset({"accuracy", "vs_baseline"})
# Four half-widths of a 95 % interval are eight standard deviations: no draw comes near.
_REACH = 4.0

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
    done = [t for t in trials if t.state == "done"]
    directions = [METRICS[k].maximise for k in objectives]
    kept = [t for t, ok in zip(done, within_limits(done, limits, device), strict=True) if ok]
    possible = _possible(kept, objectives, directions, device)
    images = _images(done, find)
    draws = _draw(possible, objectives, device, images)
    shares = frontier.front_shares(draws, directions)
    front = find_front(kept, objectives, device)
    ids = [t.id for t in possible]
    on_front = {t.id for t in front.trials}
    tied = [i for i, share in enumerate(shares) if share >= TIED_SHARE and ids[i] not in on_front]
    best, flattery, candidates = _best(done, kept, limits, device, images)
    return Certainty(
        draws=len(draws),
        p_front={name: float(share) for name, share in zip(ids, shares, strict=True) if share > 0},
        tied=frozenset(ids[i] for i in tied),
        groups=_groups(draws, objective_points(possible, objectives, device), directions, ids, sorted(on_front), tied),
        knee=None if front.knee is None else frontier.knee_share(draws, directions, ids.index(front.knee)),
        best=best,
        optimism=flattery,
        candidates=candidates,
    )


def _possible(trials: Sequence[Trial], objectives: Sequence[str], directions: list[bool], device: str) -> list[Trial]:
    """The trials that have every objective measured and any chance to be on the front."""
    points = objective_points(trials, objectives, device)
    spread = np.array([[_deviation(t, k, device) for k in objectives] for t in trials]).reshape(-1, len(objectives))
    kept = frontier.never_beaten_for_sure(points, _REACH * Z_95 * spread, directions)
    return [t for t, ok in zip(trials, kept, strict=True) if ok]


def _groups(
    draws: Floats, points: Floats, directions: list[bool], ids: list[str], front: Sequence[str], tied: list[int]
) -> dict[str, tuple[str, ...]]:
    groups = {}
    for name in front:
        winner = ids.index(name)
        by_value = frontier.beaten_shares(points[None, tied], points[None, winner], directions)
        beaten = [i for i, holds in zip(tied, by_value, strict=True) if holds]
        shares = frontier.beaten_shares(draws[:, beaten], draws[:, winner], directions)
        if close := tuple(ids[i] for i, share in zip(beaten, shares, strict=True) if share < 1 - TIED_SHARE):
            groups[name] = close
    return groups


def _best(
    done: Sequence[Trial], kept: Sequence[Trial], limits: Mapping[str, float], device: str, images: _Images | None
) -> tuple[float | None, float | None, int]:
    """How sure the best under the limits is, how much its accuracy flatters, and among how many it was picked."""
    best = best_under(kept, {}, device)
    if best is None or best.accuracy is None:
        return None, None, 0
    candidates = list({t.id: t for t in (best, *_most_accurate(done))}.values())
    draws = _draw(candidates, ["accuracy", *limits], device, images)
    allowed = np.ones(draws.shape[:2], np.bool_)
    for column, (key, limit) in enumerate(limits.items(), 1):
        values = draws[:, :, column]
        allowed &= values >= limit if METRICS[key].maximise else values <= limit
    # The smaller file on a tie: less than one image's worth of accuracy.
    sizes = np.argsort(np.argsort([t.size_bytes or 0 for t in candidates]))
    merit = np.where(allowed, draws[:, :, 0] - 1e-12 * sizes, -np.inf)
    share = float(((merit.argmax(axis=1) == 0) & allowed[:, 0]).mean())
    names = {t.id for t in kept}
    picked = [t for t in candidates if t.id in names]
    columns = images.columns(picked) if images else None
    if images is None or columns is None:
        return share, None, len(picked)
    flattery = _optimism(images.overall[columns], images.drawn[:, columns], images.left_out[:, columns])
    return share, flattery, len(picked)


def _most_accurate(trials: Sequence[Trial]) -> list[Trial]:
    """Up to 400 trials, the most accurate first."""
    measured = [(t.accuracy.value, t) for t in trials if t.accuracy]
    return [t for _, t in sorted(measured, key=lambda pair: -pair[0])][:MOST_VECTORS]


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


def _draw(trials: Sequence[Trial], keys: Sequence[str], device: str, images: _Images | None) -> Floats:
    """The numbers of trials as they might have come out: (draws, trials, keys)."""
    count = int(np.clip(MOST_ROWS_DRAWN // max(1, len(trials)), FEWEST_DRAWS, DRAWS))
    rng = np.random.default_rng(_SEED)
    draws = np.repeat(objective_points(trials, keys, device)[None], count, axis=0)
    # One draw of the host's clock for all that is made of it.
    clock = rng.standard_normal((count, len(trials)))
    columns = images.columns(trials) if images else None
    for column, key in enumerate(keys):
        if key in _FROM_IMAGES and images is not None and columns is not None:
            moved = (images.drawn - images.overall)[:count]
            # The baseline moves with the same images; where it is unknown, what is left are the differences between trials.
            less = moved[:, [images.baseline]] if key == "vs_baseline" and images.baseline is not None else 0.0
            draws[:, :, column] += moved[:, columns] - less
            continue
        deviation = np.array([_deviation(t, key, device) for t in trials])
        own = clock if key in HOST_TIMES else rng.standard_normal((count, len(trials)))
        draws[:, :, column] += own * deviation
    return draws


def _deviation(trial: Trial, key: str, device: str) -> float:
    """The standard deviation that a normal interval of this number stands for; 0 where it is exact, or off by the same for all trials."""
    found = metric_interval(trial, key, device)
    if not isinstance(found, Interval) or (device != "host" and key in {"latency_ms", "energy_mj"}):
        return 0.0
    if key == "energy_mj":
        ratio = trial.latency_ratio
        return found.value * (ratio.high - ratio.low) / ratio.value / (2 * Z_95) if ratio else 0.0
    return (found.high - found.low) / (2 * Z_95)


@dataclass(frozen=True)
class _Images:
    """Accuracies on all images (trials,), on images drawn and on those not drawn (draws, trials), and which trials these are."""

    names: tuple[str, ...]
    overall: Floats
    drawn: Floats
    left_out: Floats
    baseline: int | None

    def columns(self, trials: Sequence[Trial]) -> list[int] | None:
        """The columns of trials; None unless all are among them."""
        place = {name: i for i, name in enumerate(self.names)}
        return [place[t.id] for t in trials] if all(t.id in place for t in trials) else None


def _images(trials: Sequence[Trial], find: Find | None) -> _Images | None:
    """Draws of the test images for up to 400 trials; None where right or wrong is not stored for all, or not of the same images."""
    chosen = _most_accurate(trials)
    if find is None or not chosen:
        return None
    try:
        paths = tuple(find(t.predictions or "") for t in chosen)
    except NotFoundError:
        return None
    found = _bootstrapped(paths)
    if found is None:
        return None
    baseline = next((i for i, t in enumerate(chosen) if not t.recipe.steps), None)
    return _Images(tuple(t.id for t in chosen), *found, baseline)


@lru_cache(maxsize=4)
def _bootstrapped(paths: tuple[Path, ...]) -> tuple[Floats, Floats, Floats] | None:
    """Artifacts never change, and every view of a sweep asks for the same ones."""
    found = [load_right(path) for path in paths]
    rights = [r for r in found if r is not None and len(r)]
    if len(rights) < len(found) or len({len(r) for r in rights}) > 1:
        return None
    together = np.array(rights)
    return (together.mean(axis=1), *bootstrap(together))
