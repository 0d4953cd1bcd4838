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
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from engine.errors import StepError
from engine.graph.graph import open_session
from engine.measure.saturation import EXACT, LARGEST_CODE, Codes, LayerSaturation, PairedWeights, exact_runs, summed
from engine.measure.windows import Positions, Window

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
# Numbers of a layer's inputs or outputs held at a time.
_BLOCK = 2**22
_FEW = 1
"""Outputs that saturate are computed alone where they have at most so many products for each output of the layer, else all of them."""

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
        self._kernel = weights.shape[2:] if self._convolves else ()
        channels = weights.shape[1] if self._convolves else None
        self._pairs = [PairedWeights(part, channels) for part in np.split(self._ordered(weights), groups, axis=1)]
        self._windows: dict[tuple[int, ...], Window] = {}
        outputs_first = weights if self._convolves or self._attributes.get("transB") else weights.T
        centred = outputs_first - zero.reshape(-1, *[1] * (weights.ndim - 1))
        # Saturation changes sums of the codes as they are stored, whose zero points may be far from 0.
        reaches = [centred, outputs_first.astype(np.int32)] if zero.any() else [centred]
        largest = (
            sum(int(np.abs(r).reshape(len(r), -1).sum(axis=1, dtype=np.int64).max()) for r in reaches) * LARGEST_CODE
        )
        bias = np.abs(constants[name]).max() if (name := self.places.get("bias", "")) in constants else 0
        self._whole = largest + int(bias) < EXACT
        """Whether float32 holds every sum of this layer exactly, its bias included."""
        self._centred = centred
        self._seen: Counter[str] = Counter()

    @cached_property
    def _weights(self) -> Array:
        """Centred, (outputs, channels, taps), as floats that hold every sum exactly."""
        return self._centred.reshape(*self._centred.shape[:2], -1).astype(np.float32 if self._whole else np.float64)

    @cached_property
    def _sessions(self) -> list[onnxruntime.InferenceSession]:
        """What computes the sums, in parts that float32 holds; the sums are of all parts."""
        return [
            self._in_float(self._centred, part) for part in exact_runs(self._centred.reshape(len(self._centred), -1))
        ]

    def _in_float(self, weights: Array, part: slice) -> onnxruntime.InferenceSession:
        """The layer's sums over a part of its products: whole numbers, which float32 adds exactly below 2^24, in any order."""
        chosen = np.zeros_like(weights, np.float32)
        chosen.reshape(len(weights), -1)[:, part] = weights.reshape(len(weights), -1)[:, part]
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

    def summary(self) -> LayerSaturation:
        """Shares over all that was seen."""
        pairs, outputs = max(1, self._seen["pairs"]), max(1, self._seen["outputs"])
        shares = self._seen["saturated"] / pairs, self._seen["changed"] / outputs
        return LayerSaturation(name_of(self.node), self.possible, *shares)

    def forget(self) -> None:
        """Start counting anew."""
        self._seen.clear()

    def __call__(self, values: Mapping[str, Array], exact: Array) -> Array:
        """The output of inputs by place, given what it is with exact sums, which is changed where sums saturate."""
        if self.node.op_type == "DynamicQuantizeMatMul":
            values = {**values, **_rounded_on_the_spot(values["x"])}
        codes, zero = values["x"], int(values["x_zero"].reshape(-1)[0]) if "x_zero" in values else 0
        if codes.dtype != np.uint8:
            raise StepError(
                f"portability: {name_of(self.node)!r} multiplies {codes.dtype}, and only uint8 can be emulated"
            )
        if self._attributes.get("transA"):
            codes = codes.T
        if not self._convolves:
            codes = codes.reshape(-1, codes.shape[-1])
        window = self._window(codes.shape[2:])
        outputs = len(self._centred) * math.prod(window.places)
        found = np.require(exact, requirements=["C", "W"])
        rows = found.reshape(len(codes), outputs)
        step = max(1, _BLOCK // max(codes[0].size, outputs)) if len(codes) else 1
        for i in range(0, len(codes), step):
            self._correct(rows[i : i + step], codes[i : i + step], zero, window, values)
        return found

    def _window(self, size: tuple[int, ...]) -> Window:
        if size not in self._windows:
            self._windows = {size: Window(self._attributes, size, self._kernel)}
        return self._windows[size]

    def _correct(self, rows: Array, codes: Array, zero: int, window: Window, values: Mapping[str, Array]) -> None:
        """Give `rows` (n, outputs · places), exact, what saturation makes of it."""
        where, excess, saturated = self._excess(codes, zero, window)
        inner = self._pairs[0].inner
        self._seen["pairs"] += (inner + 1) // 2 * rows.size
        self._seen["outputs"] += rows.size
        self._seen["saturated"] += saturated
        self._seen["changed"] += len(where)
        if not len(where):
            return
        bias = values.get("bias")
        alone = bias is None or bias.ndim < 2 or len(bias) == 1
        if alone and len(where) * inner <= _FEW * rows.size:
            total = self._sums_at(where, codes, zero, window) + excess
            channels = where % rows.shape[1] // math.prod(window.places)
            rows.reshape(-1)[where] = self._finished(total, values, lambda x: _each(x, channels))
        else:
            total = self._exact(codes, zero)
            total.reshape(-1)[where] += excess.astype(total.dtype)
            rows[:] = self._finished(total, values, self._along_channels).reshape(rows.shape)

    def _excess(self, codes: Array, zero: int, window: Window) -> tuple[Array, Array, int]:
        """Where saturation changes a sum, in (n, outputs, places) laid out in a row, by how much, and how many pairs saturated."""
        places, outputs = math.prod(window.places), self._pairs[0].outputs
        # Two codes of the padding saturate only where they add up to 256.
        filled = not self._pairs[0].by_channel or 2 * zero > LARGEST_CODE
        if filled and any(map(any, window.pads)):
            codes = np.pad(codes, [(0, 0), (0, 0), *window.pads], constant_values=zero)
        codes = codes.reshape(*codes.shape[:2], -1)
        peaks = codes.max(axis=2).max(axis=0)
        if self._convolves:
            channels = [codes[:, k] for k in range(codes.shape[1])]
        else:
            channels = list(np.ascontiguousarray(codes[:, :, 0].T)[:, :, None])
        size = len(codes) * len(self._centred) * places
        every: list[Array] = [np.zeros(0, np.intp)]
        amounts: list[Array] = [np.zeros(0)]
        saturated, held = 0, 0
        for g, (pairs, group) in enumerate(zip(self._pairs, _split(channels, len(self._pairs)), strict=True)):
            largest = peaks[g * len(group) : (g + 1) * len(group)]
            if pairs.by_channel:
                found = pairs.beyond(group.__getitem__, largest, window.met_padded if filled else window.met)
            else:
                taps = window.seen_padded
                found = pairs.beyond(_rows(group, taps), np.tile(largest, len(taps)), np.arange(places)[None])
            for images, output, place, amount in found:
                every.append((images * len(self._centred) + (g * outputs + output)) * places + place)
                amounts.append(amount)
                saturated, held = saturated + len(amount), held + len(amount)
                if held > max(size, _BLOCK):
                    # Where most pairs saturate there are hundreds for each output.
                    once, all_of_it = summed(np.concatenate(every), np.concatenate(amounts), size)
                    every, amounts = [once], [all_of_it]
                    held = 0
        where, excess = (
            summed(np.concatenate(every), np.concatenate(amounts), size) if saturated else (every[0], amounts[0])
        )
        return where, excess, saturated

    def _sums_at(self, where: Array, codes: Array, zero: int, window: Window) -> Array:
        """The exact sums of some outputs, float64."""
        width, places = self._pairs[0].outputs, math.prod(window.places)
        images, output, place = np.unravel_index(where, (len(codes), len(self._centred), places))
        weights = self._weights
        inner = np.arange(weights.shape[1], dtype=np.int32)[:, None] * math.prod(codes.shape[2:])
        flat, step = codes.reshape(-1), max(1, _BLOCK // weights[0].size)
        first = images * (flat.size // len(codes)) + output // width * (inner.size * math.prod(codes.shape[2:]))
        found = np.empty(len(where))
        for i in range(0, len(where), step):
            part = slice(i, i + step)
            seen = window.seen.T[place[part], None]
            met = flat.take(first[part, None, None] + inner + seen, mode="wrap").astype(weights.dtype)
            met -= zero
            if not window.inside:
                met *= seen >= 0
            found[part] = np.einsum("uct,uct->u", met, weights[output[part]])
        return found

    def _finished(self, total: Array, values: Mapping[str, Array], along: Callable[[Array], Array]) -> Array:
        """Whole sums -> what the node gives: codes, floats, or the sums themselves. `along`: a number for each output -> for each sum."""
        if self.node.op_type == "MatMulInteger":
            return total.astype(np.int32)
        one = np.float32(self._attributes.get("alpha", 1.0)) * np.float32(values["x_scale"].reshape(-1)[0])
        factor = (one * values["w_scale"].reshape(-1)).astype(np.float32)
        bias = values.get("bias")
        if bias is not None and bias.dtype == np.int32:
            total += along(bias)
        real = total.astype(np.float32, copy=False)
        if "y_scale" not in values:
            real *= along(factor)
            return real if bias is None or bias.dtype == np.int32 else real + along(bias)
        real *= along(factor / np.float32(values["y_scale"].reshape(-1)[0]))
        zero = values["y_zero"].reshape(-1)[0]
        ends = np.iinfo(zero.dtype)
        np.clip(real, ends.min - int(zero), ends.max - int(zero), out=real)
        np.rint(real, out=real)
        real += np.float32(zero)
        return real.astype(zero.dtype)

    def _along_channels(self, values: Array) -> Array:
        return values.reshape(-1, *[1] * len(self._kernel)) if self._convolves else values


def _each(values: Array, channels: Array) -> Array:
    """One number for each output, or one for all -> one for each of `channels`."""
    flat = values.reshape(-1)
    return flat if flat.size == 1 else flat[channels]


def _split(channels: Sequence[Codes], groups: int) -> list[Sequence[Codes]]:
    n = len(channels) // groups
    return [channels[i : i + n] for i in range(0, len(channels), n)]


def _rows(group: Sequence[Codes], seen: Positions) -> Callable[[int], Codes]:
    """What weights k multiply at every place, in the order of the kernel's sums, of a group's channels with their padding."""
    return lambda k: group[k % len(group)][:, seen[k // len(group)]]


def _rounded_on_the_spot(real: Array) -> dict[str, Array]:
    """What DynamicQuantizeLinear makes of floats: codes, scale and zero point of a whole batch."""
    low, high = min(np.float32(0), real.min()), max(np.float32(0), real.max())
    scale = np.float32(1) if high == low else (high - low) / np.float32(255)
    zero = np.rint(np.clip(-low / scale, 0, 255)).astype(np.uint8)
    codes = np.clip(np.rint(real / scale) + np.float32(zero), 0, 255).astype(np.uint8)
    return {"x": codes, "x_scale": np.array(scale), "x_zero": np.array(zero)}
