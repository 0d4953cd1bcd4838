"""What may be done to stored numbers before a network reads them: the ways that people train with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from engine.check.samples import range_of
from engine.graph.on_disk import OnDisk
from engine.spec.sections import Preprocess

Array = npt.NDArray[np.generic]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of torchvision's trained networks, for pixels in 0 … 1."""
_LOOKED_AT = 1000
_SIDEWAYS = "channels last"


@dataclass(frozen=True)
class Candidate:
    """One way, in words, and as a spec says it."""

    name: str
    preprocess: Preprocess


def candidates(inputs: Array | OnDisk, layouts: tuple[str, ...] = ("NCHW",)) -> tuple[Candidate, ...]:
    """The ways that stored inputs (n, channels, …) may be prepared, likeliest first among equals; `layouts` that the network may read.

    Pixels, in 0 … 255 or 0 … 1, may be read as they are stored, in 0 … 1, in -1 … 1, by ImageNet's figures or by those of the training
    data, colours as RGB or BGR; other numbers as they are stored or standardised.
    """
    colours = ("RGB", "BGR") if inputs.ndim == 4 and inputs.shape[1] == 3 else ("RGB",)
    found = []
    for (name, numbers), colour, layout in product(_numbers(inputs), colours, layouts):
        words = [
            name,
            *([colour] if colour != "RGB" else []),
            *([_SIDEWAYS] if layout == "NHWC" and len(layouts) > 1 else []),
        ]
        preprocess = Preprocess.model_validate({**numbers, "channels": colour, "layout": layout})
        found.append(Candidate(", ".join(words), preprocess))
    return tuple(found)


def _numbers(inputs: Array | OnDisk) -> list[tuple[str, dict[str, object]]]:
    largest = _pixels_up_to(inputs)
    ways: list[tuple[str, dict[str, object]]] = [("as stored", {"scale": 1.0})]
    if largest is not None:
        unit = 1.0 / largest
        if largest != 1:
            ways.append(("0 … 1", {"scale": unit}))
        else:
            ways.append(("0 … 255", {"scale": 255.0}))
        ways.append(("−1 … 1", {"scale": 2 * unit, "mean": (1.0,), "std": (1.0,)}))
        if inputs.shape[1] == 3:
            ways.append(("ImageNet’s mean and deviation", {"scale": unit, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}))
    return [*ways, ("mean and deviation of the training data", {"standardize": True})]


def _pixels_up_to(inputs: Array | OnDisk) -> int | None:
    """255 or 1 where inputs look like pixels of images, None for other numbers."""
    if inputs.dtype == np.uint8:
        return 255
    spaced = slice(None, None, -(-len(inputs) // _LOOKED_AT))
    found = range_of(inputs.part(spaced) if isinstance(inputs, OnDisk) else inputs[spaced])
    least, largest = found["least"], found["largest"]
    if inputs.ndim != 4 or least < 0:
        return None
    if largest <= 1:
        return 1
    return 255 if 1.5 < largest <= 255 else None
