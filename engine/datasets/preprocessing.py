"""Pixels to what a network reads: scale, mean and deviation, stated or measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from engine.datasets.splits import Array
from engine.errors import DatasetError
from engine.graph.inputs import Held, Inputs, NamedArrays, in_memory, is_array
from engine.graph.on_disk import OnDisk
from engine.spec.sections import Data, Preprocess


@dataclass(frozen=True)
class Preprocessing:
    """How stored inputs (n, channels, …) become a network's float32 input: `(x * scale - mean) / std`, per channel.

    `mean` and `std` have one entry, or one per channel; numbers of a vector (n, channels) are its channels. `flip` turns the order of the
    channels around before, BGR for RGB; `channels_last` moves them to the end afterwards. `untouched`: inputs go in as they are stored, in
    their own number type, as tokens do, and several arrays by name.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = False
    channels_last: bool = False
    untouched: bool = False

    @overload
    def __call__(self, inputs: Array | OnDisk) -> npt.NDArray[Any]: ...

    @overload
    def __call__(self, inputs: NamedArrays) -> NamedArrays: ...

    @overload
    def __call__(self, inputs: Held) -> Inputs: ...

    def __call__(self, inputs: Held) -> Inputs:
        """Inputs of shape (n, channels, …), any number type; float32 (n, channels, …), or (n, …, channels), unless they stay untouched.

        In memory, as many as there are: of a large split a batch is to be given.
        """
        inputs = in_memory(inputs)
        if self.untouched or not is_array(inputs):
            return inputs
        beside = (1,) * (inputs.ndim - 2)
        mean = np.asarray(self.mean, np.float32).reshape(1, -1, *beside)
        std = np.asarray(self.std, np.float32).reshape(1, -1, *beside)
        values = inputs[:, ::-1] if self.flip else inputs
        # In one place: three copies of a batch of large pictures are more than all else that it takes.
        found = values.astype(np.float32)
        found *= np.float32(self.scale)
        found -= mean
        found /= std
        return np.ascontiguousarray(np.moveaxis(found, 1, -1)) if self.channels_last else found

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Of one item as the network reads it, from its shape as stored."""
        return (*stored[1:], stored[0]) if self.channels_last else stored


UNTOUCHED = Preprocessing(1.0, (0.0,), (1.0,), untouched=True)


def usual_scale(inputs: Array | OnDisk) -> float:
    """What inputs are multiplied by where nothing is said."""
    return 1 / 255 if inputs.dtype == np.uint8 else 1.0


def stated_preprocessing(data: Data, inputs: Held) -> Preprocessing | None:
    """What the spec says, checked against the training inputs (n, channels, …); None where it says nothing of what the network reads.

    Where it tells an order alone, numbers are standardised. Integers that are no pixels, and several arrays, stay as they are stored
    unless something else is asked for; of several nothing else can be.
    """
    stated = data.preprocess
    as_stored = stated is None or stated == Preprocess(scale=1.0)
    if not is_array(inputs):
        if not as_stored:
            raise DatasetError(
                f"data.preprocess is for one array, but {data.source} holds several; save them as the network reads them, and write "
                "preprocess: none, or leave it out"
            )
        return UNTOUCHED
    if as_stored and inputs.dtype.kind in "iub" and inputs.dtype != np.uint8:
        return UNTOUCHED
    if stated is None or not (stated.says_numbers or stated.layout != "NCHW" or stated.channels != "RGB"):
        return None
    scale, channels = stated.scale or usual_scale(inputs), inputs.shape[1]
    flip, last = stated.channels == "BGR", stated.layout == "NHWC"
    if flip and channels != 3:
        raise DatasetError(f"data.preprocess.channels is BGR, but {data.source} has {channels} channels; leave it out")
    if last and inputs.ndim < 3:
        raise DatasetError(f"data.preprocess.layout is NHWC, but {data.source} holds vectors; leave it out")
    if not stated.says_numbers or stated.standardize:
        return replace(measured_preprocessing(inputs, scale, flip), flip=flip, channels_last=last)
    if stated.mean is None or stated.std is None:
        return Preprocessing(scale, (0.0,), (1.0,), flip, last)
    for name, values in (("mean", stated.mean), ("std", stated.std)):
        if len(values) not in (1, channels):
            raise DatasetError(
                f"data.{name} has {len(values)} values, but {data.source} has {channels} channels; give one each"
            )
        if scale == 1 / 255 and not all(0 <= v <= 1 for v in values):
            raise DatasetError(
                f"data.{name} is {list(values)}, but uint8 pixels are scaled to 0 … 1 first; divide it by 255"
            )
    return Preprocessing(scale, stated.mean, stated.std, flip, last)


_CHUNK_BYTES = 64 << 20


def chunks(inputs: Array | OnDisk) -> Iterator[Array]:
    """Items (n, …) in parts that take up to 64 MiB as float64."""
    step = max(1, _CHUNK_BYTES // max(1, 8 * (inputs.size // max(1, len(inputs)))))
    for start in range(0, len(inputs), step):
        yield inputs[start : start + step]


def measured_preprocessing(inputs: Array | OnDisk, scale: float, flip: bool = False) -> Preprocessing:
    """Mean and standard deviation per channel, with `flip` in the other order, summed in float64 over chunks so that large sets need no
    second copy; once for a set that is on disk.
    """
    if not isinstance(inputs, OnDisk):
        return _measured(inputs, scale, flip)
    found = _measured_once(inputs, scale)
    return replace(found, mean=found.mean[::-1], std=found.std[::-1]) if flip else found


def _measured(inputs: Array | OnDisk, scale: float, flip: bool = False) -> Preprocessing:
    channels = inputs.shape[1]
    total, squares = np.zeros(channels), np.zeros(channels)
    axes = (0, *range(2, inputs.ndim))
    for some in chunks(inputs):
        chunk = (some[:, ::-1] if flip else some).astype(np.float64)
        chunk *= scale
        total += chunk.sum(axes)
        squares += np.square(chunk, out=chunk).sum(axes)
    n = inputs.size // channels
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    # A channel that never changes carries nothing; dividing by one keeps it finite.
    std[std < 1e-6] = 1.0
    return Preprocessing(scale, tuple(mean.tolist()), tuple(std.tolist()))


# Going through all of it takes as long as reading it does, and `check` asks for every way that it tries.
_measured_once = lru_cache(maxsize=8)(_measured)
