"""A file's answers to a split, as they are kept: classes or values, and what the spec's own metric says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.datasets.dataset import Dataset
from engine.datasets.splits import Split
from engine.measure.accuracy import predictions_of, scores, values
from engine.measure.task_metric import metric_of, scored
from engine.quality.predictions import Predictions
from engine.quality.values import Values

Answers = Predictions | Values


def answers(
    path: Path, split: Split, data: Dataset, metric: Mapping[str, Any] | None, **numerics: Any
) -> tuple[Answers, str | None]:
    """The answers to every sample of `split`, and what to say of how the metric (a node's options, None for none) was counted.

    Raises StepError as `predict` and `task_metric.scored`.
    """
    choice = metric_of(metric) if metric else None
    if data.has_classes:
        batches = scores(path, split, data.preprocessing, len(data.classes), **numerics)
        found = predictions_of(batches, split)
        if choice is None:
            return found, None
        known = split.labels if split.is_labelled else None
        counted, took = scored(choice, np.concatenate(batches), known)
        return replace(found, scored=counted), _decoding(took)
    outputs = values(path, split, data.preprocessing, **numerics)
    if choice is None:
        return Values.of(outputs, None), None
    counted, took = scored(choice, outputs, split.targets)
    return Values.of(outputs, counted), _decoding(took)


def _decoding(took: float | None) -> str | None:
    return None if took is None else f"decoding outputs took {took:.3g} ms a sample in Python, which latency leaves out"
