"""Layers as ONNX functions: all layers of one kind share the nodes that rebuild weight and bias, multiply, and round the result.

A call states only what differs from layer to layer: a list of numbers and, where they are not 1, strides and groups. The runtime puts the
nodes in place of the call when it loads the file, folds what follows from stored numbers, and fuses integer kernels as in a plain graph.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from engine.compress.quantization.builder import function, reference
from engine.compress.quantization.scheme import ActivationScale, Codes, Scheme
from engine.compress.quantization.weights import Layer

Node = onnx.NodeProto
INTEGER_BITS = 8
"""Integer kernels exist for activations of up to so many bits."""
_NOTHING = {"pads": 0, "dilations": 1, "strides": 1}
"""Attributes whose absence means this for every axis."""
_PER_CALL = ("strides", "group")


@dataclass(frozen=True)
class Rounding:
    """How activations are stored: codes 0 .. 2^bits - 1 plus `offset` in the ONNX type `dtype`.

    Where `clip`, a Clip keeps them so; where `limited`, a Min bounds each channel.
    """

    bits: int
    dtype: int
    offset: int
    clip: bool
    limited: bool

    def zero_point(self, activation: ActivationScale) -> int:
        """The zero point as stored."""
        return activation.zero_point + self.offset

    @property
    def clips(self) -> tuple[int, int] | None:
        """Smallest and largest code, None where nothing is clipped."""
        return (self.offset, 2**self.bits - 1 + self.offset) if self.clip else None


def integer_data(scheme: Scheme, layer: Layer) -> ActivationScale | None:
    """How an integer kernel reads the layer's input; None where the layer computes in float."""
    data = scheme.activations.get(layer.data)
    return data if layer.weight in scheme.weights and data is not None and data.bits <= INTEGER_BITS else None


def how_rounded(scheme: Scheme, tensor: str) -> tuple[ActivationScale, Rounding] | None:
    """How a tensor is rounded, None if it is not. What only moved is within its codes already, so it is not clipped again."""
    activation = scheme.activations.get(tensor)
    if activation is None:
        return None
    bits = activation.bits
    clip = bits not in (8, 16) and tensor not in scheme.shared
    dtype, offset = TensorProto.UINT8, 0
    if bits > INTEGER_BITS:
        dtype = TensorProto.UINT16
    elif scheme.format == "s8s8":
        dtype, offset = TensorProto.INT8, -(2 ** (bits - 1))
    return activation, Rounding(bits, dtype, offset, clip, limit_codes(scheme, tensor) is not None)


def limit_codes(scheme: Scheme, tensor: str) -> npt.NDArray[np.int32] | None:
    """The largest code of each channel, (channels, 1, …), without its type's offset; None where no bound is below the last code."""
    bounds = scheme.limits.get(tensor)
    if bounds is None:
        return None
    codes = scheme.activations[tensor].codes(bounds)
    return None if (codes >= scheme.activations[tensor].largest).all() else codes


@dataclass(frozen=True)
class Kind:
    """What the layers of one function have in common.

    `fixed`: attributes of the operator, as (name, value) pairs; `tail`: the weight's shape beside the output channels, of which the first
    is left to be inferred; `integer`: whether an integer kernel is to be fused, on weights of type `weight_type`; `zero`: whether weights
    have a zero point of their own; `rounded_data`: whether the input is rounded; `rounding`: of the output, None where it stays as it is;
    `suffix`: what the names of all these layers end in.
    """

    op_type: str
    fixed: tuple[tuple[str, Any], ...]
    axis: int
    tail: tuple[int, ...]
    integer: bool
    weight_type: int
    per_channel: bool
    zero: bool
    bias: bool
    rounded_data: bool
    rounding: Rounding | None
    suffix: str

    def stored_zero_point(self, codes: Codes) -> int:
        """The one zero point of a whole weight, as stored; 0 where each channel has its own."""
        unsigned = self.weight_type == TensorProto.UINT8
        if codes.zero_point.ndim:
            return 0
        half = 2 ** (codes.bits - 1) if self.zero else 0
        return int(codes.zero_point) - half + (128 if unsigned else 0)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """What the list of a call's numbers holds, in order."""
        names = ["scale", *(["zero"] if self.zero and not self.per_channel else [])]
        names += (["data"] if self.integer else []) + ["step"] if self.bias else []
        names += ["out", "out_zero"] if self.rounding else []
        return tuple(names)


def operator_attributes(node: Node) -> tuple[dict[str, Any], dict[str, Any]]:
    """A layer's attributes, (those to fix in its kind, those to state in its call); what an operator assumes anyway is left out."""
    fixed: dict[str, Any] = {}
    stated: dict[str, Any] = {}
    for attribute in node.attribute:
        name, value = attribute.name, helper.get_attribute_value(attribute)
        if name == "kernel_shape" or (name == "auto_pad" and value == b"NOTSET"):
            continue
        if name in _NOTHING and set(value) <= {_NOTHING[name]}:
            continue
        if (name, value) in (("group", 1), ("alpha", 1.0), ("beta", 1.0), ("transA", 0), ("transB", 0)):
            continue
        (stated if name in _PER_CALL else fixed)[name] = tuple(value) if isinstance(value, list) else value
    return fixed, stated


def name_suffix(layer: Layer) -> str:
    """The part of a layer's name that follows from its operator, as torch's exporter has it; "" for other names."""
    ending = f"/{layer.node.op_type}"
    return ending if layer.node.name.endswith(ending) else ""


def kind_of(scheme: Scheme, layer: Layer, suffixed: bool) -> Kind:
    """The kind of a layer that has codes; where `suffixed`, calls leave the operator at the end of a layer's name to the function."""
    codes, rounded = scheme.weights[layer.weight], how_rounded(scheme, layer.output)
    integer = integer_data(scheme, layer) is not None
    fixed, _ = operator_attributes(layer.node)
    ending = name_suffix(layer) if suffixed else ""
    return Kind(
        op_type=layer.node.op_type,
        fixed=tuple(sorted(fixed.items())),
        axis=codes.axis,
        tail=tuple(n for i, n in enumerate(codes.codes.shape) if i != codes.axis)[1:],
        integer=integer,
        weight_type=TensorProto.UINT8 if integer and scheme.format == "u8u8" else TensorProto.INT8,
        per_channel=codes.scale.ndim > 0,
        zero=not codes.symmetric,
        bias=layer.output in scheme.biases,
        rounded_data=layer.data in scheme.activations,
        rounding=rounded[1] if rounded else None,
        suffix=ending,
    )


class _Body:
    """The nodes of a function."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, op: str, inputs: list[str], outputs: str | list[str] = "", **attributes: Any) -> str:
        names = [outputs] if isinstance(outputs, str) else outputs
        names = [name or _letters(len(self.nodes)) for name in names]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def constant(self, value: Any, dtype: Any) -> str:
        return self.add("Constant", [], value=numpy_helper.from_array(np.asarray(value, dtype)))

    def given(self, attribute: str, kind: AttributeProto.AttributeType) -> str:
        """A tensor of the call's numbers."""
        name = self.add("Constant", [])
        value = "value_floats" if kind == AttributeProto.FLOATS else "value_ints"
        self.nodes[-1].attribute.append(reference(value, kind, attribute))
        return name

    def numbers(self, names: tuple[str, ...], scalars: Collection[str]) -> dict[str, str]:
        """The call's list of numbers by name, each of shape (1,), or () if it is among `scalars`."""
        every = self.given("f", AttributeProto.FLOATS)
        pieces = [every]
        if len(names) > 1:
            pieces = [f"{_letters(len(self.nodes))}{i}" for i in range(len(names))]
            self.add("Split", [every], pieces, num_outputs=len(names))
        pairs = zip(names, pieces, strict=True)
        return {name: self.add("Squeeze", [piece]) if name in scalars else piece for name, piece in pairs}

    def round(self, exact: str, how: Rounding, scale: str, zero: str) -> None:
        """QuantizeLinear, Clip and Min as the rounding says, DequantizeLinear; the function's output."""
        stored = self.add("Cast", [zero], to=how.dtype)
        code = self.add("QuantizeLinear", [exact, scale, stored])
        if how.clips:
            dtype = helper.tensor_dtype_to_np_dtype(how.dtype)
            code = self.add("Clip", [code, *(self.constant(end, dtype) for end in how.clips)])
        if how.limited:
            code = self.add("Min", [code, "l"])
        self.add("DequantizeLinear", [code, scale, stored], "y")


def _letters(count: int) -> str:
    """Short names that are neither inputs nor the output: a, b, … beyond 26 with a number."""
    letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[count % 26]
    return letter if count < 26 else f"{letter}{count // 26}"


def rounding_function(name: str, how: Rounding, opset: int) -> onnx.FunctionProto:
    """`(x[, limits]) {f: [scale, zero point]} -> y`: x rounded to its codes and back."""
    body = _Body()
    numbers = body.numbers(("out", "out_zero"), ("out", "out_zero"))
    body.round("x", how, numbers["out"], numbers["out_zero"])
    return function(name, ["x", *(["l"] if how.limited else [])], ["f"], body.nodes, opset)


def layer_function(name: str, kind: Kind, opset: int) -> onnx.FunctionProto:
    """`(x, codes[, scales][, zero points][, bias][, limits]) {f: numbers[, strides][, group][, d: weight shape]} -> y`."""
    body = _Body()
    # One number for the whole weight must have no axis; beside one for each channel it may.
    number = body.numbers(kind.numbers, ("out", "out_zero") if kind.per_channel else kind.numbers)
    scale = body.add("Mul", ["s", number["scale"]]) if kind.per_channel else number["scale"]
    weight = _weight(body, kind, number, scale)
    inputs = ["x", weight]
    if kind.bias:
        inputs.append(_bias(body, kind, number, scale))
    body.add(kind.op_type, inputs, "" if kind.rounding else "y", **dict(kind.fixed))
    body.nodes[-1].name = kind.suffix
    if kind.op_type == "Conv":
        kinds = {"strides": AttributeProto.INTS, "group": AttributeProto.INT}
        body.nodes[-1].attribute.extend(reference(a, kinds[a]) for a in _PER_CALL)
    if kind.rounding:
        body.round(body.nodes[-1].output[0], kind.rounding, number["out"], number["out_zero"])
    arguments = ["x", "w", *(["s"] if kind.per_channel else [])]
    arguments += (["z"] if kind.per_channel and kind.zero else []) + (["b"] if kind.bias else [])
    arguments += ["l"] if kind.rounding and kind.rounding.limited else []
    attributes = ["f", *(_PER_CALL if kind.op_type == "Conv" else ()), *([] if kind.per_channel else ["d"])]
    return function(name, arguments, attributes, body.nodes, opset)


def _weight(body: _Body, kind: Kind, number: dict[str, str], scale: str) -> str:
    """The float weight: DequantizeLinear, which integer kernels absorb, or Mul, which the runtime folds (it keeps DequantizeLinear)."""
    channels = body.add("Shape", ["s"]) if kind.per_channel else ""
    if channels:
        # The output channels are as many as there are scales, so the call need not say.
        parts = [channels, body.constant([-1, *kind.tail], np.int64)]
        shape = body.add("Concat", parts if kind.axis == 0 else parts[::-1], axis=0)
    else:
        shape = body.given("d", AttributeProto.INTS)
    codes = body.add("Reshape", ["w", shape])
    if kind.integer:
        axis: dict[str, Any] = {"axis": kind.axis} if kind.per_channel else {}
        return body.add("DequantizeLinear", [codes, scale, *_zero_point(body, kind, number, channels)], **axis)
    value = body.add("Cast", [codes], to=TensorProto.FLOAT)
    axes = [i for i in range(len(kind.tail) + 2) if i != kind.axis]
    along = body.constant(axes, np.int64) if kind.per_channel else ""
    if kind.zero:
        zero = body.add("Cast", ["z"], to=TensorProto.FLOAT) if kind.per_channel else number["zero"]
        value = body.add("Sub", [value, body.add("Unsqueeze", [zero, along]) if along else zero])
    return body.add("Mul", [value, body.add("Unsqueeze", [scale, along]) if along else scale])


def _zero_point(body: _Body, kind: Kind, number: dict[str, str], channels: str) -> list[str]:
    """The weight's zero point as DequantizeLinear takes it; none where leaving it out means the same."""
    if kind.zero:
        return [body.add("Cast", ["z" if kind.per_channel else number["zero"]], to=kind.weight_type)]
    unsigned = kind.weight_type == TensorProto.UINT8
    # Gemm's integer kernel is only chosen when a zero point is there; convolutions do without.
    if not unsigned and kind.op_type == "Conv":
        return []
    value = np.array([128 if unsigned else 0], helper.tensor_dtype_to_np_dtype(kind.weight_type))
    if channels:
        return [body.add("ConstantOfShape", [channels], value=numpy_helper.from_array(value))]
    return [body.constant(value[0], value.dtype)]


def _bias(body: _Body, kind: Kind, number: dict[str, str], scale: str) -> str:
    """The float bias; for integer kernels made of int32 codes of scale `input scale × weight scale`."""
    if not kind.integer:
        if not kind.rounded_data:
            return body.add("Mul", ["b", number["step"]])
        codes = body.add("Cast", ["b"], to=TensorProto.INT32)
        step = body.add("Squeeze", [number["step"]]) if kind.per_channel else number["step"]
        return body.add(
            "DequantizeLinear", [codes, step]
        )  # not a constant to the runtime; see float_inputs in write_plain.py
    unit = body.add("Mul", [scale, number["data"]])
    exact = body.add("Mul", ["b", number["step"]])
    codes = body.add("Cast", [body.add("Round", [body.add("Div", [exact, unit])])], to=TensorProto.INT32)
    axis: dict[str, Any] = {"axis": 0} if kind.per_channel else {}
    return body.add("DequantizeLinear", [codes, unit], **axis)
