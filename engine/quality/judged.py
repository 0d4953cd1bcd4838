"""What a file's stored answers say, beside the baseline's: the parts of a trial that come from test samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from engine.datasets.splits import Array
from engine.quality.predictions import Predictions
from engine.quality.scored import score
from engine.quality.scores import Labels, accuracy, fidelity, quality
from engine.quality.slices import by_slice
from engine.quality.values import Values, value_fidelity
from engine.trials.evidence import Accuracy, Fidelity, Quality, Score
from engine.trials.slices import Slices


class Judged(TypedDict):
    """Fields of a trial."""

    accuracy: Accuracy | None
    quality: Quality | None
    fidelity: Fidelity | None
    score: Score | None
    slices: Slices | None


def load_answers(path: Path, classes: Sequence[str]) -> Predictions | Values:
    """The stored answers of a file: of classes, or values where there are none. Raises SetupError."""
    return Predictions.load(path) if classes else Values.load(path)


def judged(
    found: Predictions | Values,
    baseline: Predictions | Values | None,
    labels: Labels,
    classes: Sequence[str],
    key: str | None,
    slices: Mapping[str, Array],
) -> Judged:
    """Everything that answers to samples with labels (n,) say, compared with the baseline's (None for the baseline itself).

    `key`: that of the spec's own metric, None without one. `slices`: text (n,) by name. Raises StepError where the two are not of the same
    samples.
    """
    counted, other = found.scored, None if baseline is None else baseline.scored
    own = None
    if key is not None and counted is not None and (baseline is None or other is not None):
        own = score(key, counted, len(labels), other)
    parts = by_slice(found, baseline, labels, slices, key)
    if isinstance(found, Values):
        reference = baseline if isinstance(baseline, Values) else None
        return Judged(accuracy=None, quality=None, fidelity=value_fidelity(found, reference), score=own, slices=parts)
    before = baseline if isinstance(baseline, Predictions) else None
    return Judged(
        accuracy=accuracy(found, labels, before),
        quality=quality(found, labels, before, classes),
        fidelity=fidelity(found, before),
        score=own,
        slices=parts,
    )
