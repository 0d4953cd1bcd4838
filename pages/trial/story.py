"""What stands behind the folded headings of the page Trial: the figures that say whether to unfold them."""

from __future__ import annotations

from collections.abc import Sequence

from engine.metrics import METRICS, is_score, text_of
from engine.trials.metric_values import measured_metrics, metric_value
from engine.trials.trial import Trial

_BREAKS = ("harmful_flip_rate", "worst_class_drop", "relative_error")


def breaks(trial: Trial) -> str:
    """The first three of the numbers that say how much a recipe breaks."""
    own = [k for k in measured_metrics([trial]) if is_score(k) and k.startswith(("score_change", "slice_drop"))]
    return "" if not trial.recipe.steps else _told(trial, (*own, *_BREAKS))


def costs(trial: Trial) -> str:
    """Latency, the ratio to the baseline's, and file size."""
    ratio = ("latency_ratio",) if trial.recipe.steps else ()
    return _told(trial, ("latency_ms", *ratio, "size_bytes"))


def layers(trial: Trial) -> str:
    """Parameters and operations."""
    return _told(trial, ("params", "macs"))


def _told(trial: Trial, keys: Sequence[str]) -> str:
    values = ((key, metric_value(trial, key)) for key in keys)
    found = [f"{METRICS[key].name} {text_of(key, value)}" for key, value in values if value is not None]
    return ", ".join(found[:3])
