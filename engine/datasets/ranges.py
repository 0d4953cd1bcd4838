"""Whether the splits of a user's dataset hold the same kind of numbers: images of one were perhaps scaled, those of another not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.datasets.preprocessing import chunks
from engine.datasets.splits import Array
from engine.errors import DatasetError
from engine.graph.on_disk import OnDisk

# Spreads that differ by more than the first are two units (0 to 1 and 0 to 255 differ by 255), by more than the second worth a word.
_OTHER_UNIT, _NOTED = 10.0, 3.0
# A word, too, for means that lie further apart than so many spreads, and where one split has negative numbers and another has none.
_APART = 3.0
_NEGATIVE = 0.05
_LOOKED_AT = 1000


@dataclass(frozen=True)
class _Range:
    """Of (channels,) numbers: mean and spread (standard deviation); of all: least, largest, and the share below zero."""

    mean: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    least: float
    largest: float
    negative: float

    @classmethod
    def of(cls, inputs: Array | OnDisk) -> _Range:
        """From up to 1,000 items (n, channels, …), evenly spaced."""
        spaced = slice(None, None, -(-len(inputs) // _LOOKED_AT))
        some = inputs.part(spaced) if isinstance(inputs, OnDisk) else inputs[spaced]
        axes = (0, *range(2, some.ndim))
        each = some.size // some.shape[1]
        total, squares, negative = np.zeros(some.shape[1]), np.zeros(some.shape[1]), 0
        middle = some[0].astype(np.float64).reshape(some.shape[1], -1).mean(axis=1)
        least, largest = np.inf, -np.inf
        for part in chunks(some):
            # Around a typical value, so that squares of large numbers cancel no digits.
            values = part.astype(np.float64)
            moved = values - middle.reshape(1, -1, *(1,) * (some.ndim - 2))
            total += moved.sum(axes)
            squares += np.square(moved).sum(axes)
            negative += int((values < 0).sum())
            least, largest = min(least, float(part.min())), max(largest, float(part.max()))
        mean = total / each
        spread = np.sqrt(np.maximum(squares / each - mean**2, 0))
        return cls(mean + middle, spread, least, largest, negative / some.size)

    def __str__(self) -> str:
        return f"{self.least:.3g} to {self.largest:.3g}"


def range_notes(source: str, splits: Mapping[str, Array | OnDisk]) -> tuple[str, ...]:
    """What to know of splits whose numbers differ from those of `train`; images (n, channels, height, width) by split.

    Raises DatasetError for a split in another unit: its spread, in some channel, is more than ten times as large or small. A channel of one
    value has no unit, and is let pass.
    """
    ranges = {name: _Range.of(inputs) for name, inputs in splits.items()}
    train = ranges["train"]
    notes = []
    for name, found in ranges.items():
        both = (train.spread > 0) & (found.spread > 0)
        logs = np.log(found.spread[both] / train.spread[both])
        # Of the many numbers of a vector some hardly ever change, and differ by chance: their middle tells.
        typical = np.median if splits[name].ndim == 2 and both.any() else lambda values: np.abs(values).max(initial=0)
        factor = float(np.exp(abs(typical(logs))))
        what = f"x_{name} ranges over {found} (mean {found.mean.mean():.3g}), x_train over {train} (mean {train.mean.mean():.3g})"
        if factor > _OTHER_UNIT:
            raise DatasetError(f"{source}: {what}; save both in the same unit")
        apart = np.abs(found.mean - train.mean) > _APART * np.maximum(found.spread, train.spread)
        signs = sorted([found.negative, train.negative])
        others = typical(apart[both].astype(np.float64)) > 0
        if factor > _NOTED or others or (signs[0] == 0 and signs[1] > _NEGATIVE):
            notes.append(f"{what}: figures are right only if both were made in the same way")
    return tuple(notes)
