"""What `check` shows of samples: their shape and range, and the first few with label and answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.datasets.splits import UNLABELLED, Split
from engine.graph.inputs import is_array

SHOWN = 8
"""So many."""


def range_of(stored: npt.NDArray[Any]) -> dict[str, Any]:
    """Shape of one item, number type and range of inputs (n, …)."""
    return {
        "shape": list(stored.shape[1:]),
        "dtype": str(stored.dtype),
        "least": float(stored.min()),
        "largest": float(stored.max()),
    }


def shown(samples: Split, scores: npt.NDArray[np.float64], classes: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """The first few samples, each with its label, the class that the scores (n, classes) name, and a picture where it is one."""
    return tuple(
        {
            "label": None if label == UNLABELLED else classes[label],
            "predicted": classes[named] if named < len(classes) else str(named),
            "png": _png(item) if is_array(item) else None,
        }
        for item, label, named in zip(
            samples.inputs[:SHOWN], samples.labels[:SHOWN], scores[:SHOWN].argmax(1), strict=True
        )
    )


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
