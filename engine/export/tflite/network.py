"""A file that grows operator by operator: what each ONNX tensor has become, and in what order its numbers lie.

ONNX keeps channels first, TensorFlow Lite last. So a value remembers which axis of ONNX each axis of its tensor is; what only moves axes
moves nothing, until an operator needs another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engine.export.tflite.flat import Flat, Scale
from engine.export.tflite.source import Source, Target, refusal

Array = npt.NDArray[Any]

CHANNELS_LAST = {4: (0, 2, 3, 1), 3: (0, 2, 1)}
"""The order in which windows move over values of four and three axes, by their number."""


@dataclass(frozen=True)
class Value:
    """An ONNX tensor of `shape` as an int8 tensor of the file.

    `axes`: the ONNX axis that each axis of the tensor is. `above`: what ONNX's own codes are above the file's (128 of uint8; None of a
    tensor that ONNX has in float). `unrolled`: this is a matrix (1, n) whose `tensor` still has the shape and the axes of that value.
    """

    tensor: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    scale: Scale
    above: int | None = None
    unrolled: Value | None = None


@dataclass
class Network:
    """What is known while a graph is written: `values` by ONNX tensor; `done` are those that no value stands for.

    `ranged`: tensors whose scale is of their range over the samples.
    """

    source: Source
    flat: Flat = field(default_factory=Flat)
    values: dict[str, Value] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    ranged: set[str] = field(default_factory=set)

    def value(self, node: onnx.NodeProto, position: int = 0) -> Value:
        """What an operator reads, as int8; raises ModelError where the graph has it in float."""
        name = node.input[position]
        if name not in self.values:
            what = "stored numbers" if self.source.constant(name) is not None else "floats"
            raise refusal(
                node,
                f"reads {what} that nothing has rounded",
                "a full-int8 file needs them rounded: quantize with activation_bits 8",
            )
        return self.values[name]

    def input_axes(self, name: str) -> tuple[int, ...]:
        """The order in which an input is taken: images with their channels last, unless the network takes them so already."""
        rank = len(self.source.shapes[name])
        waiting, first = [name], []
        while waiting:
            for reader in self.source.readers.get(waiting.pop(), []):
                if reader.op_type in ("QuantizeLinear", "DequantizeLinear", "Identity"):
                    waiting.append(reader.output[0])
                else:
                    first.append(reader)
        turned = all(
            n.op_type == "Transpose" and self.source.attributes(n).get("perm") == [0, rank - 1, *range(1, rank - 1)]
            for n in first
        )
        return tuple(range(rank)) if turned else CHANNELS_LAST.get(rank, tuple(range(rank)))

    def new(self, name: str, axes: Sequence[int], scale: Scale, shape: Sequence[int] | None = None) -> Value:
        """A value of an ONNX tensor's shape that an operator is yet to write."""
        own = tuple(self.source.shapes[name] if shape is None else shape)
        return Value(self.flat.tensor([own[a] for a in axes], scale), own, tuple(axes), scale)

    def finish(self, value: Value, target: Target) -> None:
        """What an operator has written becomes what the graph reads of it: bounded where rounding does not do that, under its last name."""
        self.done.update(target.names)
        if target.free and value.scale == target.scale:
            self.ranged.add(target.names[-1])
        self.values[target.names[-1]] = self.bounded(value, target.clip)

    def bounded(self, value: Value, ends: tuple[float, float]) -> Value:
        """The value between two ends; rounding is monotone, so bounding the codes is rounding what is bounded."""
        scale = value.scale
        low, high = (int(code) for code in scale.codes(np.clip(ends, scale.lowest, scale.highest)))
        for operator, code, needed in (("MAXIMUM", low, low > -128), ("MINIMUM", high, high < 127)):
            if needed:
                value = self.limited(value, operator, np.full((1,) * max(1, len(value.shape)), code, np.int8))
        return value

    def limited(self, value: Value, operator: str, codes: Array) -> Value:
        """The minimum, or maximum, of a value and codes that broadcast against its tensor."""
        value = self.straight(value)
        bound = self.flat.constant(codes, [value.scale.scale], value.scale.zero)
        made = self.flat.tensor(self.flat.shape_of(value.tensor), value.scale)
        self.flat.operator(operator, [value.tensor, bound], made, "MaximumMinimum")
        return replace(value, tensor=made)

    def rescaled(self, value: Value, scale: Scale) -> Value:
        """The same values in other steps."""
        if value.scale == scale:
            return value
        if value.unrolled:
            below = self.rescaled(value.unrolled, scale)
            return replace(value, tensor=below.tensor, scale=scale, unrolled=below)
        made = self.flat.tensor(self.flat.shape_of(value.tensor), scale)
        self.flat.operator("QUANTIZE", [value.tensor], made, "Quantize")
        return replace(value, tensor=made, scale=scale)

    def ordered(self, value: Value, axes: Sequence[int]) -> Value:
        """The value with its axes in that order; numbers move only where axes longer than one change places."""
        value, axes = self.straight(value), tuple(axes)
        if value.axes == axes:
            return value
        made = self.flat.tensor([value.shape[a] for a in axes], value.scale)

        if _long(value, value.axes) == _long(value, axes):
            self.reshape(value.tensor, made)
        else:
            moved = np.asarray([value.axes.index(a) for a in axes], np.int32)
            self.flat.operator("TRANSPOSE", [value.tensor, self.flat.constant(moved)], made, "Transpose")
        return replace(value, tensor=made, axes=axes)

    def straight(self, value: Value) -> Value:
        """A value whose tensor has its own shape; a matrix made of an image has its columns in ONNX's order."""
        if value.unrolled is None:
            return value
        below = value.unrolled
        return replace(self.shaped(self.ordered(below, range(len(below.shape))), value.shape), above=value.above)

    def reshaped(self, value: Value, shape: Sequence[int]) -> Value:
        """The value as ONNX's Reshape understands it; of an image made a matrix, the order of its columns is left to what reads it."""
        value, shape = replace(value.unrolled, above=value.above) if value.unrolled else value, tuple(shape)
        if value.shape == shape:
            return value
        rank = range(len(value.shape))
        if _long(value, value.axes) != _long(value, rank):
            if len(shape) == 2 and shape[0] == 1:
                return Value(value.tensor, shape, (0, 1), value.scale, value.above, unrolled=value)
            value = self.ordered(value, rank)
        return self.shaped(value, shape)

    def shaped(self, value: Value, shape: Sequence[int]) -> Value:
        """The numbers of a value, which lie in ONNX's order, as another shape."""
        made = self.flat.tensor(shape, value.scale)
        self.reshape(value.tensor, made)
        return Value(made, tuple(shape), tuple(range(len(shape))), value.scale, value.above)

    def viewed(self, value: Value, shape: Sequence[int]) -> int:
        """The tensor of a value under another shape, its numbers as they lie."""
        made = self.flat.tensor(shape, value.scale)
        self.reshape(value.tensor, made)
        return made

    def reshape(self, tensor: int, made: int) -> None:
        """The numbers of a tensor, as they lie, in another of any shape."""
        shape = np.asarray(self.flat.shape_of(made), np.int32)
        self.flat.operator("RESHAPE", [tensor, self.flat.constant(shape)], made, "Reshape", newShape=shape)

    def columns(self, value: Value) -> tuple[int, npt.NDArray[np.int64]]:
        """A matrix (1, n) as a tensor of n numbers, whatever their order, and which column of ONNX's each of them is."""
        size = math.prod(value.shape)
        if value.unrolled is None:
            return value.tensor, np.arange(size)
        below = value.unrolled
        order = np.arange(size).reshape(below.shape).transpose(below.axes).reshape(-1)
        return value.tensor, order


def _long(value: Value, order: Sequence[int]) -> list[int]:
    """The axes of more than one number, in an order."""
    return [a for a in order if value.shape[a] > 1]
