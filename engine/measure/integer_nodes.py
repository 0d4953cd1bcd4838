"""The nodes of an optimised graph that multiply uint8 by int8, computed as ONNX Runtime's kernels without VNNI compute them.

As of ONNX Runtime 1.32 (onnxruntime/core/mlas/lib: platform.cpp, ConvSymKernelAvx2, QgemmU8X8KernelAvx2; core/providers/cpu/quantization/
qlinearconv.cc), and held against its AVX2 kernels by `tests/measure/test_real_kernels.py`:

- Neighbours are consecutive along the summed axis, pairs starting at 0, 2, 4, … For a convolution that axis runs over kernel rows, kernel
  columns, then input channels of the group, since filters are reordered that way and images are channels-last; for a matrix product it is
  the inner axis. An odd last product stands alone.
- What is multiplied are the stored codes, zero points not taken off: their part is subtracted from the sum afterwards, exactly. Padding
  holds the input's zero point.
- Exact everywhere: depthwise convolutions, one channel in and one out, grouped or not; uint8 weights, widened to 16 bits first
  (`vpmaddwd`); int8 activations that reach a kernel (of QDQ files none do: the runtime makes them uint8 when it loads one); ConvInteger.
- The sum, as float32, is multiplied by one float32 number and rounded, halves to even.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from engine.errors import StepError
from engine.graph.graph import open_session
from engine.measure.saturation import Codes, LayerSaturation, PairedWeights

_Q_LINEAR = ("x", "x_scale", "x_zero", "w", "w_scale", "w_zero")
PLACES: dict[str, tuple[str, ...]] = {
    "QLinearConv": (*_Q_LINEAR, "y_scale", "y_zero", "bias"),
    "QGemm": (*_Q_LINEAR, "bias", "y_scale", "y_zero"),
    "QLinearMatMul": (*_Q_LINEAR, "y_scale", "y_zero"),
    "MatMulIntegerToFloat": ("x", "w", "x_scale", "w_scale", "x_zero", "w_zero", "bias"),
    "MatMulInteger": ("x", "w", "x_zero", "w_zero"),
    "DynamicQuantizeMatMul": ("x", "w", "w_scale", "w_zero", "bias"),
}
"""Operators that multiply integers, and what each of their inputs is."""
_UNKNOWN = ("QAttention", "DynamicQuantizeLSTM")
"""Operators that multiply by int8 in more than one product, which are not emulated here."""
_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_LARGEST_CODE = 255
_EXACT = 2**24
# Numbers of a layer's inputs or outputs held at a time.
_BLOCK = 2**22

Array = npt.NDArray[Any]


def places(node: onnx.NodeProto) -> dict[str, str]:
    """The names of a node's inputs by what they are; left out where the node leaves them out."""
    return {place: name for place, name in zip(PLACES[node.op_type], node.input, strict=False) if name}


def name_of(node: onnx.NodeProto) -> str:
    """What a layer is called in answers."""
    return str(node.name or node.output[0])


def is_depthwise(node: onnx.NodeProto, weights: Array) -> bool:
    """Whether every output of a convolution sees one channel, and no other output does."""
    groups = _attributes(node).get("group", 1)
    return node.op_type == "QLinearConv" and weights.shape[1] == 1 and weights.shape[0] == groups


def multiplies_uint8_by_int8(node: onnx.NodeProto, constants: Mapping[str, Array]) -> bool:
    """Whether the kernel of a node adds pairs in 16 bits. Raises StepError where that cannot be emulated."""
    if node.op_type in _UNKNOWN and any(_is_int8(name, constants) for name in node.input):
        raise StepError(
            f"portability: {node.op_type} {name_of(node)!r} cannot be emulated; only convolutions and matrix products can"
        )
    if node.op_type not in PLACES:
        return False
    named = places(node)
    if _is_int8(named.get("x_zero"), constants):
        return False
    if named["w"] not in constants and _is_int8(named.get("w_zero"), constants):
        raise StepError(
            f"portability: {node.op_type} {name_of(node)!r} multiplies by int8 activations, which cannot be emulated"
        )
    if not _is_int8(named["w"], constants):
        return False
    weights = constants[named["w"]]
    if node.op_type != "QLinearConv" and weights.ndim != 2:
        raise StepError(
            f"portability: {node.op_type} {name_of(node)!r} multiplies by weights of {weights.ndim} axes; give two"
        )
    return not is_depthwise(node, weights)


def _is_int8(name: str | None, constants: Mapping[str, Array]) -> bool:
    return name is not None and name in constants and constants[name].dtype == np.int8


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


class IntegerLayer:
    """A node for which `multiplies_uint8_by_int8`: inputs by place -> its output, and what saturated on the way."""

    def __init__(self, node: onnx.NodeProto, constants: Mapping[str, Array]) -> None:
        self.node, self.places = node, places(node)
        self._attributes = _attributes(node)
        self._convolves = node.op_type == "QLinearConv"
        groups = self._attributes.get("group", 1)
        weights = constants[self.places["w"]]
        zero = np.reshape(constants.get(self.places.get("w_zero", ""), np.zeros(1, np.int8)), -1).astype(np.int32)
        self._kernel = weights.shape[2:]
        self._pairs = [PairedWeights(part) for part in np.split(self._ordered(weights), groups, axis=1)]
        outputs_first = weights if self._convolves or self._attributes.get("transB") else weights.T
        centred = outputs_first - zero.reshape(-1, *[1] * (weights.ndim - 1))
        largest = int(np.abs(centred).reshape(len(centred), -1).sum(axis=1).max()) * _LARGEST_CODE
        bias = np.abs(constants[name]).max() if (name := self.places.get("bias", "")) in constants else 0
        self._whole = largest + int(bias) < _EXACT
        """Whether float32 holds every sum of this layer exactly, its bias included."""
        self._centred, self._parts = centred, max(1, min(-(-largest // (_EXACT - 1)), centred.shape[1]))
        self._seen: Counter[str] = Counter()

    @cached_property
    def _sessions(self) -> list[onnxruntime.InferenceSession]:
        """What computes the sums, in parts that float32 holds; the sums are of all parts."""
        parts = np.array_split(np.arange(self._centred.shape[1]), self._parts)
        return [self._in_float(self._centred, part) for part in parts]

    def _in_float(self, weights: Array, inner: Array) -> onnxruntime.InferenceSession:
        """The layer's sums over some of its inner axis: whole numbers, which float32 adds exactly below 2^24, in any order."""
        chosen = np.zeros_like(weights, np.float32)
        chosen[:, inner] = weights[:, inner]
        kept = {k: v for k, v in self._attributes.items() if k in _WINDOW} if self._convolves else {"transB": 1}
        nodes = [
            helper.make_node("Cast", ["codes"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["real", "zero"], ["centred"]),
            helper.make_node("Conv" if self._convolves else "Gemm", ["centred", "weights"], ["sums"], **kept),
        ]
        made = helper.make_graph(
            nodes,
            "sums",
            [
                helper.make_tensor_value_info("codes", TensorProto.UINT8, [None] * weights.ndim),
                helper.make_tensor_value_info("zero", TensorProto.FLOAT, []),
            ],
            [helper.make_tensor_value_info("sums", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(chosen, "weights")],
        )
        return open_session(helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))

    def _exact(self, codes: Array, zero: int) -> Array:
        """Sums of centred codes and weights: whole numbers, as float32 where that holds them, else as int64."""
        fed = {"codes": codes, "zero": np.array(zero, np.float32)}
        sums = [session.run(None, fed)[0] for session in self._sessions]
        whole: Array = sums[0] if self._whole else np.asarray(np.sum(sums, axis=0, dtype=np.int64))
        return whole

    def _ordered(self, weights: Array) -> npt.NDArray[np.int32]:
        """The weights as (K, outputs), in the order of the kernel's sums."""
        if self._convolves:
            return np.moveaxis(weights, 1, -1).reshape(len(weights), -1).T.astype(np.int32)
        return (weights.T if self._attributes.get("transB") else weights).astype(np.int32)

    @property
    def possible(self) -> bool:
        """Whether any image could make a pair saturate."""
        return any(pairs.possible for pairs in self._pairs)

    @property
    def output_type(self) -> str:
        """As ONNX Runtime names types."""
        if self.node.op_type == "MatMulInteger":
            return "tensor(int32)"
        return "tensor(uint8)" if "y_zero" in self.places else "tensor(float)"

    def summary(self) -> LayerSaturation:
        """Shares over all that was seen."""
        pairs, outputs = max(1, self._seen["pairs"]), max(1, self._seen["outputs"])
        shares = self._seen["saturated"] / pairs, self._seen["changed"] / outputs
        return LayerSaturation(name_of(self.node), self.possible, *shares)

    def forget(self) -> None:
        """Start counting anew."""
        self._seen.clear()

    def __call__(self, values: Mapping[str, Array]) -> Array:
        """The output of inputs by place."""
        if self.node.op_type == "DynamicQuantizeMatMul":
            values = {**values, **_rounded_on_the_spot(values["x"])}
        codes, zero = values["x"], int(values["x_zero"].reshape(-1)[0]) if "x_zero" in values else 0
        if codes.dtype != np.uint8:
            raise StepError(
                f"portability: {name_of(self.node)!r} multiplies {codes.dtype}, and only uint8 can be emulated"
            )
        total = self._convolved(codes, zero) if self._convolves else self._multiplied(codes, zero)
        return self._finished(total, values)

    def _finished(self, total: Array, values: Mapping[str, Array]) -> Array:
        """Whole sums -> what the node gives: codes, floats, or the sums themselves."""
        if self.node.op_type == "MatMulInteger":
            return total.astype(np.int32)
        one = np.float32(self._attributes.get("alpha", 1.0)) * np.float32(values["x_scale"].reshape(-1)[0])
        factor = (one * values["w_scale"].reshape(-1)).astype(np.float32)
        bias = values.get("bias")
        if bias is not None and bias.dtype == np.int32:
            total += self._along_channels(bias)
        real = total.astype(np.float32, copy=False)
        if "y_scale" not in values:
            real *= factor
            return real if bias is None or bias.dtype == np.int32 else real + bias
        real *= self._along_channels(factor / np.float32(values["y_scale"].reshape(-1)[0]))
        zero = values["y_zero"].reshape(-1)[0]
        ends = np.iinfo(zero.dtype)
        np.clip(real, ends.min - int(zero), ends.max - int(zero), out=real)
        np.rint(real, out=real)
        real += np.float32(zero)
        return real.astype(zero.dtype)

    def _along_channels(self, values: Array) -> Array:
        return values.reshape(-1, *[1] * len(self._kernel)) if self._convolves else values

    def _multiplied(self, codes: Array, zero: int) -> Array:
        if self._attributes.get("transA"):
            codes = codes.T
        rows = codes.reshape(-1, codes.shape[-1])
        total = self._exact(rows, zero)
        excess = self._excess(self._pairs[0], np.ascontiguousarray(rows.T).__getitem__, len(rows))
        if excess is not None:
            np.add(total, excess.T, out=total, casting="unsafe")
        return total.reshape(*codes.shape[:-1], -1)

    def _convolved(self, codes: Array, zero: int) -> Array:
        """(n, channels, …) -> (n, outputs, …), a few images at a time."""
        window = _Window(self._attributes, codes.shape[2:], self._kernel)
        outputs = sum(pairs.outputs for pairs in self._pairs)
        step = max(1, _BLOCK // max(codes[0].size, outputs * math.prod(window.places)))
        parts = [self._some(codes[i : i + step], window, zero) for i in range(0, len(codes), step)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _some(self, codes: Array, window: _Window, zero: int) -> Array:
        total = self._exact(codes, zero)
        # Images last: what a place of the kernel sees of a row lies together.
        channels = np.ascontiguousarray(np.moveaxis(codes, 0, -1))
        padded = np.pad(channels, [(0, 0), *window.pads, (0, 0)], constant_values=zero)
        places, width = (*window.places, len(codes)), self._pairs[0].outputs
        for g, (pairs, group) in enumerate(zip(self._pairs, np.split(padded, len(self._pairs)), strict=True)):
            excess = self._excess(pairs, window.seen(group), math.prod(places))
            if excess is not None:
                part = total[:, g * width : (g + 1) * width]
                np.add(part, np.moveaxis(excess.reshape(-1, *places), -1, 0), out=part, casting="unsafe")
        return total

    def _excess(self, pairs: PairedWeights, codes: Callable[[int], Codes], places: int) -> Array | None:
        """(outputs, places); None where nothing saturates."""
        found, saturated = pairs.excess(codes, places)
        self._seen["pairs"] += (pairs.inner + 1) // 2 * found.size
        self._seen["outputs"] += found.size
        self._seen["saturated"] += saturated
        self._seen["changed"] += int(np.count_nonzero(found)) if saturated else 0
        return found if saturated else None


def _rounded_on_the_spot(real: Array) -> dict[str, Array]:
    """What DynamicQuantizeLinear makes of floats: codes, scale and zero point of a whole batch."""
    low, high = min(np.float32(0), real.min()), max(np.float32(0), real.max())
    scale = np.float32(1) if high == low else (high - low) / np.float32(255)
    zero = np.rint(np.clip(-low / scale, 0, 255)).astype(np.uint8)
    codes = np.clip(np.rint(real / scale) + np.float32(zero), 0, 255).astype(np.uint8)
    return {"x": codes, "x_scale": np.array(scale), "x_zero": np.array(zero)}


class _Window:
    """How a convolution's kernel moves over images of one size, already padded by `pads`."""

    def __init__(self, attributes: Mapping[str, Any], size: Sequence[int], kernel: Sequence[int]) -> None:
        axes = range(len(size))
        self._strides = attributes.get("strides", [1] * len(size))
        self._dilations = attributes.get("dilations", [1] * len(size))
        span = [self._dilations[i] * (kernel[i] - 1) + 1 for i in axes]
        self.pads = [_pads(attributes, i, size[i], span[i], self._strides[i]) for i in axes]
        self.places = [(size[i] + sum(self.pads[i]) - span[i]) // self._strides[i] + 1 for i in axes]
        self._cuts = [self._cut(tap) for tap in product(*map(range, kernel))]

    def _cut(self, tap: Sequence[int]) -> tuple[slice, ...]:
        """What one place of the kernel sees of an image."""
        starts = [t * d for t, d in zip(tap, self._dilations, strict=True)]
        steps = zip(starts, self._strides, self.places, strict=True)
        return tuple(slice(start, start + stride * (n - 1) + 1, stride) for start, stride, n in steps)

    def seen(self, channels: Codes) -> Callable[[int], Codes]:
        """Of a group's channels (channels, …, n): what weights k multiply, in the order of the kernel's sums."""
        return lambda k: channels[k % len(channels)][self._cuts[k // len(channels)]]


def _pads(attributes: Mapping[str, Any], axis: int, size: int, span: int, stride: int) -> tuple[int, int]:
    """Padding before and after along an axis."""
    kind = attributes.get("auto_pad", b"NOTSET").decode()
    if kind == "NOTSET":
        stated = attributes.get("pads", [0] * 2 * (axis + 1))
        return stated[axis], stated[axis + len(stated) // 2]
    if kind == "VALID":
        return 0, 0
    total = max(0, (-(-size // stride) - 1) * stride + span - size)
    small, large = total // 2, total - total // 2
    return (small, large) if kind == "SAME_UPPER" else (large, small)
