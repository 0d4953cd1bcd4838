"""What a model's outputs say, as lines of text. `predict_program` in `bundle.py` puts it into predict.py; numpy alone, Python 3.9."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def shares_of(found: Array) -> Array:
    """Scores or shares (n, classes, ...) -> shares (n, classes) that add up to 1."""
    scores: Array = found.reshape(len(found), -1).astype(np.float64)
    if not (np.all(scores >= 0) and np.allclose(scores.sum(axis=1), 1, atol=1e-4)):
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Array = scores / scores.sum(axis=1, keepdims=True)
    return shares


def told(found: Array, labels: Sequence[str]) -> list[str]:
    """Outputs (n, ...) as lines: the likeliest class and its share where there are labels, otherwise the first numbers."""
    if not labels:
        rows = found.reshape(len(found), -1)
        return [" ".join(f"{v:.6g}" for v in row[:8]) + (" …" if len(row) > 8 else "") for row in rows]
    shares = shares_of(found)
    return [f"{labels[i]}  {row[i]:.1%}" for i, row in zip(shares.argmax(axis=1), shares)]
