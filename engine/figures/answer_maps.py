"""Answers that are maps, to be looked at: what a network says of every pixel as one picture, beside the target's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_LEAST_SIDE = 4
"""Fewer rows or columns than this are numbers, not a picture."""


def is_map(shape: tuple[int, ...]) -> bool:
    """Whether an answer of this shape, (height, width) or (channels, height, width), is a map."""
    return len(shape) in (2, 3) and min(shape[-2:]) >= _LEAST_SIDE


def answer_map(answer: Array, target: Array | None) -> Array | None:
    """One answer, (height, width) or (channels, height, width), as a picture (1 or 3, height, width); None where it is no map.

    Scores of classes, one channel each, become the class with the highest score: those whose target is one class a pixel, and without a
    target those of other than one or three channels.
    """
    if not is_map(answer.shape):
        return None
    if answer.ndim == 2:
        return answer[np.newaxis]
    channels = len(answer)
    says_classes = channels not in (1, 3) if target is None else channels > 1 and _is_of_classes(target, answer.shape)
    return answer.argmax(axis=0)[np.newaxis].astype(np.float32) if says_classes else answer[: 3 if channels >= 3 else 1]


def target_map(target: Array | None, answer_shape: tuple[int, ...]) -> Array | None:
    """The target of such an answer as a picture; None without one of the same height and width."""
    if target is None or not is_map(answer_shape) or target.shape[-2:] != answer_shape[-2:]:
        return None
    return target[np.newaxis] if target.ndim == 2 else target[: 3 if len(target) >= 3 else 1]


def _is_of_classes(target: Array, answer_shape: tuple[int, ...]) -> bool:
    return target.shape in (answer_shape[-2:], (1, *answer_shape[-2:])) and target.dtype.kind in "iub"


def apart_map(before: Array, after: Array) -> Array:
    """How far two pictures of the same shape are apart, pixel by pixel, the largest of their channels: (1, height, width)."""
    found: Array = np.abs(after.astype(np.float64) - before.astype(np.float64)).max(axis=0)[np.newaxis]
    return found


def most_changed(before: Array, after: Array) -> str:
    """Where two answers of many numbers are furthest apart and what they say there, `at 3, 17: 0.91 → 0.12`; empty for few numbers."""
    if before.size <= 3 or before.shape != after.shape:
        return ""
    apart = np.abs(after.astype(np.float64) - before.astype(np.float64))
    if not apart.size or not np.isfinite(apart).any():
        return ""
    place = np.unravel_index(int(np.nanargmax(apart)), apart.shape)
    where = ", ".join(str(int(i)) for i in place)
    return f"at {where}: {before[place]:.4g} → {after[place]:.4g}"
