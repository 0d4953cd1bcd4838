"""One number of a trial, by the key of its metric."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.metrics import METRICS, SCENARIO_METRICS, SHORT_PARTS, is_score, score_part
from engine.trials.evidence import Interval, Score
from engine.trials.slices import Slices, WorstSlice
from engine.trials.trial import Trial


def metric_interval(trial: Trial, key: str, device: str = "host") -> Interval | float | None:
    """One number of a trial in base units (share, bytes, ms, mJ, nats), with its interval where it has one; None where not measured.

    For another device than the host, `latency_ms` and `energy_mj` are that profile's projections. On the host the interval of
    `latency_ms` is that of the ratio to the baseline, which is how it was measured.
    """
    if trial.stated:
        return trial.stated.value(key, device)
    projection, accuracy = trial.projections.get(device), trial.accuracy
    if key in SCENARIO_METRICS:
        per_million = projection.per_million if projection else None
        return getattr(per_million, SCENARIO_METRICS[key]) if per_million else None
    if key == "energy_mj":
        energy = projection.energy_mj if projection else None
        return Interval(energy.value, energy.low, energy.high) if energy else None
    if key == "latency_ms":
        if device != "host":
            return projection.latency_ms if projection else None
        ratio, p50 = trial.latency_ratio, trial.latency_ms.p50 if trial.latency_ms else None
        if p50 is None or ratio is None:
            return p50
        return Interval(p50, p50 * ratio.low / ratio.value, p50 * ratio.high / ratio.value)
    if is_slice(key):
        return slice_interval(trial.slices, key, not trial.recipe.steps)
    if is_score(key):
        return score_interval(trial.score, key, not trial.recipe.steps)
    if key == "accuracy":
        return Interval(accuracy.value, accuracy.low, accuracy.high) if accuracy else None
    if key in {"vs_baseline", "worst_class_drop"} and trial.quality and not trial.recipe.steps:
        return 0.0
    if key == "vs_baseline":
        return accuracy.vs_baseline if accuracy else None
    if trial.quality and key in trial.quality.intervals:
        return trial.quality.intervals[key]
    if key == "worst_class_drop":
        return trial.quality.worst_class.drop if trial.quality and trial.quality.worst_class else None
    for part in (trial.quality, trial.fidelity):
        if key in getattr(type(part), "__dataclass_fields__", ()):
            found: Interval | float | None = getattr(part, key)
            return found
    return getattr(trial, key, None)


FAITHFUL = ("accuracy", "agreement", "relative_error")
"""What says how good a trial is where its sweep has no metric of its own: the first of these that there is."""


def judged_by(trial: Trial) -> str:
    """The metric that says how good one trial is; see `Trials.judged_by`, which says it of many."""
    if trial.score is not None:
        return trial.score.key
    return next((key for key in FAITHFUL if metric_value(trial, key) is not None), FAITHFUL[0])


def own_metrics(score_key: str | None, sliced_by: str | None = None) -> tuple[str, ...]:
    """The keys of what a sweep has of its own: its metric and that one's change against the baseline, and the worst of its slices; none
    without either. `sliced_by`: what slices are told by, None without any.
    """
    own = () if score_key is None else (score_key, score_part(score_key, "score_change"))
    return own if sliced_by is None else (*own, *slice_metrics(sliced_by))


def in_order(own: Iterable[str]) -> tuple[str, ...]:
    """The keys of all metrics that trials may have: the sweep's own first, those of its slices where those of classes are."""
    keys = list(dict.fromkeys([*(k for k in own if not is_slice(k)), *METRICS]))
    after = keys.index("worst_class_drop") + 1
    return tuple(keys[:after] + [k for k in dict.fromkeys(own) if is_slice(k)] + keys[after:])


def slice_metrics(sliced_by: str) -> tuple[str, str]:
    """The keys of the worst slice, and of the largest drop of a slice, of a number."""
    return score_part(sliced_by, "slice_worst"), score_part(sliced_by, "slice_drop")


def is_slice(key: str) -> bool:
    """Whether a key is of the worst of some slices."""
    return key.partition(":")[0] in SHORT_PARTS


def worst_slice(slices: Slices | None, key: str) -> WorstSlice | None:
    """The slice that a key made by `slice_metrics` is about, where the slices are told by that."""
    if slices is None or key not in slice_metrics(slices.key):
        return None
    return slices.worst if key == slice_metrics(slices.key)[0] else slices.worst_drop


def slice_interval(slices: Slices | None, key: str, is_baseline: bool) -> Interval | float | None:
    """One number of a trial's slices, where it is the one of the key; no slice of the baseline dropped."""
    found = worst_slice(slices, key)
    if found is None and is_baseline and slices is not None and slices.worst and key == slice_metrics(slices.key)[1]:
        return 0.0
    return found.interval if found else None


def score_interval(score: Score | None, key: str, is_baseline: bool) -> Interval | float | None:
    """One number of a trial's own metric, where that is the one of the key."""
    if score is None or key not in own_metrics(score.key):
        return None
    if key == score.key:
        return Interval(score.value, score.low, score.high)
    return 0.0 if is_baseline else score.vs_baseline


def metric_value(trial: Trial, key: str, device: str = "host") -> float | None:
    """One number of a trial in base units, None where not measured; see `metric_interval`."""
    found = metric_interval(trial, key, device)
    return found.value if isinstance(found, Interval) else found


def measured_metrics(trials: Sequence[Trial], device: str = "host") -> tuple[str, ...]:
    """The keys of the metrics that some trial has, as `in_order`."""
    own = own_metrics(
        next((t.score.key for t in trials if t.score), None), next((t.slices.key for t in trials if t.slices), None)
    )
    return tuple(k for k in in_order(own) if any(metric_value(t, k, device) is not None for t in trials))
