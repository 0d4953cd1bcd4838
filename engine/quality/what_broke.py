"""What compression broke: by class, by confusion, in how sure the network is, and image by image. Arrays in, records out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.quality.predictions import Predictions
from engine.quality.statistics import Bools, paired_difference

Labels = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]
Kind = Literal["harmful", "neutral", "helpful"]
"""harmful: the baseline was right and the trial is wrong; helpful: the other way; neutral: both wrong, each in its own way."""
KINDS: tuple[Kind, ...] = ("harmful", "neutral", "helpful")


@dataclass(frozen=True)
class ClassChange:
    """Recall of one class before and after, as shares of its `images`; `low` and `high` end the paired 95 % interval of the change."""

    name: str
    images: int
    before: float
    after: float
    low: float
    high: float

    @property
    def change(self) -> float:
        """Recall gained, negative where it was lost."""
        return self.after - self.before

    @property
    def is_certain(self) -> bool:
        """Whether the interval leaves no change out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Flip:
    """An image that gets another answer than from the baseline: its place in the split, classes by number, confidences in [0, 1]."""

    index: int
    kind: Kind
    label: int
    before: int
    after: int
    before_confidence: float | None
    after_confidence: float | None


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose confidence lies in (low, high]: how many, their mean confidence, and the share that is right."""

    low: float
    high: float
    images: int
    confidence: float
    right: float


def class_changes(
    before: Predictions, after: Predictions, labels: Labels, classes: Sequence[str]
) -> tuple[ClassChange, ...]:
    """Every class that has images, the greatest loss first."""
    rights = [p.predicted == labels for p in (before, after)]
    changes = []
    for number, name in enumerate(classes):
        mine = labels == number
        if not mine.any():
            continue
        was, now = (r[mine] for r in rights)
        _, low, high = paired_difference(now, was)
        changes.append(ClassChange(name, int(mine.sum()), float(was.mean()), float(now.mean()), low, high))
    return tuple(sorted(changes, key=lambda c: c.change))


def confusion_change(before: Predictions, after: Predictions, labels: Labels, classes: int) -> Counts:
    """Images of class i answered j, after minus before: (classes, classes). Every row sums to 0."""

    def confusion(predictions: Predictions) -> Counts:
        pairs = labels * classes + predictions.predicted.astype(np.int64)
        return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    return confusion(after) - confusion(before)


def flips(before: Predictions, after: Predictions, labels: Labels) -> tuple[Flip, ...]:
    """All images with another answer; harmful ones first, and of a kind those first of which the trial is surest."""
    was, now = (None if p.confidence is None else p.confidence for p in (before, after))
    right_before, right_after = before.predicted == labels, after.predicted == labels

    def flip(i: int) -> Flip:
        kind: Kind = "harmful" if right_before[i] else "helpful" if right_after[i] else "neutral"
        return Flip(
            index=i,
            kind=kind,
            label=int(labels[i]),
            before=int(before.predicted[i]),
            after=int(after.predicted[i]),
            before_confidence=None if was is None else float(was[i]),
            after_confidence=None if now is None else float(now[i]),
        )

    found = [flip(int(i)) for i in np.flatnonzero(before.predicted != after.predicted)]
    return tuple(sorted(found, key=lambda f: (KINDS.index(f.kind), -(f.after_confidence or 0.0), f.index)))


def reliability(predictions: Predictions, labels: Labels, bins: int = 15) -> tuple[ReliabilityBin, ...]:
    """The bins that the expected calibration error is made of, empty ones left out; none without probabilities."""
    confidence = predictions.confidence
    if confidence is None:
        return ()
    right: Bools = predictions.predicted == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return tuple(
        ReliabilityBin(
            i / bins, (i + 1) / bins, int(mine.sum()), float(confidence[mine].mean()), float(right[mine].mean())
        )
        for i in range(bins)
        if (mine := place == i).any()
    )
