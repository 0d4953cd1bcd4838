"""How the numbers of the same recipes changed from one run to another: each change with its interval, its test, and what it is then.

- What a sweep is judged by: in pairs where both keep what was answered to the same samples (Tango's interval and McNemar's test, or the
  metric's own of each sample), otherwise as two measurements that know nothing of each other, by the distances to the ends of both
  intervals (MOVER: Zou and Donner 2008, Statistics in Medicine 27:1693).
- File size is exact.
- Latency is compared as the ratio to each run's own baseline, which was timed in turns, on one kind of machine, timed alike.

A change is one beyond a tolerance, told by a test at 5 % that is corrected for the number of recipes (Holm 1979): of a hundred recipes
that are as they were, five would otherwise be told as changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scipy.special import ndtr

from engine.errors import NotFoundError, StepError
from engine.explain.compare import holm
from engine.frontier.certainty import Find
from engine.frontier.columns import Trials
from engine.frontier.estimates import RATIOS, Estimate
from engine.metrics import METRICS
from engine.quality.predictions import Predictions
from engine.quality.same_samples import load_answers, same_labels
from engine.quality.scored import Scored, score
from engine.quality.statistics import Z_95, mcnemar_midp, paired_difference
from engine.quality.values import Values
from engine.trials.evidence import TIED_P, Interval
from engine.trials.measurements import Machine
from engine.trials.metric_values import metric_interval
from engine.trials.trial import Trial

Verdict = Literal["worse", "better", "same", "not told apart"]
Pairs = Sequence[tuple[Trial, Trial]]
"""Then and now of each recipe, both finished."""


@dataclass(frozen=True)
class Tolerance:
    """Changes that are none: `drop` of the metric in base units, `growth` of the file and `slower` of the time as shares."""

    drop: float = 0.0
    growth: float = 0.01
    slower: float = 0.05

    def of(self, key: str) -> float:
        """That of a metric, on the scale on which it is compared: a difference, or the logarithm of a ratio."""
        if key not in RATIOS:
            return self.drop
        return math.log1p(self.growth if key == "size_bytes" else self.slower)


@dataclass(frozen=True)
class Change:
    """One metric of one recipe, then and now in base units; `estimate` is the difference or ratio with its 95 % interval.

    `paired`: on the same samples. `p` is that there is no change beyond the tolerance, None of what is exact; `p_holm` the same for as
    many recipes as were compared.
    """

    key: str
    then: float
    now: float
    estimate: Estimate
    paired: bool
    p: float | None
    p_holm: float | None
    verdict: Verdict


def changes_of(
    both: Pairs, find_then: Find | None, find_now: Find | None, tolerance: Tolerance
) -> tuple[dict[str, tuple[Change, ...]], tuple[str, ...]]:
    """Every change that can be told of recipes that both runs have finished, by the id of now; and of what is not compared why."""
    why: list[str] = []
    found: dict[str, tuple[Change, ...]] = {b.id: () for _, b in both}
    for key, changes in (
        _judged(both, find_then, find_now, tolerance, why),
        ("size_bytes", _sizes(both)),
        ("latency_ratio", _times(both, tolerance, why)),
    ):
        for name, change in _corrected(changes, tolerance.of(key)).items():
            found[name] += (change,)
    return found, tuple(dict.fromkeys(why))


def same_hardware(a: Machine | None, b: Machine | None) -> bool:
    """Whether two hosts are of one kind; versions of what runs on them may differ, which is what may have changed a time."""
    return bool(a and b) and all(getattr(a, n) == getattr(b, n) for n in ("cpu", "cores", "flags", "gpus"))


def _judged(
    both: Pairs, find_then: Find | None, find_now: Find | None, tolerance: Tolerance, why: list[str]
) -> tuple[str, dict[str, Change]]:
    """What the runs are judged by; the key is empty where that is not one thing."""
    if not both:
        return "", {}
    earlier, key = (Trials.of([pair[side] for pair in both]).judged_by for side in (0, 1))
    if earlier != key:
        why.append(
            f"The runs are judged by different metrics ({METRICS[earlier].name} then, {METRICS[key].name} now), which are not compared"
        )
        return "", {}
    found: dict[str, Change] = {}
    apart = 0
    for a, b in both:
        change, other_samples = _quality(key, a, b, find_then, find_now, tolerance)
        apart += other_samples
        if change is not None:
            found[b.id] = change
    if apart:
        why.append(
            f"The test samples are not the same as then (of {apart} of {len(both)} recipes their labels or their number differ): "
            f"{METRICS[key].name} is compared as on two sets of samples, and a difference may be that of the data"
        )
    return key, found


def _quality(
    key: str, a: Trial, b: Trial, find_then: Find | None, find_now: Find | None, tolerance: Tolerance
) -> tuple[Change | None, bool]:
    """The change of what the runs are judged by, and whether both were counted on other samples."""
    old, new = _with_ends(metric_interval(a, key)), _with_ends(metric_interval(b, key))
    if old is None or new is None:
        return None, False
    paths = _path(find_then, a), _path(find_now, b)
    other_samples = False
    if a.predictions and a.predictions == b.predictions:
        # The very same answers, found under the same name: nothing was run again, or all came out alike.
        return Change(
            key, old.value, new.value, Estimate(0.0, None, None, 1, exact=True), True, None, None, "same"
        ), False
    if key == "accuracy" and a.accuracy and b.accuracy:
        answers = [load_answers(p) if p else None for p in paths]
        if answers[0] is not None and answers[1] is not None:
            if same_labels(answers[0], answers[1]):
                low, high = paired_difference(answers[1][1], answers[0][1])[1:]
                estimate = Estimate(new.value - old.value, low, high, 1)
                p = mcnemar_midp(answers[1][1], answers[0][1])
                if tolerance.drop:
                    p = _p(estimate.value, low, high, tolerance.drop)
                return Change(key, old.value, new.value, estimate, True, p, None, "not told apart"), False
            other_samples = True
        elif a.accuracy.n != b.accuracy.n:
            other_samples = True
    elif a.score and b.score and paths[0] and paths[1]:
        change = _scored(key, a, b, _answers(paths[0], a), _answers(paths[1], b), tolerance)
        if change is not None:
            return change, False
        other_samples = a.score.n != b.score.n
    low, high = _mover(old, new)
    estimate = Estimate(new.value - old.value, low, high, 1)
    p = _p(estimate.value, low, high, tolerance.drop)
    return Change(key, old.value, new.value, estimate, False, p, None, "not told apart"), other_samples


def _scored(
    key: str, a: Trial, b: Trial, then: Scored | None, now: Scored | None, tolerance: Tolerance
) -> Change | None:
    """By what the sweep's own metric says of each sample; None where that is not kept, or not of as many samples."""
    if then is None or now is None or a.score is None or b.score is None or a.score.n != b.score.n:
        return None
    try:
        found = score(key, now, b.score.n, then)
    except StepError:
        return None
    if found.vs_baseline is None or (apart := found.vs_baseline) is None:
        return None
    p = _p(apart.value, apart.low, apart.high, tolerance.drop) if tolerance.drop else found.p_vs_baseline
    estimate = Estimate(apart.value, apart.low, apart.high, 1)
    return Change(key, a.score.value, b.score.value, estimate, True, p, None, "not told apart")


def _answers(path: Path, trial: Trial) -> Scored | None:
    kind = Values if trial.fidelity is not None and trial.fidelity.agreement is None else Predictions
    return kind.load(path).scored


def _path(find: Find | None, trial: Trial) -> Path | None:
    if find is None or trial.predictions is None:
        return None
    try:
        return find(trial.predictions)
    except NotFoundError:
        return None


def _with_ends(found: Interval | float | None) -> Interval | None:
    return Interval(found, found, found) if isinstance(found, float | int) else found


def _mover(old: Interval, new: Interval) -> tuple[float, float]:
    """The ends of the interval of new minus old, from those of each."""
    value = new.value - old.value
    low = value - math.hypot(new.value - new.low, old.high - old.value)
    return low, value + math.hypot(new.high - new.value, old.value - old.low)


def _p(value: float, low: float, high: float, tolerance: float = 0.0) -> float:
    """Two-sided p that a change is no more than the tolerance, by the half of its interval that lies towards none."""
    half = (value - low) if value > 0 else (high - value)
    beyond = abs(value) - tolerance
    if beyond <= 0:
        return 1.0
    return float(2 * ndtr(-beyond / (half / Z_95))) if half > 0 else 0.0


def _sizes(both: Pairs) -> dict[str, Change]:
    found = {}
    for a, b in both:
        if a.size_bytes and b.size_bytes:
            ratio = b.size_bytes / a.size_bytes
            exact = Estimate(ratio, None, None, 1, exact=True)
            found[b.id] = Change("size_bytes", a.size_bytes, b.size_bytes, exact, True, None, None, "same")
    return found


def _times(both: Pairs, tolerance: Tolerance, why: list[str]) -> dict[str, Change]:
    """The ratio to the baseline, against what it was then; of the baseline itself there is none."""
    found = {}
    for a, b in both:
        old, new = a.latency_ratio, b.latency_ratio
        if old is None or new is None or not a.recipe.steps or min(old.low, new.low) <= 0:
            continue
        if not same_hardware(a.machine, b.machine):
            names = " and now on ".join(t.machine.label if t.machine else "a machine that is not known" for t in (a, b))
            why.append(f"Times are not compared: then they were measured on {names}")
        elif (reason := _timed_otherwise(a, b)) is not None:
            why.append(f"Times are not compared: {reason}")
        else:
            logs = [Interval(math.log(i.value), math.log(i.low), math.log(i.high)) for i in (old, new)]
            low, high = _mover(*logs)
            value = logs[1].value - logs[0].value
            estimate = Estimate(math.exp(value), math.exp(low), math.exp(high), 1)
            p = _p(value, low, high, tolerance.of("latency_ratio"))
            found[b.id] = Change("latency_ratio", old.value, new.value, estimate, False, p, None, "not told apart")
    return found


_HOW = ("threads", "batch", "baseline_batch", "provider")


def _timed_otherwise(a: Trial, b: Trial) -> str | None:
    if a.timing is None or b.timing is None:
        return None
    return next(
        (
            f"{name.replace('_', ' ')} was {getattr(a.timing, name)} then and is {getattr(b.timing, name)} now"
            for name in _HOW
            if getattr(a.timing, name) != getattr(b.timing, name)
        ),
        None,
    )


def _corrected(changes: dict[str, Change], tolerance: float) -> dict[str, Change]:
    """With the correction for as many recipes, and what each is then."""
    tested = [name for name, c in changes.items() if c.p is not None]
    p = dict(zip(tested, holm([changes[n].p or 0.0 for n in tested]), strict=True))
    return {name: _judge(replace(c, p_holm=p.get(name)), tolerance) for name, c in changes.items()}


def _judge(change: Change, tolerance: float) -> Change:
    estimate = change.estimate
    moved = math.log(estimate.value) if change.key in RATIOS else estimate.value
    loss = moved if not METRICS[change.key].maximise else -moved
    if abs(loss) <= tolerance + 1e-12 or (estimate.exact and not moved):
        return replace(change, verdict="same" if estimate.exact else "not told apart")
    if not estimate.exact and (change.p_holm is None or change.p_holm >= TIED_P):
        return change
    return replace(change, verdict="worse" if loss > 0 else "better")
