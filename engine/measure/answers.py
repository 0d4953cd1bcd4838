"""A file's answers to a split, as they are kept: classes or values, and what the spec's own metric says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.datasets.dataset import Dataset
from engine.datasets.slices import rows_of
from engine.datasets.splits import Split
from engine.measure.accuracy import as_scores, class_outputs, layout_of, predictions_of, values
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
    parts = [rows.places for rows in rows_of(split.slices)]
    if data.has_classes:
        raw = class_outputs(path, split, data.preprocessing, len(data.classes), **numerics)
        batches = as_scores(path, raw)
        found = predictions_of(batches, split)
        if choice is None:
            return found, None
        known = split.labels if split.is_labelled else None
        # A function of the user's own reads what the network gives, shares say, not what we make of it.
        counted, took = scored(choice, np.concatenate(raw if choice.files else batches), known, parts)
        return replace(found, scored=counted), _decoding(took)
    outputs, layout = values(path, split, data.preprocessing, **numerics), layout_of(path, split, data.preprocessing)
    widths = layout.parts if layout else ()
    if choice is None:
        return Values.of(outputs, None, widths), None
    counted, took = scored(choice, outputs, split.targets, parts, layout)
    return Values.of(outputs, counted, widths), _decoding(took)


def _decoding(took: float | None) -> str | None:
    return None if took is None else f"decoding outputs took {took:.3g} ms a sample in Python, which latency leaves out"
