"""What looks wrong with samples, labels and splits, each in a line with its remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.datasets.dataset import Dataset
from engine.datasets.items import item_hashes
from engine.datasets.splits import Split
from engine.quality.statistics import mcnemar_midp

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

CHANCE = 0.01
"""What chance does less often than this is not taken for chance."""
# More classes than this, or fewer samples of each, leave open which number is which.
_MOST_RENAMED, _LEAST_OF_EACH = 20, 5
_MOSTLY = 0.8
_ALONE, _SAME = 8, 1e-3


@dataclass(frozen=True)
class Finding:
    """Something that is wrong (`error`) or looks so (`warning`)."""

    level: Literal["error", "warning"]
    what: str
    remedy: str

    @classmethod
    def of(cls, error: Exception) -> Finding:
        """A refusal, whose one line says the remedy last."""
        what, _, remedy = str(error).rpartition("; ")
        return cls("error", what or remedy, remedy if what else "correct it and check again")


def is_chance(right: int, labels: Labels) -> bool:
    """Whether so many right answers are what always naming the most frequent class might give (binomial, one side, 1 %)."""
    n, share = len(labels), float(np.bincount(labels).max()) / len(labels)
    if share == 1:
        return True
    # P(at least `right`), from logarithms: the coefficients of hundreds overflow floats.
    logs = [
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(share)
        + (n - k) * math.log1p(-share)
        for k in range(right, n + 1)
    ]
    return sum(map(math.exp, logs)) > CHANCE


def better(these: npt.NDArray[np.bool_], those: npt.NDArray[np.bool_]) -> bool:
    """Whether right answers (n,) are more than others on the same samples, beyond chance."""
    return bool(these.sum() > those.sum() and mcnemar_midp(these, those) < CHANCE)


def label_findings(
    scores: Scores, labels: Labels, classes: tuple[str, ...], as_they_are: npt.NDArray[np.bool_]
) -> list[Finding]:
    """Labels that count from elsewhere, or in another order, than the network does; scores (n, classes) and labels (n,).

    `as_they_are`: which samples (n,) are right, at best, if nothing is wrong with the labels.
    """
    predicted = scores.argmax(axis=1)
    for shift, words in ((1, "one too low"), (-1, "one too high")):
        moved = predicted == labels + shift
        if better(moved, as_they_are) and moved.mean() > 0.5:
            told = f"labels look {words}: {moved.sum()} of {len(labels)} samples would be right otherwise, {as_they_are.sum()} are"
            return [
                Finding("error", told, f"number classes as the network does: {'add' if shift > 0 else 'subtract'} one")
            ]
    k = len(classes)
    counts = np.bincount(labels, minlength=k)
    if k > _MOST_RENAMED or counts[counts > 0].min() < _LEAST_OF_EACH or as_they_are.mean() > 0.5:
        return []
    table = np.zeros((k, k), np.int64)
    np.add.at(table, (labels, predicted), 1)
    meant = table.argmax(axis=1)
    present = counts > 0
    renamed = table[np.arange(k), meant].sum()
    if len(set(meant[present])) < present.sum() or renamed < _MOSTLY * len(labels):
        return []
    pairs = ", ".join(f"{classes[i]} is its {meant[i]}" for i in np.flatnonzero(present & (meant != np.arange(k)))[:4])
    return [
        Finding(
            "error",
            f"classes look numbered in another order than the network's: {pairs}; then {renamed} of {len(labels)} samples would be right, "
            f"{as_they_are.sum()} are",
            "order data.classes, or the labels, as in training",
        )
    ]


def split_findings(data: Dataset) -> list[Finding]:
    """Classes that a split lacks, and items that two splits share."""
    splits: Mapping[str, Split] = {name: getattr(data, name) for name in ("train", "calibration", "validation", "test")}
    found = []
    for name, split in splits.items():
        if name == "calibration" or not len(split) or not split.is_labelled:
            continue
        counts = np.bincount(split.labels, minlength=len(data.classes))
        missing = [data.classes[i] for i in np.flatnonzero(counts == 0)]
        if missing:
            some = f"{', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}"
            found.append(
                Finding(
                    "warning",
                    f"{name} has no item of {len(missing)} of {len(data.classes)} classes ({some})",
                    "figures say nothing of these classes; add items of them",
                )
            )
    hashes = {name: item_hashes(split.inputs) for name, split in splits.items() if len(split)}
    for one in ("train", "calibration", "validation"):
        if one in hashes and "test" in hashes and (shared := int(np.isin(hashes["test"], hashes[one]).sum())):
            told = f"{shared} of {len(hashes['test'])} items of test are also in {one}"
            found.append(Finding("warning", told, "remove them from one; figures on them are too good"))
    return found


def alone_findings(together: Scores, alone: Scores, classes: bool = True) -> list[Finding]:
    """Answers (n, classes), or values (n, …), that depend on what else is in the batch."""
    together, alone = (x.reshape(len(x), -1) for x in (together, alone))
    off = np.abs(alone - together).max(axis=1) / np.maximum(np.abs(together).max(axis=1), 1e-12)
    if np.median(off) <= _SAME:
        return []
    other = int((alone.argmax(1) != together.argmax(1)).sum()) if classes else int((off > _SAME).sum())
    kind = "another class" if classes else "other values"
    return [
        Finding(
            "warning",
            f"answers depend on the other items of a batch: alone, {other} of {len(alone)} samples get {kind}",
            "see that batch normalisation is in evaluation mode, and that no axis but the batch's is reduced",
        )
    ]
