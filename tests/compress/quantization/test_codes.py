"""Weights to codes and back, against a float64 reference, for every bit width, kind and granularity."""

from __future__ import annotations

import numpy as np
import pytest

from engine.compress.quantization.codes import code_range, quantized_weight, round_to_codes
from engine.compress.quantization.grid import storable_scales
from engine.compress.quantization.scheme import Codes

ALL_BITS = [2, 3, 4, 5, 6, 7, 8]


def filters(shape: tuple[int, ...], axis: int, seed: int) -> np.ndarray:
    """Bell-shaped weights, channels of very different size."""
    rng = np.random.default_rng(seed)
    size = [-1 if i == axis else 1 for i in range(len(shape))]
    return (rng.normal(0.02, 1, shape) * np.exp(rng.normal(-4, 1, shape[axis])).reshape(size)).astype(np.float32)


def rows(array: np.ndarray, axis: int, per_channel: bool) -> np.ndarray:
    wide = array.astype(np.float64)
    return np.moveaxis(wide, axis, 0).reshape(wide.shape[axis], -1) if per_channel else wide.reshape(1, -1)


def rounded(row: np.ndarray, scale: float, zero: float, ends: tuple[int, int]) -> np.ndarray:
    """One row's codes less the zero point, in float64."""
    return np.clip(np.rint(row / scale) + zero, *ends) - zero


def best_error(row: np.ndarray, bits: int, symmetric: bool) -> float:
    """The least squared error of any clip, by a search twelve times as fine as the code's."""
    ends = code_range(bits, symmetric)
    low, high = min(row.min(), 0.0), max(row.max(), 0.0)
    whole = max(high, -low) / ends[1] if symmetric else (high - low) / (ends[1] - ends[0])
    zero = 0.0 if symmetric else np.rint(-low / whole)
    errors = []
    for clip in np.linspace(0.2, 1.0, 400):
        codes = rounded(row, whole * clip, zero, ends)
        errors.append(((codes * whole * clip - row) ** 2).sum())
    return min(errors)


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("shape", "axis"), [((6, 40, 3, 3), 0), ((300, 9), 1)])
def test_codes_stand_for_the_weight_as_well_as_codes_can(
    bits: int, symmetric: bool, per_channel: bool, shape: tuple[int, ...], axis: int
) -> None:
    weight = filters(shape, axis, seed=bits)
    codes = quantized_weight(weight, axis, bits, per_channel, symmetric)
    low, high = code_range(bits, symmetric)
    assert (codes.codes.dtype, codes.codes.shape, codes.bits, codes.axis) == (np.int16, shape, bits, axis)
    assert codes.codes.min() >= low
    assert codes.codes.max() <= high
    channels = (shape[axis],) if per_channel else ()
    assert codes.scale.shape == codes.zero_point.shape == channels
    np.testing.assert_array_equal(codes.scale, storable_scales(codes.scale, bits))
    if symmetric:
        assert not codes.zero_point.any()
        assert codes.symmetric
    # What the codes stand for, by the definition, in float64.
    size = [-1 if i == axis and per_channel else 1 for i in range(len(shape))]
    scale, zero = (
        np.broadcast_to(x.astype(np.float64), channels).reshape(size) for x in (codes.scale, codes.zero_point)
    )
    values = (codes.codes.astype(np.float64) - zero) * scale
    np.testing.assert_allclose(codes.values(), values, rtol=1e-6, atol=0)
    # Little worse than the best clip, the price of storable scales; the unit gain adds its known part of the lost energy.
    best = sum(best_error(row, bits, symmetric) for row in rows(weight, axis, per_channel))
    lost = best / (weight.astype(np.float64) ** 2).sum() if bits < 5 else 0.0
    assert ((weight.astype(np.float64) - values) ** 2).sum() <= 1.25 * best / (1 - lost)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_8_bits_spread_the_whole_range_and_round_to_the_nearest(symmetric: bool, per_channel: bool) -> None:
    weight = filters((7, 4, 3, 3), 0, seed=1)
    codes = quantized_weight(weight, 0, 8, per_channel, symmetric)
    scale = np.broadcast_to(codes.scale.astype(np.float64), (7,)).reshape(-1, 1, 1, 1)
    zero = np.broadcast_to(codes.zero_point.astype(np.float64), (7,)).reshape(-1, 1, 1, 1)
    exact = weight.astype(np.float64) / scale + zero
    assert np.abs(codes.codes - exact).max() <= 0.5 + 1e-4  # nothing is clipped
    for row, step in zip(rows(weight, 0, per_channel), np.atleast_1d(codes.scale), strict=True):
        needed = np.abs(row).max() / 127 if symmetric else (max(row.max(), 0) - min(row.min(), 0)) / 255
        assert needed * (1 - 1e-6) <= step <= needed * (1.063 if per_channel else 1 + 1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_signal_keeps_its_size(bits: int) -> None:
    """Projected on the weight, its codes are the weight: exactly for one scale, as closely as scales can be stored for many."""
    weight = filters((16, 8, 3, 3), 0, seed=3)
    whole = quantized_weight(weight, 0, bits, per_channel=False).values()
    assert (weight * whole).sum() / (weight * weight).sum() == pytest.approx(1, abs=1e-5)
    each = quantized_weight(weight, 0, bits, per_channel=True).values()
    gain = (weight * each).reshape(16, -1).sum(axis=1) / (weight * weight).reshape(16, -1).sum(axis=1)
    half_step = 0.063 if bits == 2 else 0.032
    assert np.abs(gain - 1).max() <= half_step
    # Without the correction 3 bits lose 4 % in every channel.
    assert abs(gain.mean() - 1) < 0.02


def test_fewer_bits_are_never_better() -> None:
    weight = filters((8, 6, 3, 3), 0, seed=4)
    for symmetric in (True, False):
        errors = [((quantized_weight(weight, 0, b, True, symmetric).values() - weight) ** 2).sum() for b in ALL_BITS]
        assert errors == sorted(errors, reverse=True)


def test_zeros_stay_zero_and_dead_channels_do_no_harm() -> None:
    weight = filters((5, 4, 3, 3), 0, seed=5)
    weight[0] = 0
    weight[1] *= 1e-30
    weight[2, 0] = 0
    for bits in ALL_BITS:
        for symmetric in (True, False):
            found = quantized_weight(weight, 0, bits, True, symmetric)
            values = found.values()
            assert not values[weight == 0].any()
            assert np.isfinite(found.scale).all()
            alone = quantized_weight(weight[2:], 0, bits, True, symmetric)
            np.testing.assert_array_equal(values[2:], alone.values())


def test_weights_without_negatives_have_a_zero_point_of_zero_and_are_not_taken_for_symmetric() -> None:
    weight = np.abs(filters((4, 6), 0, seed=6))
    codes = quantized_weight(weight, 0, 4, per_channel=False, symmetric=False)
    assert codes.zero_point == 0
    assert codes.codes.max() == 15
    assert not codes.symmetric


def test_another_weight_is_rounded_with_the_same_scale() -> None:
    weight = filters((4, 5, 3, 3), 0, seed=7)
    for symmetric in (True, False):
        like = quantized_weight(weight, 0, 5, True, symmetric)
        other = weight * 1.5
        found = round_to_codes(other, like)
        low, high = code_range(5, symmetric)
        scale, zero = (x.astype(np.float64).reshape(-1, 1, 1, 1) for x in (like.scale, like.zero_point))
        np.testing.assert_array_equal(found.codes, np.clip(np.rint(other / scale) + zero, low, high))
        assert found.scale is like.scale
    same = Codes(like.codes, like.scale, like.zero_point, 5, 0)
    np.testing.assert_array_equal(round_to_codes(same.values(), same).codes, same.codes)
