"""What `check` shows of samples: shape and range, and the first few, with a picture, what each is and what the network says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.datasets.dataset import Dataset
from engine.datasets.splits import SPLIT_SEED, UNLABELLED, Split
from engine.graph.inputs import is_array
from engine.quality.changed_values import value_text

SAMPLES = 200
"""So many are tried,"""
SHOWN = 8
"""so many shown."""


def looked_at(data: Dataset) -> Split:
    """Up to 200 that no figure is reported on: of validation, then of calibration and train, where those are too few."""
    found = data.validation
    for more in (data.calibration, data.train):
        if len(found) < SAMPLES:
            found = found.followed_by(more.head(SAMPLES * 5))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(found))
    return found.take(order[:SAMPLES])


def range_of(stored: npt.NDArray[Any]) -> dict[str, Any]:
    """Shape of one item, number type and range of inputs (n, …)."""
    return {
        "shape": list(stored.shape[1:]),
        "dtype": str(stored.dtype),
        "least": float(stored.min()),
        "largest": float(stored.max()),
    }


def shown(samples: Split, answers: npt.NDArray[np.float64], data: Dataset) -> tuple[dict[str, Any], ...]:
    """The first few: `label` and `predicted` as text, `png` as base64, None for what is no picture."""
    return tuple(
        {
            "label": _target(samples, i, data.classes),
            "predicted": _words(data.classes, int(answers[i].argmax())) if data.has_classes else value_text(answers[i]),
            "png": _png(item) if is_array(item) else None,
        }
        for i, item in enumerate(samples.inputs[:SHOWN])
    )


def _words(classes: tuple[str, ...], named: int) -> str:
    return classes[named] if named < len(classes) else str(named)


def _target(samples: Split, i: int, classes: tuple[str, ...]) -> str | None:
    if samples.targets is not None:
        return value_text(samples.targets[i])
    return None if samples.labels[i] == UNLABELLED else classes[samples.labels[i]]


def _png(item: npt.NDArray[Any]) -> str | None:
    """An image (channels, height, width) as base64 of a PNG; None for what is no image."""
    if item.ndim != 3 or item.shape[0] > 4 or min(item.shape[1:]) < 4:
        return None
    import base64
    import io

    from PIL import Image

    from engine.datasets.pictures import to_pixels

    file = io.BytesIO()
    Image.fromarray(to_pixels(item, float(item.min()), float(item.max()))).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
