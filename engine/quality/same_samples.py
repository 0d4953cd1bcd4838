"""Two files' answers, from different sweeps perhaps: whether they can be of the same samples, by the labels that follow from them."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engine.quality.predictions import _DAMAGE, _unpacked
from engine.quality.statistics import Bools

Answers: TypeAlias = tuple[npt.NDArray[np.uint16], Bools]
"""The class that was answered for each sample, and whether it is right: both (n,)."""


def load_answers(path: Path) -> Answers | None:
    """The answers of a file of predictions, without reading the rest of it; None in a file without them, or no such file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            if "right" not in found.files:
                return None
            predicted = found["predicted"]
            return predicted, _unpacked(found["right"], len(predicted))
    except _DAMAGE:
        return None


def same_labels(a: Answers, b: Answers) -> bool:
    """Whether both can be answers to samples with the same labels in the same order.

    The label of a sample that one has right is what it answered, so the other has it right exactly where it answered the same.
    """
    (said_a, right_a), (said_b, right_b) = a, b
    if len(said_a) != len(said_b):
        return False
    agree = said_a == said_b
    return bool((right_b[right_a] == agree[right_a]).all() and (right_a[right_b] == agree[right_b]).all())
