"""Pixels to what a network reads: scale, mean and deviation, stated or measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.datasets.splits import Array
from engine.errors import DatasetError
from engine.spec.sections import Data


@dataclass(frozen=True)
class Preprocessing:
    """How stored inputs become a network's float32 input: `(x * scale - mean) / std`, per channel.

    `scale` is 1/255 for uint8 images and 1 for float inputs; `mean` and `std` have one entry per channel.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: Array) -> npt.NDArray[np.float32]:
        """Inputs of shape (n, channels, height, width), any number type; float32 of the same shape."""
        mean = np.asarray(self.mean, np.float32).reshape(1, -1, 1, 1)
        std = np.asarray(self.std, np.float32).reshape(1, -1, 1, 1)
        return ((inputs.astype(np.float32) * np.float32(self.scale) - mean) / std).astype(np.float32)


def stated_preprocessing(data: Data, scale: float, channels: int) -> Preprocessing | None:
    """What the spec says, checked against the images; None where it says nothing."""
    if data.mean is None and data.std is None:
        return None
    if data.mean is None or data.std is None:
        raise DatasetError(
            f"data.{'mean' if data.mean is None else 'std'} is missing; give both mean and std, or neither"
        )
    for name, values in (("mean", data.mean), ("std", data.std)):
        if len(values) != channels:
            raise DatasetError(
                f"data.{name} has {len(values)} values, but {data.source} has {channels} channels; give one each"
            )
        if scale != 1 and not all(0 <= v <= 1 for v in values):
            raise DatasetError(
                f"data.{name} is {list(values)}, but uint8 pixels are scaled to 0 … 1 first; divide it by 255"
            )
    return Preprocessing(scale, data.mean, data.std)


def measured_preprocessing(inputs: Array, scale: float) -> Preprocessing:
    """Mean and standard deviation per channel, summed in float64 over chunks so that large sets need no second copy."""
    total, squares = np.zeros(inputs.shape[1]), np.zeros(inputs.shape[1])
    for start in range(0, len(inputs), 1000):
        chunk = inputs[start : start + 1000].astype(np.float64) * scale
        total += chunk.sum((0, 2, 3))
        squares += np.square(chunk).sum((0, 2, 3))
    n = inputs[:, 0].size
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    # A channel that never changes carries nothing; dividing by one keeps it finite.
    std[std < 1e-6] = 1.0
    return Preprocessing(scale, tuple(mean.tolist()), tuple(std.tolist()))
