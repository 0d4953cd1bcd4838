"""Ranges of activations, seen by running the float graph in ONNX Runtime on calibration images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx

from engine.errors import StepError
from engine.onnx_graph import fixed_batch, graph_inputs, input_shape, open_session, with_outputs

Float32 = npt.NDArray[np.float32]

PERCENTILE = 99.99
"""Share of values, in percent, that the `percentile` range keeps on each side where there are negative values."""
# Bins of each tensor's histogram: the range is then known to 1/2048 of its min-max width, an eighth of a uint8 step.
_BINS = 2048
# Bytes of intermediate results that one run may return.
_RUN_BYTES = 64 * 2**20


def _runs(model: onnx.ModelProto, tensors: Sequence[str], images: Float32) -> Iterator[list[Float32]]:
    """The values of `tensors`, batch by batch; batches are as large as memory allows."""
    session = open_session(with_outputs(model, tensors))
    name = graph_inputs(model)[0].name
    fixed = fixed_batch(model)
    batch = fixed or 1
    start = 0
    while start < len(images):
        feed = images[start : start + batch]
        if fixed and len(feed) < fixed:  # a repeated image does not widen a range
            feed = np.concatenate([feed, np.repeat(feed[-1:], fixed - len(feed), axis=0)])
        values = session.run(list(tensors), {name: feed})
        yield values
        start += batch
        if not fixed and start == 1:
            batch = int(np.clip(_RUN_BYTES // max(1, sum(v.nbytes for v in values)), 1, 64))


def activation_ranges(
    model: onnx.ModelProto, tensors: Sequence[str], images: Float32, method: Literal["minmax", "percentile"]
) -> dict[str, tuple[float, float]]:
    """(low, high) of each tensor over `images`, preprocessed, of shape (n, C, H, W) as the graph takes them.

    `percentile` cuts off the outermost 0.01 % of values at either end (Migacz 2017, "8-bit inference with TensorRT"; Wu
    et al. 2020, arXiv:2004.09602). Raises StepError for images of the wrong shape, for none, and for activations that
    are not finite.
    """
    expected = input_shape(model)
    if images.ndim != 4 or images.shape[1:] != expected or len(images) == 0:
        raise StepError(
            f"quantize: calibration images are {images.shape}, the network takes (n, {', '.join(map(str, expected))})"
        )
    if not tensors:
        return {}
    images = np.ascontiguousarray(images, np.float32)
    low, high = np.full(len(tensors), np.inf), np.full(len(tensors), -np.inf)
    for values in _runs(model, tensors, images):
        low = np.minimum(low, [v.min(initial=np.inf) for v in values])
        high = np.maximum(high, [v.max(initial=-np.inf) for v in values])
    for name, ends in zip(tensors, zip(low, high, strict=True), strict=True):
        if not np.isfinite(ends).all():
            raise StepError(f"quantize: tensor {name!r} has values that are not finite on the calibration images")
    if method == "percentile":
        low, high = _percentiles(model, tensors, images, low, high)
    return {name: (float(a), float(b)) for name, a, b in zip(tensors, low, high, strict=True)}


def _percentiles(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    images: Float32,
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Narrow min-max ranges to percentiles, from histograms over those ranges: a second pass, in constant memory."""
    width = np.where(high > low, high - low, 1.0)
    counts = np.zeros((len(tensors), _BINS), np.int64)
    for values in _runs(model, tensors, images):
        for i, value in enumerate(values):
            bins = ((value.reshape(-1) - np.float32(low[i])) * np.float32(_BINS / width[i])).astype(np.int32)
            counts[i] += np.bincount(np.clip(bins, 0, _BINS - 1), minlength=_BINS)
    share = np.cumsum(counts, axis=1) / counts.sum(axis=1, keepdims=True)
    tail = 1 - PERCENTILE / 100
    first = (share <= tail).sum(axis=1)  # the bin in which the lower percentile lies
    last = (share < 1 - tail).sum(axis=1)
    return low + width * first / _BINS, np.minimum(high, low + width * (last + 1) / _BINS)
