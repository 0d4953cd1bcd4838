"""Packed numbers back to tensors in standard ONNX operators, which a runtime folds when it loads the file: nothing is left to do at run.

All layers of one bit width and form lie in one array, which is unpacked once and then cut: a layer costs the file two names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engine.compress.quantization.builder import Builder
from engine.compress.quantization.grid import Precision, bias_codes, precision, scale_codes
from engine.compress.quantization.packing import (
    DENSE,
    MASK,
    PER_BYTE,
    Form,
    pack,
    pieces,
    shifts,
    smallest_forms,
    split_gaps,
)
from engine.compress.quantization.scheme import Codes

Float32 = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]

SPARSE_NODE_BYTES = 500
"""About what the nodes of one more sparse array take."""
_FEW = 64
"""So few scales are smaller in float32 than with the nodes that decode them."""
_GROUP = 2**20
"""Weights that are unpacked at a time: what a runtime holds of them while it does is some ten times as many bytes."""


def packed_weights(builder: Builder, weights: Mapping[str, Codes], unsigned: bool) -> dict[str, str]:
    """Store codes in their smallest exact form; {weight: flat int8 codes by tensor name}, or uint8, 128 above, for `unsigned`."""
    names: dict[str, str] = {}
    for bits in sorted({c.bits for c in weights.values()}):
        group = {name: c for name, c in weights.items() if c.bits == bits}
        # A zero point other than 0 has no zero codes to leave out.
        used = [(c.codes.reshape(-1) != 0) | (not c.symmetric) for c in group.values()]
        forms = dict(zip(group, smallest_forms(used, bits, SPARSE_NODE_BYTES), strict=True))
        for form in sorted(set(forms.values()), key=lambda f: (f.kind, f.gap_bits)):
            for part in _chunks({name: group[name] for name, f in forms.items() if f == form}):
                names |= _packed_group(builder, part, bits, form, unsigned)
    return names


def _chunks(weights: Mapping[str, Codes]) -> list[dict[str, Codes]]:
    """The weights in order, in groups of no more than _GROUP codes or a single weight."""
    groups: list[dict[str, Codes]] = []
    size = _GROUP
    for name, codes in weights.items():
        if size + codes.codes.size > _GROUP:
            groups.append({})
            size = 0
        groups[-1][name] = codes
        size += codes.codes.size
    return groups


def _packed_group(
    builder: Builder, weights: Mapping[str, Codes], bits: int, form: Form, unsigned: bool
) -> dict[str, str]:
    codes: Int16 = np.concatenate([_centred(c).reshape(-1) for c in weights.values()])
    flat, length = stored_codes(builder, codes, bits, form, unsigned)
    sizes = [c.codes.size for c in weights.values()]
    rest = length - len(codes)
    names = builder.split(flat, [*sizes, rest] if rest else sizes)
    return dict(zip(weights, names, strict=False))


def _centred(codes: Codes) -> Int16:
    """Codes in -2^(bits-1) .. 2^(bits-1) - 1, those with a zero point moved down."""
    return codes.codes - np.int16(0 if codes.symmetric else 2 ** (codes.bits - 1))


def stored_codes(builder: Builder, codes: Int16, bits: int, form: Form, unsigned: bool) -> tuple[str, int]:
    """Store flat codes -2^(bits-1) .. 2^(bits-1) - 1; the int8 (uint8) tensor made of them, and its length, which may be a little more."""
    if form == DENSE:
        whole: Int16 = codes if bits == 8 else _padded(codes)
        return _small(builder, whole, bits, unsigned), len(whole)
    zero, kind = (128, np.uint8) if unsigned else (0, np.int8)
    used = codes != 0
    if form == MASK:
        values = _small(builder, _padded(codes[used]), bits, unsigned)
        return scattered(builder, used, values, kind(zero)), len(_padded(used))
    gaps, positions = split_gaps(used, form.gap_bits)
    steps = builder.add("Cast", [_numbers(builder, _padded(gaps), form.gap_bits)], to=onnx.TensorProto.INT32)
    one = builder.store(1, np.int32)
    ends = builder.add("CumSum", [builder.add("Add", [steps, one]), builder.store(0, np.int32)])
    values = _small(builder, _padded(codes[positions]), bits, unsigned)
    # The padding of the arrays writes zeros behind the last code, up to seven beyond the end.
    length = len(codes) + PER_BYTE
    blank = onnx.numpy_helper.from_array(np.array([zero], kind))
    zeros = builder.add("ConstantOfShape", [builder.store([length], np.int64)], value=blank)
    return builder.add("ScatterElements", [zeros, builder.add("Sub", [ends, one]), values]), length


def scattered(builder: Builder, used: npt.NDArray[np.bool_], values: str, zero: np.generic) -> str:
    """Values, in order, where `used` is true and `zero` elsewhere; a flat tensor of whole bytes of bits, padded with zeros."""
    mask = builder.add("Cast", [_numbers(builder, _padded(used), 1)], to=onnx.TensorProto.INT32)
    counted = builder.add("CumSum", [mask, builder.store(0, np.int32)])
    position = builder.add("Mul", [counted, mask])  # 0 for a zero, else 1 + the position among the values
    table = builder.add("Concat", [builder.store(zero.reshape(1)), values], axis=0)
    return builder.add("Gather", [table, position])


def _padded(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Zeros added up to whole bytes of packed bits, one byte at least: a runtime need not know empty tensors."""
    return np.pad(values, (0, max(1, -(-len(values) // PER_BYTE)) * PER_BYTE - len(values)))


def _small(builder: Builder, codes: Int16, bits: int, unsigned: bool) -> str:
    """Store codes -2^(bits-1) .. 2^(bits-1) - 1 densely; int8, or uint8 and 128 above. Whole bytes of packed bits below 8."""
    kind, shift = (np.uint8, 128) if unsigned else (np.int8, 0)
    if bits == 8:
        return builder.store(codes + shift, kind)
    half = 2 ** (bits - 1)
    return _numbers(builder, codes + half, bits, shift - half, kind)


def _numbers(
    builder: Builder, numbers: npt.NDArray[Any], bits: int, offset: int = 0, kind: type[np.integer[Any]] = np.uint8
) -> str:
    """Store numbers 0 .. 2^bits - 1, a multiple of PER_BYTE of them, in exactly that many bits; a flat tensor of numbers + offset.

    Each byte is looked up in a table of the numbers that it holds. What a runtime makes of constants it keeps until all are folded, so
    there should be few tensors of the weights' size, and none of more bytes than needed.
    """
    parts = pieces(bits)
    rows = [builder.store(pack(numbers, bits))]
    if len(parts) > 1:
        widths = builder.store([width for width, _ in parts], np.int64)
        packed, rows = rows[0], [builder.name() for _ in parts]
        builder.nodes.append(onnx.helper.make_node("Split", [packed, widths], rows, axis=0))
    total = ""
    for position, ((width, lowest), row) in enumerate(zip(parts, rows, strict=True)):
        # The offset is a multiple of the highest piece's unit, so that lower pieces fit below.
        table = _table(builder, width, lowest, 0 if position else offset, kind)
        found = builder.add("Gather", [table, builder.add("Cast", [row], to=onnx.TensorProto.INT32)])
        line = builder.add("Reshape", [found, builder.store([-1], np.int64)])
        total = builder.add("BitwiseOr", [total, line]) if total else line
    return total


def _table(builder: Builder, width: int, lowest: int, offset: int, kind: type[np.integer[Any]]) -> str:
    """What each of the 256 bytes holds, (256, 8 / width): numbers of `width` bits times 2^lowest plus the offset."""

    def every_byte() -> str:
        ends = [builder.store(end, np.int64) for end in (0, 256, 1)]
        column = builder.add("Unsqueeze", [builder.add("Range", ends), builder.store([1], np.int64)])
        return builder.add("Cast", [column], to=onnx.TensorProto.UINT8)

    def table() -> str:
        moved = builder.add(
            "BitShift", [builder.once("bytes", every_byte), builder.store(shifts(width))], direction="RIGHT"
        )
        number = builder.add("BitwiseAnd", [moved, builder.store(2**width - 1, np.uint8)])
        if lowest:
            number = builder.add("BitShift", [number, builder.store(lowest, np.uint8)], direction="LEFT")
        if not offset and kind is np.uint8:
            return number
        if offset:
            number = builder.add("Cast", [number], to=onnx.TensorProto.INT32)
            number = builder.add("Add", [number, builder.store(offset, np.int32)])
        return builder.add("Cast", [number], to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)))

    return builder.once(f"table {width} {lowest} {offset} {np.dtype(kind)}", table)


@dataclass(frozen=True)
class Channels:
    """Numbers of a layer's channels: a float32 tensor by name, to be multiplied by `unit`."""

    tensor: str
    unit: np.float32


def packed_scales(builder: Builder, weights: Mapping[str, Codes]) -> dict[str, Channels]:
    """Store the scales of weights that have one for each channel: a byte each on the grid, float32 off it."""
    found: dict[str, Channels] = {}
    columns: dict[tuple[int, int] | None, dict[str, npt.NDArray[Any]]] = {}
    units: dict[str, np.float32] = {}
    channels = Counter[Precision]()
    for codes in weights.values():
        channels[precision(codes.bits)] += codes.scale.size
    for name, codes in weights.items():
        if not codes.scale.ndim:
            continue
        p = precision(codes.bits)
        coded = scale_codes(codes.scale, codes.bits) if channels[p] > _FEW else None
        stored, units[name] = coded if coded is not None else (codes.scale, np.float32(1))
        columns.setdefault((p.mantissa, p.exponent) if coded is not None else None, {})[name] = stored
    for key, column in columns.items():
        values = np.concatenate(list(column.values()))
        flat, rest = (builder.store(values), 0) if key is None else _decoded_scales(builder, values, *key)
        sizes = [len(v) for v in column.values()]
        names = builder.split(flat, [*sizes, rest] if rest else sizes)
        found |= {name: Channels(tensor, units[name]) for name, tensor in zip(column, names, strict=False)}
    return found


def packed_zero_points(builder: Builder, weights: Mapping[str, Codes]) -> dict[str, str]:
    """Store the zero points of weights that have one for each channel, a byte each; int8 tensors, moved down as the codes are."""
    chosen = {name: c for name, c in weights.items() if c.scale.ndim and not c.symmetric}
    if not chosen:
        return {}
    moved = [(c.zero_point - 2 ** (c.bits - 1)).astype(np.int8) for c in chosen.values()]
    return dict(zip(chosen, builder.split(builder.store(np.concatenate(moved)), [len(m) for m in moved]), strict=True))


def _decoded_scales(builder: Builder, codes: npt.NDArray[np.uint8], mantissa: int, exponent: int) -> tuple[str, int]:
    """Codes of grid.py as float32, in units, and how many more there are than codes."""
    bits = mantissa + exponent
    values = codes if bits == 8 else _padded(codes)
    byte = builder.store(codes) if bits == 8 else _numbers(builder, values, bits)
    low = builder.add("BitwiseAnd", [byte, builder.store(2**mantissa - 1, np.uint8)])
    whole = builder.add("BitwiseOr", [low, builder.store(2**mantissa, np.uint8)])
    octave = builder.add("BitShift", [byte, builder.store(mantissa, np.uint8)], direction="RIGHT")
    wide = [builder.add("Cast", [x], to=onnx.TensorProto.UINT32) for x in (whole, octave)]
    units = builder.add("BitShift", wide, direction="LEFT")
    return builder.add("Cast", [units], to=onnx.TensorProto.FLOAT), len(values) - len(codes)


def packed_biases(builder: Builder, biases: Mapping[str, tuple[Float32, int]]) -> dict[str, Channels]:
    """Store biases, {layer: (bias, weight bits)}, in 16 or 8 bits with one step per layer; equal ones once."""
    columns: dict[int, dict[bytes, Int16]] = {}
    places: dict[str, tuple[int, bytes, np.float32]] = {}
    for layer, (bias, bits) in biases.items():
        codes, step = bias_codes(bias, bits)
        width = precision(bits).bias
        columns.setdefault(width, {})[codes.tobytes()] = codes
        places[layer] = (width, codes.tobytes(), step)
    tensors: dict[tuple[int, bytes], str] = {}
    for width, column in columns.items():
        stored = builder.store(np.concatenate(list(column.values())), np.int16 if width == 16 else np.int8)
        flat = builder.add("Cast", [stored], to=onnx.TensorProto.FLOAT)
        names = builder.split(flat, [len(v) for v in column.values()])
        tensors |= {(width, key): name for key, name in zip(column, names, strict=True)}
    return {layer: Channels(tensors[width, key], step) for layer, (width, key, step) in places.items()}
