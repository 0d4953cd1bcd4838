"""Several arrays for each sample: as they are stored, of one length, alike in every split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.datasets.preprocessing import chunks
from engine.datasets.splits import Array
from engine.errors import DatasetError
from engine.graph.inputs import NamedArrays
from engine.graph.on_disk import OnDisk, View


def named_arrays(where: str, arrays: Mapping[str, tuple[str, Array | OnDisk]]) -> NamedArrays:
    """The arrays of one split by input, from (what the source calls it, the array); floats become float32. Raises DatasetError."""
    stored: dict[str, Array | OnDisk] = {}
    for name, (key, array) in arrays.items():
        if array.ndim == 0 or 0 in array.shape:
            raise DatasetError(
                f"{where}: {key} is empty (shape {array.shape}); save at least one sample, samples first"
            )
        if array.dtype.kind not in "iufb":
            raise DatasetError(f"{where}: {key} is {array.dtype}; save numbers")
        stored[name] = (
            finite(array, f"{where}: {key}") if array.dtype.kind == "f" else seen(array, np.ascontiguousarray)
        )
    (first, like), *others = arrays.values()
    for key, array in others:
        if len(array) != len(like):
            raise DatasetError(
                f"{where}: {first} has {len(like)} samples but {key} {len(array)}; save one of each for every sample, or write what is the "
                "same for all of them as a number under data.inputs"
            )
    return NamedArrays(stored)


def seen(array: Array | OnDisk, view: View) -> Array | OnDisk:
    """An array in another way, each item by itself; what is on disk stays there, and each part is seen so as it is read."""
    return array.turned(view) if isinstance(array, OnDisk) else view(array)


def finite(array: Array | OnDisk, where: str) -> Array | OnDisk:
    """Floats as float32; raises DatasetError where some are not finite, or too large for it."""
    with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and is refused below.
        inputs = seen(array, lambda items: np.ascontiguousarray(items, np.float32))
    bad = sum(int((~np.isfinite(part).reshape(len(part), -1).all(1)).sum()) for part in chunks(inputs))
    if bad:
        raise DatasetError(
            f"{where} has NaN, infinite or too large values in {bad} of {len(inputs)} items; remove or repair them"
        )
    return inputs


def check_same(where: str, splits: Mapping[str, NamedArrays]) -> None:
    """Raises DatasetError unless an input has the same shape and number type in every split."""
    first, *others = splits
    for split in others:
        for name, array in splits[split].arrays.items():
            like = splits[first].arrays[name]
            if (array.shape[1:], array.dtype) != (like.shape[1:], like.dtype):
                raise DatasetError(
                    f"{where}: {name} of {split} is {array.dtype} {array.shape[1:]} per sample but {like.dtype} {like.shape[1:]} in "
                    f"{first}; "
                    "save both alike"
                )
