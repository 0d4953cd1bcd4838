"""N-bit codes: rounding against float64, packing against numpy's own bit order, unpacking in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engine.compress.packing import DOMAIN, code_range, function_name, pack, pieces, quantize_rows, unpacking_function
from engine.onnx_graph import open_session

PACKED_BITS = [2, 3, 4, 5, 6, 7]


def unpacked_by_the_runtime(packed: np.ndarray, scale: np.ndarray, shape: tuple[int, ...], bits: int) -> np.ndarray:
    node = helper.make_node(
        function_name(bits, True), ["packed", "scale"], ["y"], domain=DOMAIN, shape=list(shape), axis=0
    )
    graph = helper.make_graph(
        [node],
        "g",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])],
        [numpy_helper.from_array(packed, "packed"), numpy_helper.from_array(scale, "scale")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    functions = [unpacking_function(bits, 21, dequantize=True)]
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    onnx.checker.check_model(model)
    return open_session(model).run(None, {})[0]


@given(bits=st.sampled_from(PACKED_BITS), channels=st.integers(1, 9), width=st.integers(1, 37), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_runtime_unpacks_exactly_what_was_packed(bits: int, channels: int, width: int, seed: int) -> None:
    low, high = code_range(bits)
    codes = np.random.default_rng(seed).integers(low, high + 1, (channels, width)).astype(np.int8)
    packed = pack(codes, bits)
    assert packed.nbytes == bits * -(-codes.size // 8)
    scale = np.full(channels, 0.5, np.float32)
    np.testing.assert_array_equal(unpacked_by_the_runtime(packed, scale, codes.shape, bits), codes * np.float32(0.5))


@pytest.mark.parametrize("bits", PACKED_BITS)
def test_packed_bits_are_those_of_the_codes(bits: int) -> None:
    """Unpacked with numpy's own unpackbits, without the shifts of the code under test."""
    low, high = code_range(bits)
    codes = np.random.default_rng(bits).integers(low, high + 1, 64).astype(np.int8)
    packed, row = pack(codes, bits), 0
    value = np.zeros(64, int)
    for width, lowest in pieces(bits):
        octets = packed[row : row + width].reshape(-1)
        fields = np.unpackbits(octets).reshape(len(octets), 8 // width, width)
        numbers = (fields * (1 << np.arange(width)[::-1])).sum(axis=2)
        value += numbers.T.reshape(-1) << lowest
        row += width
    assert row == bits
    np.testing.assert_array_equal(value - 2 ** (bits - 1), codes)


@pytest.mark.parametrize("bits", [*PACKED_BITS, 8])
def test_no_clip_or_scale_nearby_is_better_than_the_one_chosen(bits: int) -> None:
    """Against a float64 search twelve times as fine: below 8 bits within 8 % of its squared error, and never above max-scaling."""
    rows = np.random.default_rng(bits).normal(size=(6, 200)).astype(np.float32)
    codes, scale = quantize_rows(rows, bits)
    low, high = code_range(bits)
    assert codes.min() >= low
    assert codes.max() <= high
    wide = rows.astype(np.float64)

    def error(scales: np.ndarray) -> np.ndarray:
        return ((np.clip(np.rint(wide / scales[:, None]), low, high) * scales[:, None] - wide) ** 2).sum(axis=1)

    np.testing.assert_allclose(codes * scale[:, None].astype(np.float64) - wide, 0, atol=np.abs(wide).max())
    chosen = ((codes * scale[:, None].astype(np.float64) - wide) ** 2).sum(axis=1)
    largest = np.abs(wide).max(axis=1)
    np.testing.assert_allclose(chosen, error(scale.astype(np.float64)), rtol=1e-4)
    assert (chosen <= error(largest / high) * 1.0001).all()
    if bits < 8:
        finest = np.min([error(largest * clip / high) for clip in np.linspace(0.2, 1.2, 400)], axis=0)
        assert (chosen <= finest * 1.08).all()


def test_dead_channels_and_smallest_scales_are_honoured() -> None:
    rows = np.zeros((3, 10), np.float32)
    rows[1] = 1e-6
    rows[2] = np.linspace(-1, 1, 10)
    for bits in (8, 4):
        codes, scale = quantize_rows(rows, bits, np.array([0.0, 1e-3, 0.0]))
        assert scale[0] == 1.0
        assert not codes[0].any()
        assert scale[1] >= np.float32(1e-3)
        assert np.isfinite(scale).all()
        assert codes[2].any()
