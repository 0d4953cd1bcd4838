"""Accuracy of an ONNX file in ONNX Runtime on a whole split, with its uncertainty."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.datasets import Preprocessing, Split
from engine.errors import SetupError, StepError
from engine.measure.session import Runner
from engine.record import Accuracy

# 100 images are few enough for activations to stay in cache, and many enough that Python's part does not count.
BATCH = 100
# Two-sided 95 % quantile of the normal distribution.
Z_95 = 1.959963984540054
# What numpy raises for a file that is missing, cut short, altered, or something else altogether.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Predictions:
    """For each image of a split, in its order: the class with the highest logit (uint16, (n,)) and its softmax (float16, (n,))."""

    predicted: npt.NDArray[np.uint16]
    confidence: npt.NDArray[np.float16]

    def save(self, path: Path) -> None:
        """Write a compressed .npz (no pickle) under exactly this name; the same predictions give the same bytes."""
        with path.open("wb") as file:
            np.savez_compressed(file, predicted=self.predicted, confidence=self.confidence)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """The inverse of `save`; raises SetupError for a missing or damaged file."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                loaded = cls(arrays["predicted"], arrays["confidence"])
        except _DAMAGE as error:
            raise SetupError(f"{path} holds no predictions ({error}); delete it and run the sweep again") from None
        if loaded.predicted.dtype != np.uint16 or loaded.predicted.shape != loaded.confidence.shape:
            raise SetupError(f"{path} holds no predictions (wrong type or shape); delete it and run the sweep again")
        return loaded


def predict(
    path: Path,
    split: Split,
    preprocessing: Preprocessing,
    threads: int = 1,
    graph_optimisation: str = "all",
    provider: str = "CPU",
) -> Predictions:
    """Run the file on every image of `split`, in batches of 100, or of what the file insists on.

    Raises StepError when ONNX Runtime cannot load or run it, or its logits are not numbers (training diverged).
    """
    runner = Runner(path, threads, graph_optimisation, provider)
    batch = runner.fixed_batch or BATCH
    predicted = np.zeros(len(split), np.uint16)
    confidence = np.zeros(len(split), np.float16)
    for start in range(0, len(split), batch):
        images = preprocessing(split.inputs[start : start + batch])
        n = len(images)
        if runner.fixed_batch and n < batch:
            images = np.concatenate([images, np.repeat(images[-1:], batch - n, axis=0)])
        logits = runner(images)
        if logits.ndim != 2 or len(logits) != len(images):
            raise StepError(f"{path.name} gives an output of shape {logits.shape}; (N, classes) is needed")
        predicted[start : start + n], confidence[start : start + n] = _decide(logits[:n], path, start)
    return Predictions(predicted, confidence)


def _decide(
    logits: npt.NDArray[np.generic], path: Path, start: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Logits (n, classes) -> class (n,) and softmax of that class (n,)."""
    values = logits.astype(np.float64)
    bad = np.flatnonzero(np.isnan(values).any(axis=1))
    if len(bad):
        raise StepError(f"{path.name} gives logits that are not numbers (NaN), first for image {start + int(bad[0])}")
    # Infinite logits are a certain answer; exp(inf - inf) would be none.
    values = np.clip(values, -1e300, 1e300)
    best = values.argmax(axis=1)
    top = values.max(axis=1, keepdims=True)
    return best, 1 / np.exp(values - top).sum(axis=1)


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Ends of the 95 % score interval of a share (Wilson 1927, JASA 22:209), in [0, 1]; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = correct / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At 0 and n the end is exact in algebra and off by a rounding in floating point.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == n else min(1.0, centre + half)
    return low, high


def mcnemar_midp(right_a: npt.NDArray[np.bool_], right_b: npt.NDArray[np.bool_]) -> float:
    """Two-sided mid-p of McNemar's exact test that a and b, (n,) right or wrong on the same images, are equally good.

    Fagerland, Lydersen, Laake 2013 (BMC Med Res Methodol 13:91), who find it better than the exact and asymptotic ones.
    """
    only_a = int(np.count_nonzero(right_a & ~right_b))
    only_b = int(np.count_nonzero(~right_a & right_b))
    n, k = only_a + only_b, min(only_a, only_b)
    # Whole numbers throughout: binomial coefficients of thousands overflow floats, and logarithms lose digits.
    term, below = 1, 0  # C(n, i) and the sum of those before it
    for i in range(k):
        below += term
        term = term * (n - i) // (i + 1)
    return float(min(1.0, (2 * below + term) / 2**n))


def summarise(predictions: Predictions, labels: npt.NDArray[np.int64], baseline: Predictions | None) -> Accuracy:
    """Accuracy with its Wilson interval, and McNemar's mid-p against the baseline (None for the baseline itself).

    Raises StepError when predictions, labels (n,) and baseline are not of the same images.
    """
    n = len(labels)
    lengths = {len(predictions.predicted), n} | ({len(baseline.predicted)} if baseline else set())
    if len(lengths) > 1 or n == 0:
        raise StepError(
            f"accuracy: predictions, labels and baseline cover {sorted(lengths)} images; they must be the same"
        )
    right = predictions.predicted == labels
    correct = int(np.count_nonzero(right))
    low, high = wilson(correct, n)
    p = mcnemar_midp(right, baseline.predicted == labels) if baseline else None
    return Accuracy(correct / n, low, high, n, p)
