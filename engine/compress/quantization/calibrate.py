"""Ranges of activations, seen by running the float graph in ONNX Runtime on calibration images, once and in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engine.compress.quantization.histogram import Histogram, Method
from engine.compress.quantization.scheme import ActivationScale
from engine.errors import StepError
from engine.graph.graph import open_session, with_outputs
from engine.graph.inputs import Feeds, Inputs, Signature, is_array, padded
from engine.models.shapes import noun

Float32 = npt.NDArray[np.float32]

# Bytes of intermediate results that one run may return, and images in it at most.
_RUN_BYTES = 32 * 2**20
_MOST_IMAGES = 64
# Values of a tensor that are counted; the ends are always those of all.
_SAMPLE = 2**20


def activation_scale(low: float, high: float, bits: int) -> ActivationScale:
    """The scale that spreads [low, high], widened to hold 0, over 2^bits codes with 0.0 at a code."""
    low, high = min(low, 0.0), max(high, 0.0)
    steps = 2**bits - 1
    scale = np.float32((high - low) / steps)
    if scale < np.finfo(np.float32).tiny:  # a tensor that is always zero
        return ActivationScale(np.float32(1), 0, bits)
    return ActivationScale(scale, int(np.clip(np.rint(-low / float(scale)), 0, steps)), bits)


def activation_scales(
    model: onnx.ModelProto, bits: Mapping[str, int], images: Inputs, method: Method
) -> dict[str, ActivationScale]:
    """The scale of each tensor of `bits`, by the ranges that `method` chooses on `images`.

    Raises StepError for images of the wrong shape, for none, and for activations that are not finite.
    """
    seen = observe(model, list(bits), images, counted=method != "minmax")
    return {name: activation_scale(*seen[name].range(method, n), n) for name, n in bits.items()}


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], images: Inputs, counted: bool = True
) -> dict[str, Histogram]:
    """What values each tensor takes over `images`, preprocessed, (n, C, H, W) as the graph takes them; without `counted` only the ends.

    Raises StepError as `activation_scales`.
    """
    seen = {name: Histogram() for name in tensors}
    for values in runs(model, tensors, images):
        for name, value in zip(tensors, values, strict=True):
            total = value.size * len(images) // max(1, len(value))
            # An odd stride meets all places of an image in turn.
            seen[name].add(value.reshape(-1), (total // _SAMPLE) | 1 if counted else 0)
    for name, histogram in seen.items():
        if not np.isfinite((histogram.low, histogram.high)).all():
            raise StepError(f"quantize: tensor {name!r} has values that are not finite on the calibration images")
    return seen


def runs(model: onnx.ModelProto, tensors: Sequence[str], images: Inputs) -> Iterator[list[Float32]]:
    """The values of `tensors`, batch by batch; batches are as large as memory allows. Raises StepError for images of the wrong shape."""
    feeds = Feeds.of_graph(model)
    expected = feeds.shape
    if is_array(images) and not isinstance(expected, Signature):
        if images.shape[1:] != expected or len(images) == 0:
            raise StepError(
                f"quantize: calibration {noun(expected)} are {images.shape}, the network takes (n, {', '.join(map(str, expected))})"
            )
        images = np.ascontiguousarray(images, np.float32)
    if not tensors:
        return
    session = open_session(with_outputs(model, tensors))
    fixed = feeds.batch
    batch = fixed or 1
    start = 0
    while start < len(images):
        # A repeated image does not widen a range.
        feed = padded(images[start : start + batch], fixed or 0)
        values = session.run(list(tensors), feeds(feed))
        yield values
        start += batch
        if not fixed and start == 1:
            batch = int(np.clip(_RUN_BYTES // max(1, sum(v.nbytes for v in values)), 1, _MOST_IMAGES))


def squared_distance(found: npt.NDArray[np.floating[Any]], wanted: npt.NDArray[np.floating[Any]]) -> float:
    """The sum of squared differences, in float64. Values that are the same infinity in both, as of classes that a mask rules out, are no
    difference.
    """
    off = np.subtract(found, wanted, out=np.zeros(np.shape(found)), where=~(np.isinf(wanted) & (found == wanted)))
    return float(np.square(off, out=off).sum())
