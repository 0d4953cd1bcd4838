"""The four disjoint splits of a dataset, and how they are carved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.errors import DatasetError
from engine.graph.inputs import Inputs, is_array, joined

Array = npt.NDArray[np.generic]

# Of the images that a dataset gives for training: what calibration and validation take. The draw is fixed, so that the shipped
# checkpoints, trained on `train` alone, have never seen the other two.
SPLIT_SEED = 20261123
CALIBRATION_IMAGES = 1_000
VALIDATION_IMAGES = 5_000

UNLABELLED = -1
"""The label of an item whose class nobody told."""


@dataclass(frozen=True)
class Split:
    """Inputs (n, channels, …), or several arrays by name, and int64 labels (n,); all are UNLABELLED where nobody told the classes.

    `targets` (n, …): what is to be given where that is no class: values, or whatever the sweep's metric reads. `slices`: text (n,) by the
    names under which the spec has it, which says of each item where it is from.
    """

    inputs: Inputs
    labels: npt.NDArray[np.int64]
    targets: Array | None = None
    slices: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def array(self) -> Array:
        """The inputs of a network that has one; raises DatasetError where there are several."""
        if not is_array(self.inputs):
            raise DatasetError(
                f"samples of {', '.join(self.inputs.arrays)} are no pictures; look at data with one input"
            )
        return self.inputs

    @property
    def is_labelled(self) -> bool:
        """Whether somebody told the classes."""
        return bool((self.labels != UNLABELLED).all())

    def head(self, n: int | None) -> Split:
        """The first n items, or all of them for None."""
        return self if n is None else self._of(slice(n))

    def followed_by(self, other: Split) -> Split:
        """The items of this split, then those of another."""
        targets = None
        if self.targets is not None and other.targets is not None:
            targets = np.concatenate([self.targets, other.targets])
        slices = {n: np.concatenate([v, other.slices[n]]) for n, v in self.slices.items() if n in other.slices}
        return Split(joined([self.inputs, other.inputs]), np.concatenate([self.labels, other.labels]), targets, slices)

    def take(self, chosen: npt.NDArray[np.intp]) -> Split:
        """The items of these numbers, in this order."""
        return self._of(chosen)

    def _of(self, chosen: npt.NDArray[np.intp] | slice) -> Split:
        targets = None if self.targets is None else self.targets[chosen]
        slices = {name: values[chosen] for name, values in self.slices.items()}
        return Split(self.inputs[chosen], self.labels[chosen], targets, slices)

    def reported(self, samples: int | None, held_back: float = 0.0) -> Split:
        """Of a test split: what every figure of a sweep is measured on, the first `samples` (None: all) that are not held back.

        Raises DatasetError when nothing is left.
        """
        kept = (
            self if not held_back else self.take(np.setdiff1d(np.arange(len(self)), _held_back(len(self), held_back)))
        )
        if not len(kept):
            raise DatasetError(
                f"measure.held_back: {held_back:g} of {len(self)} test images leaves none to measure on; give a smaller share"
            )
        return kept.head(samples)

    def held_back(self, share: float) -> Split:
        """Of a test split: the share, in (0, 1), that only `paretoscope confirm` looks at."""
        return self.take(_held_back(len(self), share))


def _held_back(n: int, share: float) -> npt.NDArray[np.intp]:
    """Which of n test images are held back, sorted: drawn at random, since files may be sorted by class; the same for every sweep."""
    return np.sort(np.random.default_rng(SPLIT_SEED).permutation(n)[: max(1, round(n * share))])


def carve(inputs: Inputs, labels: npt.NDArray[np.int64]) -> tuple[Split, Split, Split]:
    """Training images -> disjoint (train, calibration, validation); the two small ones never take more than a fifth."""
    train, calibration, validation = (Split(inputs[chosen], labels[chosen]) for chosen in carved(len(inputs)))
    return train, calibration, validation


def carved(n: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Of n training items, which become train, calibration and validation."""
    n_calibration = min(CALIBRATION_IMAGES, n // 10)
    n_validation = min(VALIDATION_IMAGES, n // 10)
    order = np.random.default_rng(SPLIT_SEED).permutation(n)
    calibration, validation, train = np.split(order, [n_calibration, n_calibration + n_validation])
    return train, calibration, validation
