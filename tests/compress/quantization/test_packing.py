"""Numbers in exactly N bits: packed against numpy's own bit order, sparse forms against their definitions, all unpacked in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from engine.compress.quantization.builder import Builder
from engine.compress.quantization.grid import bias_codes, precision, scale_codes, storable_bias, storable_scales
from engine.compress.quantization.packing import (
    DENSE,
    FORMS,
    MASK,
    Form,
    form_bytes,
    pack,
    pieces,
    smallest_forms,
    split_gaps,
)
from engine.compress.quantization.scheme import Codes
from engine.compress.quantization.unpacking import packed_biases, packed_scales, packed_weights, stored_codes
from engine.graph.graph import open_session, with_outputs

UNOPTIMIZED = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
ALL_BITS = [2, 3, 4, 5, 6, 7, 8]


def computed(builder: Builder, names: list[str]) -> list[np.ndarray]:
    """What ONNX Runtime makes of the builder's constants, without any optimization that could hide a wrong one."""
    blank = helper.make_graph([], "g", [], [])
    model = helper.make_model(blank, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return open_session(with_outputs(builder.model(model), names), UNOPTIMIZED).run(names, {})


def stored_bytes(builder: Builder) -> int:
    """Bytes of the large initialisers: packed codes, masks, gaps."""
    return sum(len(t.raw_data) for t in builder.tensors if t.data_type in (TensorProto.UINT8, TensorProto.INT8))


def random_codes(bits: int, size: int, density: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = -127 if bits == 8 else -(2 ** (bits - 1))
    codes = rng.integers(low, 2 ** (bits - 1), size)
    return np.where(rng.random(size) < density, codes, 0).astype(np.int16)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7])
def test_packed_bits_are_those_of_the_numbers(bits: int) -> None:
    """Unpacked with numpy's own unpackbits, without the shifts of the code under test."""
    numbers = np.random.default_rng(bits).integers(0, 2**bits, 64)
    packed, row = pack(numbers, bits), 0
    assert packed.nbytes == 64 * bits // 8
    value = np.zeros(64, int)
    for width, lowest in pieces(bits):
        octets = packed[row : row + width].reshape(-1)
        fields = np.unpackbits(octets).reshape(len(octets), 8 // width, width)
        parts = (fields * (1 << np.arange(width)[::-1])).sum(axis=2)
        value += parts.reshape(-1) << lowest
        row += width
    assert row == bits
    np.testing.assert_array_equal(value, numbers)


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("unsigned", [False, True])
def test_the_runtime_unpacks_every_form_exactly(bits: int, unsigned: bool) -> None:
    for size, density in ((1, 1.0), (8, 0.0), (77, 0.9), (333, 0.3), (4000, 0.02)):
        codes = random_codes(bits, size, density, seed=bits * size)
        for form in FORMS:
            builder = Builder(21)
            name, length = stored_codes(builder, codes, bits, form, unsigned)
            (found,) = computed(builder, [name])
            assert found.dtype == (np.uint8 if unsigned else np.int8)
            assert found.shape == (length,)
            np.testing.assert_array_equal(found[:size].astype(int) - (128 if unsigned else 0), codes)


@given(bits=st.sampled_from(ALL_BITS), size=st.integers(1, 700), density=st.floats(0, 1), form=st.sampled_from(FORMS))
@settings(max_examples=60, deadline=None)
def test_a_form_takes_the_bytes_that_it_is_chosen_by(bits: int, size: int, density: float, form: Form) -> None:
    codes = random_codes(bits, size, density, seed=size)
    builder = Builder(21)
    stored_codes(builder, codes, bits, form, False)
    claimed = form_bytes(codes != 0, bits, form)
    shifts_and_masks = 60
    # Padding to whole bytes, at least one of each bit; by hand for the dense form.
    assert claimed - 1 <= stored_bytes(builder) <= claimed + 8 + bits + shifts_and_masks
    if form == DENSE:
        assert claimed == (size if bits == 8 else bits * -(-size // 8))


@given(size=st.integers(1, 300), density=st.floats(0, 1), gap_bits=st.integers(1, 7), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_gaps_count_the_zeros_between_stored_codes(size: int, density: float, gap_bits: int, seed: int) -> None:
    used = np.random.default_rng(seed).random(size) < density
    gaps, positions = split_gaps(used, gap_bits)
    at = -1
    for gap, position in zip(gaps, positions, strict=True):
        at += int(gap) + 1
        assert at == position
    assert gaps.max(initial=0) < 2**gap_bits
    broken = positions[~used[positions]]
    np.testing.assert_array_equal(np.setdiff1d(positions, broken), np.flatnonzero(used))
    # A zero is only stored where the run before it is as long as a gap can be.
    assert (gaps[~used[positions]] == 2**gap_bits - 1).all()


def test_the_chosen_forms_are_the_smallest_together() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.random(n) < d for n, d in ((4000, 0.05), (3000, 0.4), (500, 0.95), (64, 0.02))]
    for bits in (2, 4, 8):
        for node_bytes in (0, 400, 10_000):
            chosen = smallest_forms(arrays, bits, node_bytes)

            def cost(forms: list[Form], bits: int = bits, node_bytes: int = node_bytes) -> int:
                sizes = sum(form_bytes(a, bits, f) for a, f in zip(arrays, forms, strict=True))
                return sizes + node_bytes * len(set(forms) - {DENSE})

            for gap_bits in range(1, 8):
                for code in range(3**4):  # every way to give the four arrays one of three forms
                    options = (DENSE, MASK, Form("gaps", gap_bits))
                    assert cost(chosen) <= cost([options[code // 3**i % 3] for i in range(4)])
    assert smallest_forms(arrays, 4, 10_000) == [DENSE] * 4


@pytest.mark.parametrize("bits", ALL_BITS)
def test_layers_of_one_width_share_an_array_and_come_back_apart(bits: int) -> None:
    rng = np.random.default_rng(bits)
    weights = {}
    for i, (shape, density) in enumerate((((4, 3, 3, 3), 1.0), ((8, 1, 5, 5), 0.1), ((3, 7), 0.0), ((64, 40), 0.1))):
        codes = random_codes(bits, int(np.prod(shape)), density, seed=i).reshape(shape)
        weights[f"w{i}"] = Codes(codes, np.ones(shape[0], np.float32), np.zeros(shape[0], np.int16), bits, 0)
    weights["asymmetric"] = Codes(
        rng.integers(0, 2**bits, (5, 5)).astype(np.int16), np.float32(1), np.asarray(1, np.int16), bits, 0
    )
    for unsigned in (False, True):
        builder = Builder(21)
        names = packed_weights(builder, weights, unsigned)
        for name, found in zip(weights, computed(builder, [names[n] for n in weights]), strict=True):
            moved = 2 ** (bits - 1) if name == "asymmetric" else 0
            expected = weights[name].codes.reshape(-1) - moved + (128 if unsigned else 0)
            np.testing.assert_array_equal(found.astype(int), expected)


def storable_by_definition(largest: float, bits: int) -> np.ndarray:
    """Every storable scale from `largest` down, written down from the table in engine/compress/quantization/grid.py."""
    mantissa, exponent = (3, 3) if bits <= 2 else (4, 4)
    top = int(np.floor(np.log2(largest / 1.118034) + 1e-6))
    octaves = 2.0 ** np.arange(top - 2**exponent + 1, top + 1)
    digits = (octaves[:, None] * (1 + np.arange(2**mantissa) / 2**mantissa)).reshape(-1)
    return np.float32(1.118034) * digits.astype(np.float32)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_scales_are_rounded_to_the_nearest_that_fits_a_byte(bits: int) -> None:
    spread = np.random.default_rng(bits).normal(-6, 1.4 if bits > 2 else 0.7, 400)
    scale = np.exp([*spread, -30]).astype(np.float32)  # the last channel is switched off
    found, above = storable_scales(scale, bits), storable_scales(scale, bits, up=True)
    grid = storable_by_definition(float(found.max()), bits)
    inside = scale >= grid[0]
    assert inside.sum() == 400
    nearest = np.abs(grid[:, None].astype(np.float64) - scale[inside]).min(axis=0)
    np.testing.assert_allclose(np.abs(found[inside].astype(np.float64) - scale[inside]), nearest, rtol=1e-4, atol=1e-12)
    assert (found[~inside] == grid[0]).all()
    assert (above >= scale).all()
    assert (above[above > above.min()] <= scale[above > above.min()] * 1.13).all()
    for values in (found, above):
        assert np.isin(values, storable_by_definition(float(values.max()), bits)).all()
        np.testing.assert_array_equal(storable_scales(values, bits), values)
        np.testing.assert_array_equal(storable_scales(values, bits, up=True), values)
    assert storable_scales(np.float32(0.1234), bits) == np.float32(0.1234)  # one for the whole tensor stays as it is


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_scales_that_lie_too_far_apart_stay_what_they_are(bits: int) -> None:
    far = np.geomspace(1e-7, 1, 80).astype(np.float32)
    for up in (False, True):
        np.testing.assert_array_equal(storable_scales(far, bits, up=up), far)
    assert scale_codes(far, bits) is None
    # A channel that is switched off is no reason: it takes the smallest of the others.
    near = np.append(np.geomspace(0.1, 1, 80), 1e-12).astype(np.float32)
    found = storable_scales(near, bits)
    assert scale_codes(found, bits) is not None
    assert 1e-6 < found[-1] < found[:-1].min()
    np.testing.assert_allclose(found[:-1], near[:-1], rtol=0.07)


def test_scales_come_back_to_the_last_bit_on_the_grid_and_off_it() -> None:
    rng = np.random.default_rng(0)
    weights = {}
    for name, bits, n in (("a", 4, 90), ("b", 8, 33), ("c", 2, 120), ("d", 2, 9), ("off", 5, 70)):
        scale = np.exp(rng.normal(-5, 0.7, n)).astype(np.float32)
        scale = scale if name == "off" else storable_scales(scale, bits)
        weights[name] = Codes(np.zeros((n, 1), np.int16), scale, np.zeros(n, np.int16), bits, 0)
    builder = Builder(21)
    columns = packed_scales(builder, weights)
    for name, units in zip(columns, computed(builder, [c.tensor for c in columns.values()]), strict=True):
        np.testing.assert_array_equal(units * columns[name].unit, weights[name].scale)
    on_grid, coarse, exact = 90 + 33, -(-129 // 8) * 6, 4 * 70
    large = sum(len(t.raw_data) for t in builder.tensors if len(t.raw_data) > 40)
    assert large == on_grid + coarse + exact
    assert scale_codes(weights["off"].scale, 5) is None
    codes, base = scale_codes(weights["a"].scale, 4)
    units = ((16 + codes % 16) << (codes >> 4).astype(int)).astype(np.float32)
    np.testing.assert_array_equal(units * base, weights["a"].scale)


def test_biases_are_stored_to_16_or_8_bits_and_equal_ones_once() -> None:
    rng = np.random.default_rng(1)
    fine, coarse = (rng.normal(size=50).astype(np.float32) for _ in range(2))
    zero = np.zeros(7, np.float32)
    builder = Builder(21)
    given_biases = {"a": (fine, 4), "b": (coarse, 2), "again": (fine, 4), "zero": (zero, 8)}
    columns = packed_biases(builder, given_biases)
    assert columns["a"].tensor == columns["again"].tensor
    values = computed(builder, [columns[name].tensor for name in given_biases])
    for (name, (bias, bits)), codes in zip(given_biases.items(), values, strict=True):
        stored = codes * columns[name].unit
        np.testing.assert_array_equal(stored, storable_bias(bias, bits))
        half_step = np.abs(bias).max() / (2 ** (precision(bits).bias - 1) - 1) / 2
        assert np.abs(stored - bias).max() <= half_step * 1.001
    assert (precision(2).bias, precision(3).bias) == (8, 16)
    assert bias_codes(np.full(3, 1e-44, np.float32), 8)[0].tolist() == [0, 0, 0]
