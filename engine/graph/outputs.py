"""What a network gives where several of its outputs count: side by side in one array, and taken apart again by their names.

Never imports torch or onnx: the process that times loads no more than it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import StepError

Array = npt.NDArray[Any]
Parts = tuple[tuple[str, int], ...]
"""The name of each output, and how many numbers it has of a sample; empty where one counts, as it is."""


@dataclass(frozen=True)
class Layout:
    """How the outputs lie side by side: their names, their shapes without the batch axis, and their number types."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str], arrays: Sequence[Array]) -> Layout:
        """Of outputs (n, …), as a run gave them."""
        return cls(tuple(names), tuple(a.shape[1:] for a in arrays), tuple(str(a.dtype) for a in arrays))

    @property
    def parts(self) -> Parts:
        """Names and widths."""
        return tuple((name, prod(shape)) for name, shape in zip(self.names, self.shapes, strict=True))

    def apart(self, together: Array) -> dict[str, Array]:
        """The inverse of `side_by_side`: name -> (n, …) in the output's own type."""
        found, start = {}, 0
        for (name, width), shape, kind in zip(self.parts, self.shapes, self.kinds, strict=True):
            found[name] = together[:, start : start + width].reshape(len(together), *shape).astype(kind)
            start += width
        return found


def side_by_side(arrays: Sequence[Array], names: Sequence[str]) -> Array:
    """Outputs (n, …) -> (n, numbers), float32 unless another type has numbers that it cannot hold.

    Raises StepError where they do not have one row for each sample.
    """
    lengths = {len(a) if a.ndim else 0 for a in arrays}
    if len(lengths) != 1 or 0 in lengths:
        shapes = ", ".join(f"{name} {a.shape}" for name, a in zip(names, arrays, strict=True))
        raise StepError(
            f"outputs that count have one row for each sample, but these are {shapes}; leave out those of other lengths"
        )
    exact = all((a.dtype.kind == "f" and a.itemsize <= 4) or a.itemsize <= 2 for a in arrays)
    kind = np.float32 if exact else np.float64
    return np.concatenate([a.reshape(len(a), -1).astype(kind) for a in arrays], axis=1)


def levelled(reference: npt.NDArray[np.float64], parts: Parts) -> npt.NDArray[np.float64]:
    """What the numbers (n, numbers) of several outputs are divided by, (numbers,), so that each output's vary by the same length.

    The typical length of an output about its mean; where it never varies its own length, and 1 where that is none either.
    """
    scales, start = [], 0
    for _, width in parts:
        part = reference[:, start : start + width]
        length = float(np.sqrt(np.square(part - part.mean(axis=0)).sum(axis=1).mean()))
        length = length or float(np.sqrt(np.square(part).sum(axis=1).mean())) or 1.0
        scales.append(np.full(width, length))
        start += width
    return np.concatenate(scales)


def share_apart(found: Array, reference: Array, parts: Parts = ()) -> float:
    """How far outputs (n, …) are from others, as a share of how these vary; of several the root mean square of each one's."""
    one, other = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (found, reference))
    units = levelled(other, parts or (("", other.shape[1]),))
    return float(np.sqrt(np.square((one - other) / units).sum(axis=1).mean() / max(1, len(parts))))
