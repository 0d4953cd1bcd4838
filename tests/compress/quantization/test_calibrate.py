"""Calibration: histograms against numpy, and each method against a straightforward reference on the values themselves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from engine.compress.quantization.calibrate import activation_scale, activation_scales, observe, runs
from engine.compress.quantization.histogram import BINS, Histogram, divergence, least_divergence
from engine.errors import StepError
from engine.models.export import export_onnx

torch.set_num_threads(1)

VALUES = {
    "relu": np.maximum(np.random.default_rng(0).normal(0.3, 1, 60_000), 0) ** 1.5,
    "both signs": np.random.default_rng(1).standard_t(4, 60_000) * 0.7 + 0.2,
    "mostly negative": -np.random.default_rng(2).gamma(2.0, 1.0, 60_000) + 1.0,
}


def seen(values: np.ndarray, batches: int = 7) -> Histogram:
    """The small values first, so that the histogram has to grow."""
    histogram = Histogram()
    ordered = values[np.argsort(np.abs(values))].astype(np.float32)
    for part in np.array_split(ordered, batches):
        histogram.add(part, 1)
    return histogram


def fake_quantized(values: np.ndarray, low: float, high: float, bits: int) -> np.ndarray:
    """The definition, in float64."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(values / scale) + zero, 0, 2**bits - 1) - zero) * scale


@pytest.mark.parametrize("name", VALUES)
def test_a_histogram_that_grows_counts_every_value_where_it_lies(name: str) -> None:
    values = VALUES[name].astype(np.float32)
    histogram = seen(values)
    assert (histogram.low, histogram.high) == (values.min(), values.max())
    assert histogram.counts.sum() == len(values)
    largest = np.abs(values).max()
    assert largest / BINS <= histogram.width <= 2 * largest / (BINS - 2)
    edges = (np.arange(2 * BINS + 1) - BINS) * histogram.width
    expected, _ = np.histogram(values, edges)
    # Only values on an edge, to float32, may have been counted next door.
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= 20


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(("bits", "tail"), [(8, 1e-5), (6, 1e-4), (4, 1e-4)])
def test_percentiles_are_those_of_the_values(name: str, bits: int, tail: float) -> None:
    values = VALUES[name]
    histogram = seen(values)
    low, high = histogram.range("percentile", bits)
    ordered = np.sort(values)
    cut = int(tail * len(values))
    assert abs(high - ordered[len(values) - 1 - cut]) <= 2 * histogram.width
    assert abs(low - ordered[cut]) <= 2 * histogram.width
    assert histogram.range("minmax", bits) == (np.float32(values.min()), np.float32(values.max()))


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_mse_finds_ends_with_as_little_error_as_an_exhaustive_search(name: str, bits: int) -> None:
    values = VALUES[name]
    low, high = seen(values).range("mse", bits)

    def error(low: float, high: float) -> float:
        return float(((fake_quantized(values, low, high, bits) - values) ** 2).mean())

    ends = [
        (values.min() * a, values.max() * b)
        for a in (np.linspace(0.04, 1, 25) if values.min() < 0 else [1.0])
        for b in np.linspace(0.04, 1, 25)
    ]
    assert error(low, high) <= 1.03 * min(error(*pair) for pair in ends)
    assert error(low, high) <= error(values.min(), values.max())


def reference_divergence(counts: np.ndarray, size: int, levels: int) -> float:
    """Migacz's slides, line by line: P with its outliers in the last bin, Q through `levels` bins and back onto the used ones."""
    p = [float(c) for c in counts[:size]]
    p[-1] += float(sum(counts[size:]))
    q = [0.0] * size
    for level in range(levels):
        start, stop = level * size // levels, (level + 1) * size // levels
        bins = [i for i in range(start, stop) if counts[i] > 0]
        for i in bins:
            q[i] = float(sum(counts[start:stop])) / len(bins)
    p_total, q_total, total = sum(p), sum(q), 0.0
    for a, b in zip(p, q, strict=True):
        if a > 0:
            total += a / p_total * np.log((a / p_total) / max(b / q_total, 1e-9))
    return total


def test_divergence_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(3)
    counts = rng.poisson(200 * np.exp(-np.arange(512) / 60)).astype(np.float64)
    for size, levels in ((512, 128), (400, 128), (130, 128), (128, 128), (333, 16)):
        assert divergence(counts, size, levels) == pytest.approx(reference_divergence(counts, size, levels), rel=1e-9)


@pytest.mark.parametrize(("name", "bits"), [("relu", 8), ("relu", 4), ("both signs", 8), ("mostly negative", 6)])
def test_entropy_picks_the_threshold_of_least_divergence(name: str, bits: int) -> None:
    values = VALUES[name]
    histogram = seen(values)
    threshold = least_divergence(histogram, bits)[1]
    largest = np.abs(values).max()
    levels = 2 ** (bits - 1) if values.min() < 0 else 2**bits
    # Counted from the values anew, in the histogram's bins; zeros left out of account.
    bins = int(largest / histogram.width) + 1
    counts, _ = np.histogram(np.abs(values), np.arange(bins + 1) * histogram.width)
    counts[0] = counts[1]
    sizes = [*range(levels, bins, 32), bins]
    found = {size: reference_divergence(counts.astype(float), size, levels) for size in sizes}
    assert found[round(threshold / histogram.width)] <= min(found.values()) * 1.02
    low, high = histogram.range("entropy", bits)
    assert high == min(np.float32(values.max()), threshold)
    assert low == max(np.float32(values.min()), -threshold)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_constant_and_empty_tensors_have_a_range(method: str) -> None:
    for value in (0.0, 2.5, -1.0):
        histogram = Histogram()
        histogram.add(np.full(100, value, np.float32), 1)
        low, high = histogram.range(method, 8)
        assert low <= value <= high + 1e-6
        scale = activation_scale(low, high, 8)
        assert scale.scale > 0
        approximated = (scale.codes(np.array([value], np.float32)) - scale.zero_point) * scale.scale
        assert abs(approximated[0] - value) <= scale.scale


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8, 16])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (-2.0, -1.0), (2.0, 5.0), (0.0, 0.0), (0.0, 1e-44)])
def test_zero_is_always_a_code(low: float, high: float, bits: int) -> None:
    scale = activation_scale(low, high, bits)
    codes = np.arange(2**bits)
    values = (codes - scale.zero_point) * float(scale.scale)
    assert (values == 0).any()
    assert 0 <= scale.zero_point <= scale.largest == 2**bits - 1
    assert values.min() <= min(low, 0) + scale.scale / 2
    assert values.max() >= max(high, 0) - scale.scale
    wide = np.linspace(low - 1, high + 1, 999)
    expected = np.clip(np.rint(wide.astype(np.float32) / scale.scale) + scale.zero_point, 0, 2**bits - 1)
    np.testing.assert_array_equal(scale.codes(wide.astype(np.float32)), expected)


@pytest.fixture(scope="module")
def network() -> onnx.ModelProto:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, stride=2),
        nn.Flatten(),
        nn.Linear(4 * 16, 3),
    ]
    return export_onnx(nn.Sequential(*layers), (1, 10, 10))


def test_scales_are_those_of_all_images_whatever_the_batches(network: onnx.ModelProto) -> None:
    images = np.random.default_rng(5).normal(size=(150, 1, 10, 10)).astype(np.float32)
    images[140] *= 30  # in the last batch only
    convolutions = [n.output[0] for n in network.graph.node if n.op_type in ("Relu", "Conv")]
    every = [np.concatenate(parts) for parts in zip(*runs(network, convolutions, images), strict=True)]
    scales = activation_scales(network, dict.fromkeys(convolutions, 8), images, "minmax")
    for name, values in zip(convolutions, every, strict=True):
        assert len(values) == 150
        expected = activation_scale(float(values.min()), float(values.max()), 8)
        assert scales[name] == expected
    observed = observe(network, convolutions, images)
    for name, values in zip(convolutions, every, strict=True):
        assert observed[name].counts.sum() == values.size


def test_images_that_do_not_fit_or_run_wild_are_refused(network: onnx.ModelProto) -> None:
    images = np.zeros((4, 1, 10, 10), np.float32)
    name = network.graph.node[0].output[0]
    for wrong, message in (
        (images[:0], r"calibration images are \(0, 1, 10, 10\)"),
        (images[:, :, :8], r"the network takes \(n, 1, 10, 10\)"),
        (images * np.nan, "has values that are not finite on the calibration images"),
        (images + np.inf, "not finite"),
    ):
        with pytest.raises(StepError, match=message) as caught:
            observe(network, [name], wrong)
        assert "\n" not in str(caught.value)
