"""Predictions -> accuracy, top-5, recall, flips, likelihood, calibration error, and how close a trial is to its baseline.

All of it is computed from stored predictions, so a new figure needs no new run. What needs logarithms of probabilities is None for
predictions that were stored without them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.datasets.splits import UNLABELLED
from engine.errors import StepError
from engine.quality.predictions import Predictions
from engine.quality.statistics import Floats, calibration_error, mcnemar_midp, mean_interval, paired_difference, wilson
from engine.quality.worst_of_many import Counts, calibration_range, largest_drop, lowest_share
from engine.trials.evidence import Accuracy, Fidelity, Interval, Quality, WorstClass

Labels = npt.NDArray[np.int64]
# With five classes or fewer every answer is among the first five.
_TOP = 5
# The baseline against itself: no image differs, and nothing about that is uncertain.
_NONE_OF_THEM, _ALL_OF_THEM = Interval(0.0, 0.0, 0.0), Interval(1.0, 1.0, 1.0)


def accuracy(predictions: Predictions, labels: Labels, baseline: Predictions | None) -> Accuracy | None:
    """Accuracy with its Wilson interval, and the paired comparison with the baseline (None for the baseline itself).

    None where the images have no labels. Raises StepError when predictions, labels (n,) and baseline are not of the same images.
    """
    _check_same_images(predictions, labels, baseline)
    if not _labelled(labels):
        return None
    right = predictions.predicted == labels
    correct = int(np.count_nonzero(right))
    low, high = wilson(correct, len(labels))
    if baseline is None:
        return Accuracy(correct / len(labels), low, high, len(labels))
    other = baseline.predicted == labels
    return Accuracy(
        correct / len(labels),
        low,
        high,
        len(labels),
        mcnemar_midp(right, other),
        Interval(*paired_difference(right, other)),
    )


def quality(
    predictions: Predictions, labels: Labels, baseline: Predictions | None, classes: Sequence[str]
) -> Quality | None:
    """What accuracy alone does not tell; None where the images have no labels. Raises StepError as `accuracy`."""
    _check_same_images(predictions, labels, baseline)
    if not _labelled(labels):
        return None
    right = predictions.predicted == labels
    top = predictions.top(_TOP, labels) if len(classes) > _TOP else None
    images, hits = (_by_class(labels, of, len(classes)) for of in (None, right))
    recall = _recall(hits, images)
    intervals = {"lowest_recall": Interval(min(r for r in recall if r is not None), *lowest_share(hits, images))}
    log_likelihood = predictions.label_probability
    flips = harmful = _NONE_OF_THEM
    worst = None
    if baseline is not None:
        other = baseline.predicted == labels
        flips = _share(predictions.predicted != baseline.predicted)
        harmful = _share(other & ~right)
        worst = _worst_class(recall, _recall(_by_class(labels, other, len(classes)), images), classes)
        lost, gained = (_by_class(labels, of, len(classes)) for of in (other & ~right, right & ~other))
        intervals["worst_class_drop"] = Interval(worst.drop, *largest_drop(lost, gained, images))
    confidence, ece = predictions.confidence, None
    if confidence is not None:
        ece = calibration_error(confidence, right)
        intervals["ece"] = Interval(ece, *calibration_range(confidence, right))
    return Quality(
        top5=None if top is None else _share(top),
        class_recall=recall,
        lowest_recall=intervals["lowest_recall"].value,
        worst_class=worst,
        flip_rate=flips,
        harmful_flip_rate=harmful,
        nll=None if log_likelihood is None else Interval(*mean_interval(-log_likelihood.astype(np.float64))),
        ece=ece,
        intervals=intervals,
    )


def fidelity(predictions: Predictions, baseline: Predictions | None) -> Fidelity:
    """How closely a trial answers like the baseline (None for the baseline itself), labels or not. Raises StepError as `accuracy`."""
    if baseline is None:
        return Fidelity(_ALL_OF_THEM, None if predictions.log_probability is None else _NONE_OF_THEM)
    if len(predictions) != len(baseline):
        raise StepError(f"fidelity: {len(predictions)} predictions against {len(baseline)} of the baseline")
    divergence = divergence_of(baseline, predictions)
    return Fidelity(
        agreement=_share(predictions.predicted == baseline.predicted),
        kl=None if divergence is None else Interval(*mean_interval(divergence)),
    )


def divergence_of(reference: Predictions, other: Predictions) -> Floats | None:
    """Kullback-Leibler divergence KL(reference ‖ other) of each image's class probabilities, in nats, (n,).

    Where only the largest probabilities are kept, over those classes that both kept and all others as one: merging classes never makes
    a divergence larger (Cover and Thomas 2006, section 2.5), so this is a lower bound. None where one has no probabilities.
    """
    if reference.log_probability is None or other.log_probability is None:
        return None
    p, q = (x.log_probability.astype(np.float64) for x in (reference, other) if x.log_probability is not None)
    if reference.classes is not None and other.classes is not None:
        same = reference.classes[:, :, None] == other.classes[:, None, :]
        shared = same.any(axis=2)
        q = np.take_along_axis(q, same.argmax(axis=2), axis=1)
        p, q = (_with_the_rest(np.where(shared, v, -np.inf)) for v in (p, q))
    else:
        # Half precision leaves the sum a thousandth off one, which a small divergence would drown in.
        p, q = (v - np.log(np.exp(v).sum(axis=1, keepdims=True)) for v in (p, q))
    share = np.exp(p)
    with np.errstate(invalid="ignore"):
        terms = np.where(share > 0, share * (p - q), 0.0)
    per_image: Floats = np.maximum(terms.sum(axis=1), 0.0)
    return per_image


def _with_the_rest(log_probability: Floats) -> Floats:
    """Logarithms (n, k), -inf for none, and beside them that of all other classes together."""
    rest = np.maximum(1 - np.exp(log_probability).sum(axis=1, keepdims=True), 1e-6)
    return np.hstack([log_probability, np.log(rest)])


def _labelled(labels: Labels) -> bool:
    return bool((labels != UNLABELLED).all())


def _check_same_images(predictions: Predictions, labels: Labels, baseline: Predictions | None) -> None:
    lengths = {len(predictions), len(labels)} | ({len(baseline)} if baseline else set())
    if len(lengths) > 1 or not len(labels):
        raise StepError(
            f"accuracy: predictions, labels and baseline cover {sorted(lengths)} images; they must be the same, one at least"
        )


def _share(hits: npt.NDArray[np.bool_]) -> Interval:
    count = int(np.count_nonzero(hits))
    return Interval(count / len(hits), *wilson(count, len(hits)))


def _by_class(labels: Labels, chosen: npt.NDArray[np.bool_] | None, classes: int) -> Counts:
    """How many images of each class there are, of those chosen, (classes,)."""
    return np.bincount(labels if chosen is None else labels[chosen], minlength=classes)


def _recall(hits: Counts, images: Counts) -> tuple[float | None, ...]:
    """Share of each class's images that are right; None for a class without images."""
    return tuple(float(h / n) if n else None for h, n in zip(hits, images, strict=True))


def _worst_class(recall: Sequence[float | None], before: Sequence[float | None], classes: Sequence[str]) -> WorstClass:
    """The class whose recall fell most against the baseline; of equals the first."""
    drops = [
        (b - r, name) for r, b, name in zip(recall, before, classes, strict=True) if r is not None and b is not None
    ]
    drop, name = max(drops, key=lambda d: d[0])
    return WorstClass(name, drop)
