"""Weights that no layer multiplies by in integers, kept in few bits all the same: tables, recurrent layers, transposed convolutions,
batches of matrices.

A table is read as codes, and only the rows that were asked for are turned into numbers: what a runtime holds of it is a byte a weight at
most. All others are turned back when the file is loaded, and compute in floats.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantization.builder import Builder
from engine.compress.quantization.codes import quantized_weight
from engine.compress.quantization.kinds import integer_data
from engine.compress.quantization.scheme import Codes, Float32, Scheme
from engine.graph.multiplying import RECURRENT_OPS

_LEAST_SAVING = 512
"""Bytes; less than this the nodes that turn codes back may take."""
_FLOAT_BITS = 32


def other_weights(model: onnx.ModelProto, layers: Collection[str]) -> dict[str, tuple[int, ...]]:
    """{initialiser: shape} of weights that are read by such nodes and by none of the `layers`' weights, in graph order."""
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    found: dict[str, tuple[int, ...]] = {}
    for node in model.graph.node:
        for name in _read_by(node):
            if len(shapes.get(name, ())) >= 2 and name not in layers:
                found[name] = shapes[name]
    return found


def _read_by(node: onnx.NodeProto) -> list[str]:
    if node.domain not in ("", "ai.onnx"):
        return []
    if node.op_type in RECURRENT_OPS:
        return list(node.input[1:3])
    if is_table(node):
        return list(node.input[:1])
    return list(node.input[1:2]) if node.op_type in ("ConvTranspose", "MatMul") else []


def is_table(node: onnx.NodeProto) -> bool:
    """Whether a node looks rows up, by the first axis."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    return node.domain in ("", "ai.onnx") and node.op_type == "Gather" and axis == 0


def rounded_others(
    model: onnx.ModelProto, layers: Collection[str], bits: int, stated: Mapping[str, int]
) -> dict[str, Codes]:
    """Codes (rows, weights each) with a scale for each row, by initialiser: of `bits` bits, or as `stated`, where that saves bytes.

    Rows are what a table is looked up by, a recurrent layer's units, and for the rest all axes but the last, or the first of a filter's.
    """
    tensors = {t.name: t for t in model.graph.initializer}
    return {
        name: quantized_weight(
            np.ascontiguousarray(numpy_helper.to_array(tensors[name]).reshape(rows, -1)), 0, width, per_channel=True
        )
        for name, (rows, width) in worth_rounding(model, layers, bits, stated).items()
    }


def worth_rounding(
    model: onnx.ModelProto, layers: Collection[str], bits: int, stated: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """{initialiser: (rows, bits)} of what `rounded_others` rounds."""
    filters = {n.input[1] for n in model.graph.node if n.op_type == "ConvTranspose"}
    tables = {n.input[0] for n in model.graph.node if is_table(n)}
    found: dict[str, tuple[int, int]] = {}
    for name, shape in other_weights(model, layers).items():
        width = stated.get(name, bits)
        rows = shape[0] if name in filters | tables else math.prod(shape[:-1])
        saved = math.prod(shape) * (_FLOAT_BITS - width) // 8 - 4 * rows
        if width < _FLOAT_BITS and saved >= _LEAST_SAVING:
            found[name] = rows, width
    return found


def lstm_weights(model: onnx.ModelProto) -> set[str]:
    """What LSTMs multiply by, which with method dynamic are integers."""
    return {name for node in model.graph.node if node.op_type == "LSTM" for name in node.input[1:3]}


def look_up(builder: Builder, scheme: Scheme, node: onnx.NodeProto, flat: Mapping[str, str]) -> bool:
    """Write a node that reads a table, where the scheme has codes of it; whether it did. `flat`: packed codes, by initialiser."""
    if not is_table(node):
        return False
    name = node.input[0]
    codes, shape = scheme.others.get(name), scheme.shapes.get(name, ())
    shared, above = scheme.weights.get(name), False
    if codes is None and shared is not None and (shared.axis == 0 or not shared.scale.ndim):
        codes = shared  # a matrix that a layer multiplies by, too
        integer = any(x.weight == name and (scheme.dynamic or integer_data(scheme, x)) for x in scheme.layers)
        above = integer and scheme.format == "u8u8"
    if codes is None:
        return False

    def of_rows(values: npt.NDArray[Any]) -> str:
        numbers = values.astype(np.float32)
        if not numbers.ndim:
            return builder.store(numbers)
        return builder.add("Gather", [builder.store(numbers.reshape(-1, *[1] * (len(shape) - 1))), node.input[1]])

    stored = _codes(builder, name, codes, flat, shape, 128 if above else 0)
    rows = builder.add("Gather", [stored, node.input[1]])
    builder.nodes[-1].name = node.name
    number = builder.add("Cast", [rows], to=TensorProto.FLOAT)
    off = np.asarray(codes.zero_point + (128 if above else 0) - _half(codes))
    if off.any():  # where all zero points are one, a number
        number = builder.add("Sub", [number, of_rows(off if np.ptp(off) else off.reshape(-1)[0])])
    builder.add("Mul", [number, of_rows(codes.scale)], node.output[0])
    return True


def turned_back(builder: Builder, scheme: Scheme, name: str, flat: Mapping[str, str]) -> str:
    """The float32 tensor of the codes that the scheme has of a weight, by name; the weight's own name where it has none."""
    if name not in scheme.others:
        return name
    codes = scheme.others[name]

    def made() -> str:
        stored = _codes(builder, name, codes, flat, codes.codes.shape)
        value = builder.add("Cast", [stored], to=TensorProto.FLOAT)
        value = builder.add("Mul", [value, builder.store(codes.scale[:, None])])
        return builder.add("Reshape", [value, builder.store(scheme.shapes[name], np.int64)])

    return builder.once(f"other {name}", made)


def _codes(
    builder: Builder, name: str, codes: Codes, flat: Mapping[str, str], shape: tuple[int, ...], above: int = 0
) -> str:
    """Stored codes in a weight's own shape: bytes with a sign, or `above` by so many, without."""
    if name in flat:
        return builder.add("Reshape", [flat[name], builder.store(shape, np.int64)])
    return builder.store(codes.codes.reshape(shape) - _half(codes) + above, np.uint8 if above else np.int8)


def _half(codes: Codes) -> int:
    """What codes with a zero point are stored below what they are."""
    return 0 if codes.symmetric else 2 ** (codes.bits - 1)


def dynamic_lstm(builder: Builder, scheme: Scheme, node: onnx.NodeProto, flat: Mapping[str, str]) -> bool:
    """Write an LSTM as ONNX Runtime's, which rounds its data and state as it runs; False where its weights have no codes, or it cannot."""
    names = list(node.input[1:3])
    if node.op_type != "LSTM" or not all(name in scheme.others for name in names):
        return False
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes.pop("layout", 0):
        return False
    weights, numbers = [], []
    shift, kind = (128, np.uint8) if scheme.format == "u8u8" else (0, np.int8)
    for name in names:
        codes, shape = scheme.others[name], scheme.shapes[name]
        # (directions, units, inputs) -> (directions, inputs, units)
        if name in flat:
            whole = _codes(builder, name, codes, flat, shape)
            if shift:
                wide = builder.add("Cast", [whole], to=TensorProto.INT32)
                wide = builder.add("Add", [wide, builder.store(shift, np.int32)])
                whole = builder.add("Cast", [wide], to=TensorProto.UINT8)
            weights.append(builder.add("Transpose", [whole], perm=[0, 2, 1]))
        else:
            weights.append(builder.store(codes.codes.reshape(shape).transpose(0, 2, 1) + shift, kind))
        numbers += [
            builder.store(codes.scale.reshape(shape[:2])),
            builder.store(np.full(shape[:2], shift, kind)),
        ]
    further = [*node.input[3:], *[""] * (8 - len(node.input))]
    builder.nodes.append(
        helper.make_node(
            "DynamicQuantizeLSTM",
            [node.input[0], *weights, *further, *numbers],
            list(node.output),
            node.name,
            domain="com.microsoft",
            **attributes,
        )
    )
    return True


def other_values(scheme: Scheme) -> dict[str, Float32]:
    """The float32 weights that a runtime sees of the scheme's `others`, of their own shapes."""
    return {name: codes.values().reshape(scheme.shapes[name]) for name, codes in scheme.others.items()}
