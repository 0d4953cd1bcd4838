"""Weights as N-bit codes: rounding them, packing them into exactly N bits, and the ONNX functions that unpack them.

A stock runtime unpacks when it loads the file: it folds everything that follows from initialisers alone, so what runs
is the same int8 or float kernel as for an unpacked file. Codes are two's-complement, stored with an offset of 2^(N-1)
as N rows of bytes: N is split into pieces of 4, 2 and 1 bits (7 = 4 + 2 + 1, highest first), and a piece of b bits
takes b rows, each byte holding 8 / b weights that lie a constant stride apart. That needs shifts and masks on bytes
only, so unpacking takes a few bytes per weight and milliseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Int8 = npt.NDArray[np.int8]
UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

DOMAIN = "paretoscope"
"""Domain of the functions below; they are part of the file, so any ONNX runtime has them."""

# Clips tried for each channel, as shares of its largest weight: from this to 1. With more codes, clipping pays less.
_SMALLEST_CLIP = {2: 0.25, 3: 0.3, 4: 0.4, 5: 0.6, 6: 0.75, 7: 0.85}
_CLIPS = 33
# Rounds of "best scale for these codes, then best codes for this scale" after the grid; the error can only fall.
_REFINEMENTS = 3


def code_range(bits: int) -> tuple[int, int]:
    """Smallest and largest code: all 2^N below 8 bits; ±127 at 8, the usual symmetric range of int8 kernels."""
    return (-127, 127) if bits == 8 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _codes(rows: Float32, scale: Float32, bits: int) -> Float32:
    low, high = code_range(bits)
    codes: Float32 = np.clip(np.rint(rows / scale[:, None]), low, high)
    return codes


def _squared_error(rows: Float32, codes: Float32, scale: Float32) -> Float32:
    difference = codes * scale[:, None] - rows
    error: Float32 = np.einsum("ij,ij->i", difference, difference)
    return error


def quantize_rows(
    rows: Float32, bits: int, smallest_scale: npt.NDArray[np.floating[Any]] | float = 0.0
) -> tuple[Int8, Float32]:
    """Round (channels, weights) to codes and one scale per channel, `weight ≈ code * scale`.

    At 8 bits the scale is the largest weight / 127. Below, it is the one with the least squared error over a grid of
    clips, refined by least squares in turns with rounding (Lloyd's iteration). No scale is below `smallest_scale`; a
    channel of zeros gets that, or 1.
    """
    rows = np.ascontiguousarray(rows, np.float32)
    largest = np.abs(rows).max(axis=1, initial=0.0)
    dead = largest < np.finfo(np.float32).tiny * 256  # so small that the scale itself would vanish
    largest = np.where(dead, np.float32(1), largest).astype(np.float32)
    floor = np.broadcast_to(np.asarray(smallest_scale, np.float32), largest.shape)
    best = np.maximum(largest / 127, floor) if bits == 8 else _search_scales(rows, largest, bits, floor)
    best = np.where(dead, np.where(floor > 0, floor, np.float32(1)), best).astype(np.float32)
    return _codes(rows, best, bits).astype(np.int8), best


def _search_scales(rows: Float32, largest: Float32, bits: int, floor: Float32) -> Float32:
    """One scale per channel: grid, then refinement."""
    steps = np.float32(code_range(bits)[1])
    best = np.maximum(largest / steps, floor)
    least = np.full(len(rows), np.inf, np.float32)
    for clip in np.linspace(_SMALLEST_CLIP[bits], 1, _CLIPS, dtype=np.float32):
        scale = np.maximum(largest * clip / steps, floor).astype(np.float32)
        error = _squared_error(rows, _codes(rows, scale, bits), scale)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    for _ in range(_REFINEMENTS):
        codes = _codes(rows, best, bits)
        power = np.einsum("ij,ij->i", codes, codes)
        fitted = np.einsum("ij,ij->i", codes, rows) / np.maximum(power, 1)
        scale = np.maximum(np.where(fitted > 0, fitted, best), floor).astype(np.float32)
        error = _squared_error(rows, _codes(rows, scale, bits), scale)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    result: Float32 = best.astype(np.float32)
    return result


def pieces(bits: int) -> list[tuple[int, int]]:
    """(width, lowest bit) of each piece, highest first: 7 -> [(4, 3), (2, 1), (1, 0)]."""
    result, left = [], bits
    for width in (4, 2, 1):
        if left >= width:
            left -= width
            result.append((width, left))
    return result


def pack(codes: Int8, bits: int) -> UInt8:
    """Codes of any shape, 2 to 7 bits -> bytes of shape (bits, ceil(codes.size / 8))."""
    padded = np.zeros(-(-codes.size // 8) * 8, np.uint8)
    padded[: codes.size] = (codes.reshape(-1).astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    rows = []
    for width, lowest in pieces(bits):
        part = (padded >> lowest) & (2**width - 1)
        columns = part.reshape(8 // width, -1) << _shifts(width)
        rows.append(np.bitwise_or.reduce(columns, axis=0).reshape(width, -1))
    return np.concatenate(rows).astype(np.uint8)


def _shifts(width: int) -> UInt8:
    """How far each of the 8 / width weights of a byte is shifted, as a column."""
    return np.arange(8 - width, -1, -width, dtype=np.uint8)[:, None]


def unpacking_function(bits: int, opset: int, dequantize: bool) -> onnx.FunctionProto:
    """The ONNX function `(packed, scale) {shape} -> float32 weight` for one bit width.

    With `dequantize` it ends in DequantizeLinear along `axis`, which integer kernels absorb, and takes a zero point
    that may be left out; without, in Cast and Mul, which the runtime folds into a float weight (it keeps
    DequantizeLinear of constants unfolded), `scale` broadcasting against the weight.
    """
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: npt.NDArray[np.generic]) -> str:
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        return name

    def add(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    flat = constant("f", np.array([-1], np.int64))
    row = constant("w", np.array([1, -1], np.int64))
    parts = [f"p{width}" for width, _ in pieces(bits)]
    if len(parts) > 1:
        sizes = constant("n", np.array([width for width, _ in pieces(bits)], np.int64))
        nodes.append(helper.make_node("Split", ["packed", sizes], parts, axis=0))
    code = ""
    for (width, lowest), part in zip(pieces(bits), parts, strict=True):
        source = add("Reshape", [part if len(parts) > 1 else "packed", row], f"r{width}")
        moved = add("BitShift", [source, constant(f"s{width}", _shifts(width))], f"b{width}", direction="RIGHT")
        masked = add("BitwiseAnd", [moved, constant(f"m{width}", np.array(2**width - 1, np.uint8))], f"a{width}")
        line = add("Reshape", [masked, flat], f"l{width}")
        if lowest:
            line = add(
                "BitShift", [line, constant(f"o{width}", np.array(lowest, np.uint8))], f"h{width}", direction="LEFT"
            )
        code = add("BitwiseOr", [code, line], f"c{width}") if code else line
    shape = onnx.NodeProto(op_type="Constant", output=["shape"])
    shape.attribute.append(onnx.AttributeProto(name="value_ints", ref_attr_name="shape", type=onnx.AttributeProto.INTS))
    nodes.append(shape)
    # Packing fills the last byte; the filling is cut off.
    count = add("ReduceProd", ["shape"], "count", keepdims=1)
    start = constant("z", np.array([0], np.int64))
    shaped = add("Reshape", [add("Slice", [code, start, count], "u"), "shape"], "v")
    whole = add("Cast", [shaped], "i", to=onnx.TensorProto.INT32)
    centred = add("Sub", [whole, constant("k", np.array(2 ** (bits - 1), np.int32))], "d")
    if dequantize:
        small = add("Cast", [centred], "e", to=onnx.TensorProto.INT8)
        node = helper.make_node("DequantizeLinear", [small, "scale", "zero"], ["weight"])
        node.attribute.append(onnx.AttributeProto(name="axis", ref_attr_name="axis", type=onnx.AttributeProto.INT))
        nodes.append(node)
    else:
        add("Mul", [add("Cast", [centred], "e", to=onnx.TensorProto.FLOAT), "scale"], "weight")
    return helper.make_function(
        DOMAIN,
        function_name(bits, dequantize),
        ["packed", "scale", "zero"] if dequantize else ["packed", "scale"],
        ["weight"],
        nodes,
        [helper.make_opsetid("", opset)],
        attributes=["shape", "axis"] if dequantize else ["shape"],
    )


def function_name(bits: int, dequantize: bool) -> str:
    """What the function is called in the file."""
    return f"Weight{bits}{'Q' if dequantize else 'F'}"


BIAS_FUNCTION = "Bias"


def bias_function(opset: int) -> onnx.FunctionProto:
    """The ONNX function `(codes, weight_scale, data_scale) -> float32 bias`, its scale computed at load."""
    nodes = [
        helper.make_node("Mul", ["data_scale", "weight_scale"], ["scale"]),
        helper.make_node("DequantizeLinear", ["codes", "scale"], ["bias"], axis=0),
    ]
    return helper.make_function(
        DOMAIN,
        BIAS_FUNCTION,
        ["codes", "weight_scale", "data_scale"],
        ["bias"],
        nodes,
        [helper.make_opsetid("", opset)],
    )
