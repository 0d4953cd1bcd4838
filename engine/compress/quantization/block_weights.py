"""Matrices in blocks of few bits for ONNX Runtime's MatMulNBits, which multiplies without ever turning them back into a whole matrix.

Every block of an output's inputs has a scale of its own, in 16 bits where those hold it, and a zero point where it is not symmetric. Codes
are to the nearest here; block_rounding.py learns them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantization.builder import Builder
from engine.compress.quantization.codes import row_scales
from engine.compress.quantization.others import is_table, worth_rounding
from engine.compress.quantization.scheme import BlockCodes, Float32, Scheme
from engine.compress.quantization.weights import Layer

TABLE_BITS = (4, 8)
"""Of codes in blocks that rows can be looked up in."""
_LEAST_HALF, _MOST_HALF = 6.2e-5, 6e4
"""Scales that 16-bit floats hold with all their digits."""


def nearest_blocks(matrix: Float32, bits: int, size: int, symmetric: bool) -> BlockCodes:
    """A matrix (inputs, outputs) in blocks, to the nearest codes."""
    inputs, outputs = matrix.shape
    count = math.ceil(inputs / size)
    padded = np.zeros((outputs, count * size), np.float32)
    padded[:, :inputs] = matrix.T
    rows = padded.reshape(outputs * count, size)
    scale, zero = row_scales(rows, bits, symmetric)
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16).astype(np.float32)
    scale = half if scale.min() >= _LEAST_HALF and scale.max() <= _MOST_HALF else scale
    zero = zero + 2 ** (bits - 1) if symmetric else zero
    codes = np.clip(np.rint(rows / scale[:, None]) + zero[:, None], 0, 2**bits - 1).astype(np.uint8)
    shape = (outputs, count)
    return BlockCodes(
        codes.reshape(*shape, size), scale.reshape(shape), zero.astype(np.uint8).reshape(shape), bits, inputs
    )


def block_tables(
    model: onnx.ModelProto,
    layers: Collection[str],
    bits: int,
    stated: Mapping[str, int],
    size: int,
    symmetric: bool,
) -> dict[str, BlockCodes]:
    """Tables (rows, columns) of which nodes do nothing but look up whole rows; arguments as of `rounded_others`.

    Those narrower than a block, and those in other numbers of bits than the operator knows, are left out.
    """
    stored = {t.name: t for t in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = {}
    for name, (_, width) in worth_rounding(model, layers, bits, stated).items():
        value = numpy_helper.to_array(stored[name])
        alone = value.ndim == 2 and all(map(is_table, readers[name]))
        if alone and value.shape[1] >= size and width in TABLE_BITS:
            found[name] = nearest_blocks(np.ascontiguousarray(value.T), width, size, symmetric)
    return found


def packed(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Codes (…, n) -> bytes (…, ceil(n · bits / 8)), the first code in the lowest bits."""
    per_byte = 8 // bits
    missing = -codes.shape[-1] % per_byte
    filled = np.concatenate([codes, np.zeros((*codes.shape[:-1], missing), np.uint8)], -1)
    parts = filled.reshape(*codes.shape[:-1], -1, per_byte) << (np.arange(per_byte, dtype=np.uint8) * np.uint8(bits))
    whole: npt.NDArray[np.uint8] = np.bitwise_or.reduce(parts, axis=-1)
    return whole


def _stored_scale(builder: Builder, scale: Float32) -> str:
    half = scale.astype(np.float16)
    if np.array_equal(half.astype(np.float32), scale):
        return builder.add("Cast", [builder.store(half)], to=TensorProto.FLOAT)
    return builder.store(scale)


def block_product(builder: Builder, scheme: Scheme, layer: Layer, node: onnx.NodeProto) -> None:
    """Write a layer whose weight is in blocks."""
    blocks = scheme.blocks[layer.weight]
    bias = scheme.biases.get(layer.output)
    addend = "" if bias is None else builder.store(np.broadcast_to(bias, len(blocks.codes)))
    if bias is None and len(node.input) > 2:
        addend = node.input[2]
    zeros = "" if blocks.symmetric else builder.store(packed(blocks.zero_point, blocks.bits).reshape(-1))
    inputs = [
        node.input[0],
        builder.once(f"blocks {layer.weight}", lambda: builder.store(packed(blocks.codes, blocks.bits))),
        builder.once(f"block scales {layer.weight}", lambda: _stored_scale(builder, blocks.scale.reshape(-1))),
        zeros,
        "",
        addend if bias is not None else "",
    ]
    while not inputs[-1]:
        inputs.pop()
    plain = bias is not None or not addend
    builder.nodes.append(
        helper.make_node(
            "MatMulNBits",
            inputs,
            [node.output[0] if plain else builder.name()],
            node.name,
            domain="com.microsoft",
            K=blocks.inputs,
            N=len(blocks.codes),
            bits=blocks.bits,
            block_size=blocks.codes.shape[2],
            accuracy_level=scheme.accuracy_level,
        )
    )
    if not plain:
        builder.add("Add", [builder.nodes[-1].output[0], addend], node.output[0])


def block_table(builder: Builder, scheme: Scheme, node: onnx.NodeProto) -> bool:
    """Write a node that looks up rows of a table which is in blocks; whether it did."""
    blocks = scheme.blocks.get(node.input[0]) if is_table(node) else None
    if blocks is None or any(x.weight == node.input[0] and x.axis != 0 for x in scheme.layers):
        return False
    rows = blocks.codes.reshape(len(blocks.codes), -1)
    # The operator takes every number of a byte for a column; an odd last one is filled up with a code of zero.
    filled = blocks.bits == 4 and blocks.inputs % 2
    if rows.shape[1] == blocks.inputs and any(x.weight == node.input[0] for x in scheme.layers):
        whole = builder.once(f"blocks {node.input[0]}", lambda: builder.store(packed(blocks.codes, blocks.bits)))
        shape = np.array([len(rows), rows.shape[1] * blocks.bits // 8])
        codes = builder.add("Reshape", [whole, builder.store(shape, np.int64)])
    else:
        codes = builder.store(packed(rows[:, : blocks.inputs + filled], blocks.bits))
    inputs = [
        codes,
        node.input[1],
        _stored_scale(builder, blocks.scale),
        *([] if blocks.symmetric else [builder.store(packed(blocks.zero_point, blocks.bits))]),
    ]
    builder.nodes.append(
        helper.make_node(
            "GatherBlockQuantized",
            inputs,
            [builder.name() if filled else node.output[0]],
            node.name,
            domain="com.microsoft",
            bits=blocks.bits,
            block_size=blocks.codes.shape[2],
            gather_axis=0,
            quantize_axis=1,
        )
    )
    if filled:
        ends = [builder.store([end], np.int64) for end in (0, blocks.inputs, -1)]
        builder.add("Slice", [builder.nodes[-1].output[0], *ends], node.output[0])
    return True
