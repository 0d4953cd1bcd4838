"""What a network said about every image of a split, kept small enough to be kept for every trial.

An `.npz` without pickles, arrays in the order of the images:

    predicted           uint16 (n,)     the class with the highest score
    log_probability     float16 (n, k)  natural logarithms of the softmax
    classes             uint16 (n, k)   which classes the columns are; left out where they are all classes in their order
    label_probability   float16 (n,)    the logarithm for the true class; left out without labels
    right               uint8 (n / 8,)  one bit an image, `predicted` is the label; left out without labels

Up to 32 classes all logarithms are kept, k = classes: 20 bytes an image for 10 classes. Beyond that the 16 largest of each image: 64 bytes.
Logarithms, not probabilities, because half precision keeps three digits of them wherever they lie, and every figure made of
probabilities (likelihood, divergence) is made of their logarithms.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.datasets.splits import UNLABELLED
from engine.errors import SetupError
from engine.quality.scored import Scored

Bools = npt.NDArray[np.bool_]

_ARRAYS = ("predicted", "log_probability", "classes", "label_probability", "right")

MOST_FULL_CLASSES = 32
TOP_CLASSES = 16

# What numpy raises for a file that is missing, cut short, altered, or something else altogether.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)
# Half precision ends here; a probability of e^-65504 is none at all.
_LEAST = -65504.0


@dataclass(frozen=True)
class Predictions:
    """The arrays of the file (see above); `right` is unpacked to bool (n,). Old files have neither logarithms nor `right`.

    `scored`: what the spec's own metric says of the same answers (`scored.py`), where it names one.
    """

    predicted: npt.NDArray[np.uint16]
    log_probability: npt.NDArray[np.float16] | None = None
    classes: npt.NDArray[np.uint16] | None = None
    label_probability: npt.NDArray[np.float16] | None = None
    right: Bools | None = None
    scored: Scored | None = None

    def __len__(self) -> int:
        return len(self.predicted)

    @property
    def right_count(self) -> int | None:
        """How many are right, None without labels."""
        return None if self.right is None else int(self.right.sum())

    @property
    def confidence(self) -> npt.NDArray[np.float64] | None:
        """The softmax of the predicted class, (n,)."""
        return None if self.log_probability is None else np.exp(self.log_probability.astype(np.float64)).max(axis=1)

    def top(self, k: int, labels: npt.NDArray[np.int64]) -> Bools | None:
        """Whether the label (n,) is among the k classes with the highest probability, (n,); None where k were not kept.

        Of equal probabilities the lower class counts as higher, as with `predicted`.
        """
        if self.log_probability is None or self.log_probability.shape[1] < k:
            return None
        best = np.argsort(-self.log_probability, axis=1, kind="stable")[:, :k]
        named = best if self.classes is None else np.take_along_axis(self.classes, best, axis=1)
        found: Bools = (named == labels[:, None]).any(axis=1)
        return found

    def save(self, path: Path) -> None:
        """Write the file under exactly this name; the same predictions give the same bytes."""
        arrays: dict[str, npt.NDArray[Any]] = {k: v for k in _ARRAYS if (v := getattr(self, k)) is not None}
        if self.scored is not None:
            arrays |= self.scored.arrays()
        if self.right is not None:
            arrays["right"] = np.packbits(self.right)
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """The inverse of `save`; raises SetupError for a missing or damaged file."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                held = {name: found[name] for name in found.files}
            arrays = {name: held[name] for name in _ARRAYS if name in held}
            n = len(arrays["predicted"])
            if "right" in arrays:
                arrays["right"] = _unpacked(arrays["right"], n)
            if arrays["predicted"].dtype != np.uint16 or {len(a) for a in arrays.values()} != {n}:
                raise ValueError("wrong type or shape")
            return cls(**arrays, scored=Scored.of(held))
        except _DAMAGE as error:
            raise SetupError(f"{path} holds no predictions ({error}); delete it and run the sweep again") from None


def are_shares(scores: npt.NDArray[np.generic]) -> bool:
    """Whether rows of numbers (n, classes) are distributions: none below 0, each row adding up to 1. Scores never all are by chance."""
    values = scores.astype(np.float64)
    return bool(len(values) and (values >= 0).all() and np.allclose(values.sum(axis=1), 1, rtol=0, atol=1e-4))


def scores_of_shares(shares: npt.NDArray[Any], least: float) -> npt.NDArray[np.float64]:
    """Shares (n, classes) -> scores whose softmax they are: their logarithms. A share of 0, or below, counts as `least`."""
    return np.log(np.where(shares > 0, shares, least).astype(np.float64))


def least_share(shares: npt.NDArray[Any]) -> float:
    """What a share of 0 may stand for: half of the smallest that a file gives on some images. Rounded to 8 bits, less than 0.004 is 0."""
    positive = shares[shares > 0]
    return float(positive.min()) / 2 if positive.size else 1.0


def from_scores(scores: npt.NDArray[np.generic], labels: npt.NDArray[np.int64]) -> Predictions:
    """Finite scores (logits) and labels (-1: not known) of some images, (n, classes) and (n,), -> their predictions."""
    values = scores.astype(np.float64)
    # Infinite logits are a certain answer; exp(inf - inf) would be none.
    values = np.clip(values, -1e300, 1e300)
    values -= values.max(axis=1, keepdims=True)
    exact = np.maximum(values - np.log(np.exp(values).sum(axis=1, keepdims=True)), _LEAST)
    predicted = scores.argmax(axis=1).astype(np.uint16)
    kept, classes = exact, None
    if scores.shape[1] > MOST_FULL_CLASSES:
        order = np.argsort(-exact, axis=1, kind="stable")[:, :TOP_CLASSES]
        kept, classes = np.take_along_axis(exact, order, axis=1), order.astype(np.uint16)
    known = bool((labels != UNLABELLED).all())
    return Predictions(
        predicted,
        kept.astype(np.float16),
        classes,
        np.take_along_axis(exact, labels[:, None], axis=1)[:, 0].astype(np.float16) if known else None,
        predicted == labels if known else None,
    )


def concatenated(parts: list[Predictions]) -> Predictions:
    """The predictions of consecutive batches as one; raises ValueError for none."""
    columns: dict[str, list[Any]] = {name: [getattr(p, name) for p in parts] for name in _ARRAYS}
    arrays: dict[str, Any] = {k: None if v[0] is None else np.concatenate(v) for k, v in columns.items()}
    return Predictions(**arrays)


def load_right(path: Path) -> Bools | None:
    """Right or wrong for each image, bool (n,), without reading the rest of the file; None in a file without it, or no such file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            if "right" not in found.files:
                return None
            return _unpacked(found["right"], len(found["predicted"]))
    except _DAMAGE:
        return None


def _unpacked(bits: npt.NDArray[np.uint8], n: int) -> Bools:
    if bits.dtype != np.uint8 or len(bits) != (n + 7) // 8:
        raise ValueError("wrong type or shape")
    return np.unpackbits(bits, count=n).astype(np.bool_)
