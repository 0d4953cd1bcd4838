"""The built-in metrics beside accuracy: outputs and targets -> a number for each sample, or one for any weighting of the samples.

A metric of the whole set is made once for the arrays, as a function of weights (draws, n): a bootstrap then costs no more than its sums.
Everything follows scikit-learn's definitions where it has one (`r2_score`, `f1_score` and `roc_auc_score` with `average="macro"`,
`multi_class="ovr"`), which the tests hold it against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import StepError
from engine.quality.statistics import Floats

Array = npt.NDArray[Any]
Weighted = Callable[[Floats], Floats]
"""Weights (draws, n) -> the metric of each draw, (draws,)."""
IGNORED = 255
"""The class of a map's places that do not count, as negative numbers do not (PASCAL VOC's)."""


def per_sample(name: str, outputs: Array, targets: Array) -> Floats | None:
    """A number for each sample (n,), of which the metric is the mean; None for a metric of the whole set."""
    if name == "mae":
        given, wanted = _values(name, outputs, targets)
        return np.asarray(np.abs(given - wanted).mean(axis=1), np.float64)
    if name == "cosine_to_target":
        return cosines(*_values(name, outputs, targets))
    return None


def of_set(name: str, outputs: Array, targets: Array) -> Weighted:
    """A metric of the whole set; raises StepError where it is not defined, or outputs and targets do not fit it."""
    return _OF_SET[name](outputs, targets)


def cosines(a: Array, b: Array) -> Floats:
    """The cosine of the angle between rows (n, …) and (n, …), (n,); 1 where both are zero, 0 where one is."""
    one, other = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    both = (one == 0).all(axis=1) & (other == 0).all(axis=1)
    found = (one * other).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)
    return np.asarray(np.where(both, 1.0, np.clip(found, -1, 1)), np.float64)


def same_axes(outputs: tuple[int, ...], targets: tuple[int, ...]) -> bool:
    """Whether shapes (n, …) are the same but for axes of one: of as many numbers in another order, each would meet another's target."""
    return [size for size in outputs[1:] if size != 1] == [size for size in targets[1:] if size != 1]


def _values(name: str, outputs: Array, targets: Array) -> tuple[Floats, Floats]:
    """Both as (n, numbers)."""
    given, wanted = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (outputs, targets))
    if given.shape != wanted.shape:
        raise StepError(
            f"metric {name}: the network gives {given.shape[1]} numbers for a sample, the targets are {wanted.shape[1]}; give targets of "
            "the outputs' shape, or a metric of your own"
        )
    if not same_axes(np.shape(outputs), np.shape(targets)):
        raise StepError(
            f"metric {name}: the network gives {np.shape(outputs)[1:]} for a sample, the targets are {np.shape(targets)[1:]}, as many "
            "numbers in another order; give targets of the outputs' shape"
        )
    return given, wanted


def _scores(name: str, outputs: Array, targets: Array) -> tuple[Floats, npt.NDArray[np.int64]]:
    if outputs.ndim != 2:
        raise StepError(f"metric {name} is of classes, but the network gives outputs of shape {outputs.shape}")
    return np.asarray(outputs, np.float64), np.asarray(targets, np.int64)


def _rmse(outputs: Array, targets: Array) -> Weighted:
    given, wanted = _values("rmse", outputs, targets)
    squares = np.square(given - wanted).mean(axis=1)
    return lambda weights: np.sqrt(weights @ squares / weights.sum(axis=1))


def _r2(outputs: Array, targets: Array) -> Weighted:
    given, wanted = _values("r2", outputs, targets)
    centred = wanted - wanted.mean(axis=0)
    if not np.square(centred).sum(axis=0).all():
        raise StepError("metric r2 is not defined: a target is the same for all test samples; use mae or rmse")
    errors = np.square(given - wanted)

    def found(weights: Floats) -> Floats:
        total = weights.sum(axis=1, keepdims=True)
        spread = weights @ np.square(centred) - np.square(weights @ centred) / total
        # A draw of one sample alone has no spread.
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(spread > 0, 1 - (weights @ errors) / spread, np.nan)
        return np.asarray(np.nanmean(each, axis=1), np.float64)

    return found


def _weighted_ranks(values: Floats, weights: Floats) -> Floats:
    """Mid-ranks of values (n,) under weights (draws, n), (draws, n): those of a set in which each sample is there so many times."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sums = np.add.reduceat(weights[:, order], starts, axis=1)
    below = np.cumsum(sums, axis=1) - sums
    return np.asarray((below + sums / 2)[:, group], np.float64)


def _spearman(outputs: Array, targets: Array) -> Weighted:
    given, wanted = _values("spearman", outputs, targets)
    if not (np.ptp(wanted, axis=0) > 0).all():
        raise StepError("metric spearman is not defined: a target is the same for all test samples; use mae or rmse")

    def found(weights: Floats) -> Floats:
        share = weights / weights.sum(axis=1, keepdims=True)
        each = []
        for a, b in zip(given.T, wanted.T, strict=True):
            ranks = [_weighted_ranks(x, weights) for x in (a, b)]
            x, y = (r - (share * r).sum(axis=1, keepdims=True) for r in ranks)
            spread = (share * x * x).sum(axis=1) * (share * y * y).sum(axis=1)
            # Outputs that are all the same say nothing of the order.
            each.append((share * x * y).sum(axis=1) / np.sqrt(np.where(spread > 0, spread, np.inf)))
        return np.asarray(np.mean(each, axis=0), np.float64)

    return found


def _macro_f1(outputs: Array, targets: Array) -> Weighted:
    scores, labels = _scores("macro_f1", outputs, targets)
    named, classes = scores.argmax(axis=1), np.arange(scores.shape[1])
    said, meant = (np.asarray(x[:, None] == classes, np.float64) for x in (named, labels))

    def found(weights: Floats) -> Floats:
        right, both = weights @ (said * meant), weights @ (said + meant)
        with np.errstate(invalid="ignore"):
            each = np.where(both > 0, 2 * right / both, np.nan)
        return np.asarray(np.nanmean(each, axis=1), np.float64)

    return found


def _auroc(outputs: Array, targets: Array) -> Weighted:
    scores, labels = _scores("auroc", outputs, targets)
    if len(np.unique(labels)) < 2:
        raise StepError("metric auroc is not defined: all test samples are of one class")
    shifted = scores - scores.max(axis=1, keepdims=True)
    shares = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    # Of two classes, one against the other is all that there is; the difference of scores keeps an order that shares near 1 lose.
    columns = (
        [(scores[:, 1] - scores[:, 0], labels == 1)]
        if scores.shape[1] == 2
        else [(shares[:, c], labels == c) for c in np.unique(labels).tolist()]
    )

    def found(weights: Floats) -> Floats:
        each = []
        for values, positive in columns:
            ranks = _weighted_ranks(values, weights)
            ours = weights * positive
            n, m = ours.sum(axis=1), (weights * ~positive).sum(axis=1)
            # Mann-Whitney: the ranks of the positives, less those that they have among themselves.
            above = (ours * ranks).sum(axis=1) - n * n / 2
            with np.errstate(invalid="ignore", divide="ignore"):
                each.append(np.where(n * m > 0, above / (n * m), np.nan))
        return np.asarray(np.nanmean(each, axis=0), np.float64)

    return found


def _iou(outputs: Array, targets: Array) -> Weighted:
    maps, wanted = _maps(outputs, targets)
    counted = (wanted >= 0) & (wanted != IGNORED)
    classes = 1 + max(int(wanted[counted].max(initial=0)), int(maps.max(initial=0)))
    places = range(1, len(maps.shape))
    shared, either = np.zeros((len(maps), classes)), np.zeros((len(maps), classes))
    for c in range(classes):
        a, b = (maps == c) & counted, (wanted == c) & counted
        shared[:, c], either[:, c] = (a & b).sum(axis=tuple(places)), (a | b).sum(axis=tuple(places))
    if not either.sum():
        raise StepError("metric iou is not defined: no place of the target maps counts")

    def found(weights: Floats) -> Floats:
        inside, around = weights @ shared, weights @ either
        with np.errstate(invalid="ignore"):
            each = np.where(around > 0, inside / around, np.nan)
        return np.asarray(np.nanmean(each, axis=1), np.float64)

    return found


def _maps(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Classes of every place, (n, …) both: the likeliest of several channels; of one channel, 1 above a half, of scores above 0."""
    wanted = targets[:, 0] if targets.ndim == outputs.ndim and targets.shape[1] == 1 else targets
    if wanted.dtype.kind not in "iub":
        raise StepError(f"metric iou: target maps are {wanted.dtype}; save the number of each place's class")
    maps = outputs
    if outputs.ndim == wanted.ndim + 1:
        # A sigmoid's shares are all within 0 and 1; scores hardly ever.
        half = 0.5 if outputs.min() >= 0 and outputs.max() <= 1 else 0.0
        maps = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > half).astype(np.int64)
    elif outputs.dtype.kind not in "iu":
        raise StepError(
            f"metric iou: outputs of shape {outputs.shape} are no scores (n, classes, …) for target maps of {wanted.shape}"
        )
    if maps.shape != wanted.shape:
        raise StepError(f"metric iou: maps of {maps.shape} against target maps of {wanted.shape}; make them alike")
    return maps, wanted.astype(np.int64)


def _perplexity(outputs: Array, targets: Array) -> Weighted:
    if outputs.ndim < 3 or outputs.shape[:-1] != targets.shape or targets.dtype.kind not in "iu":
        raise StepError(
            f"metric perplexity needs scores (n, length, tokens) and whole numbers (n, length), below 0 where nothing counts, not "
            f"{outputs.shape} and {targets.dtype} {targets.shape}"
        )
    values = outputs.astype(np.float64)
    values -= values.max(axis=-1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=-1, keepdims=True))
    counted = targets >= 0
    if int(targets.max(initial=0)) >= outputs.shape[-1]:
        raise StepError(
            f"metric perplexity: token {int(targets.max())} of the targets, but only {outputs.shape[-1]} have scores"
        )
    if not counted.any():
        raise StepError("metric perplexity is not defined: no token of the targets counts")
    logs = np.take_along_axis(values, np.where(counted, targets, 0)[..., None].astype(np.int64), axis=-1)[..., 0]
    lost, tokens = (-logs * counted).reshape(len(logs), -1).sum(axis=1), counted.reshape(len(logs), -1).sum(axis=1)
    return lambda weights: np.exp(weights @ lost / (weights @ tokens))


def _errors_of(words: bool) -> Callable[[Any, Array], Weighted]:
    name = "wer" if words else "cer"

    def parts(outputs: Any, targets: Array) -> Weighted:
        if targets.dtype.kind != "U" or not all(isinstance(t, str) for t in outputs):
            raise StepError(
                f"metric {name} compares texts; targets must be text, and decode must return one text a sample"
            )
        pairs = [
            (str(a).split(), str(b).split()) if words else (str(a), str(b))
            for a, b in zip(outputs, targets, strict=True)
        ]
        edits = np.array([edit_distance(a, b) for a, b in pairs], np.float64)
        lengths = np.array([len(b) for _, b in pairs], np.float64)
        if not lengths.sum():
            raise StepError(f"metric {name} is not defined: all target texts are empty")
        return lambda weights: weights @ edits / np.maximum(weights @ lengths, 1e-12)

    return parts


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """How many insertions, deletions and replacements make b of a (Levenshtein 1966), each counting one."""
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        now = [i]
        for j, y in enumerate(b, 1):
            now.append(min(before[j] + 1, now[-1] + 1, before[j - 1] + (x != y)))
        before = now
    return before[-1]


_OF_SET: dict[str, Callable[[Any, Array], Weighted]] = {
    "rmse": _rmse,
    "r2": _r2,
    "spearman": _spearman,
    "macro_f1": _macro_f1,
    "auroc": _auroc,
    "iou": _iou,
    "perplexity": _perplexity,
    "cer": _errors_of(words=False),
    "wer": _errors_of(words=True),
}
