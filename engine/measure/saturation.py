"""What an int8 file would answer on an x86 CPU without VNNI, whose kernels can saturate: emulated, pair by pair, on real images.

ONNX Runtime's matrix kernels (MLAS) multiply uint8 activations and int8 weights with `vpmaddubsw` on AVX2, and on AVX-512 without VNNI: two
neighbouring products are added in int16, which saturates at -32768 and 32767, before the sums are widened to int32. As of ONNX Runtime 1.32
(onnxruntime/core/mlas/lib: platform.cpp, ConvSymKernelAvx2, QgemmU8S8KernelAvx2; core/providers/cpu/quantization/qlinearconv.cc):

- Neighbours are consecutive along the summed axis, pairs starting at 0, 2, 4, … For a convolution that axis runs over kernel rows, kernel
  columns, then input channels of the group, since filters are reordered that way and images are channels-last; for a matrix product it is
  the inner axis. An odd last product stands alone and cannot saturate.
- What is multiplied are the stored codes, zero points not taken off: their part is subtracted from the sum afterwards, exactly. Padding
  holds the input's zero point.
- Depthwise convolutions are computed in more bits. uint8 weights are widened to 16 bits first (`vpmaddwd`), and int8 activations have no
  vector kernel here. None of these saturates; nor does any kernel on VNNI, AMX or Arm's dot product.

With weights of 7 bits the largest pair is 2 × 255 × 64 = 32640, so that they never saturate: the "reduced range".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.compress.quantization.torch_graph import Call, with_lifetimes
from engine.compress.quantization.torch_operators import Operator, attributes, operator, window_pads
from engine.errors import StepError
from engine.graph.graph import Array, constant_names, constant_values, graph_inputs
from engine.graph.inline import inlined

IMAGES_AT_ONCE = 25

LOW, HIGH = -32768, 32767
"""The range of int16, in which pairs are added."""
_LARGEST_CODE = 255
# Float32 sums of whole numbers are exact up to here.
_EXACT = 2**24
# Numbers of an unfolded batch held at a time.
_BLOCK = 2**22


def pair_excess(codes: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """What saturation adds to sums of products, and how many pairs saturated: int32 (rows, outputs), int64 (outputs,).

    `codes` (rows, K) of 0 .. 255, `weights` (K, outputs) of -128 .. 127, both int32 and ordered as the kernel sums them.
    """
    rows, inner = codes.shape
    excess = torch.zeros(rows, weights.shape[1], dtype=torch.int32)
    count = torch.zeros(weights.shape[1], dtype=torch.int64)
    for first in range(0, inner - 1, 2):
        two = weights[first : first + 2]
        chosen = torch.nonzero(_can_saturate(two)).reshape(-1)
        if not len(chosen):
            continue
        sums = codes[:, first, None] * two[0, chosen] + codes[:, first + 1, None] * two[1, chosen]
        beyond = sums.clamp(LOW, HIGH) - sums
        excess[:, chosen] += beyond
        count[chosen] += (beyond != 0).sum(0)
    return excess, count


def _can_saturate(two: Tensor) -> Tensor:
    """Which outputs' pairs of weights, (2, outputs), could leave int16 for some image."""
    positive, negative = two.clamp(min=0).sum(0), two.clamp(max=0).sum(0)
    return (positive * _LARGEST_CODE > HIGH) | (negative * _LARGEST_CODE < LOW)


def float_of(scale: Array) -> np.float32:
    """The one number of a tensor."""
    return np.float32(scale.reshape(-1)[0])


class _IntegerLayer:
    """A layer as its integer kernel computes it: codes in, codes (or floats) out."""

    def __init__(
        self, node: onnx.NodeProto, data: _Rounded, weight: _Rounded, bias: Array | None, out: _Rounded | None
    ):
        self.name = node.name or node.output[0]
        self.attributes, self.kind = attributes(node), node.op_type
        self.data, self.out = data, out
        codes = weight.constant_codes()
        if self.kind == "Gemm":
            if self.attributes.get("transA") or self.attributes.get("alpha", 1.0) != 1.0:
                raise StepError(f"portability: Gemm {self.name!r} with transA or alpha has no integer kernel")
            codes = codes if self.attributes.get("transB") else codes.transpose(0, 1)
        elif self.kind == "MatMul":
            codes = codes.transpose(0, 1)
        self.codes = codes.contiguous()  # (outputs, …)
        scale = torch.from_numpy(np.array(weight.scale, np.float32).reshape(-1))
        zero = torch.from_numpy(np.array(weight.zero, np.int32).reshape(-1))
        self.centred = self.codes - zero.reshape(-1, *[1] * (self.codes.ndim - 1))
        unit = float_of(data.scale) * scale.numpy()
        self.unit = torch.from_numpy(unit)
        self._factor = self.unit / float(float_of(out.scale)) if out is not None else self.unit
        self.bias = (
            torch.zeros(len(self.codes))
            if bias is None
            else torch.from_numpy(np.rint(np.asarray(bias, np.float32).reshape(-1) / unit))
        )
        self.bias = self.bias.to(torch.float64)
        groups = self.attributes.get("group", 1) if self.kind == "Conv" else 1
        depthwise = self.kind == "Conv" and groups == len(self.codes) and self.codes.shape[1] == 1
        self.groups = groups
        self.saturates = data.dtype == np.uint8 and weight.dtype == np.int8 and not (depthwise and groups > 1)
        self.pair_weights = [self._ordered(part) for part in self.codes.chunk(groups)]
        self.possible = self.saturates and any(
            bool(_can_saturate(w[i : i + 2]).any()) for w in self.pair_weights for i in range(0, len(w) - 1, 2)
        )
        self.seen: Counter[str] = Counter()

    def _ordered(self, codes: Tensor) -> Tensor:
        """(outputs, channels, rows, columns) or (outputs, inputs) -> (K, outputs), in the order of the kernel's sums."""
        last = codes.permute(0, 2, 3, 1) if codes.ndim == 4 else codes
        return last.reshape(len(codes), -1).t().contiguous()

    def __call__(self, codes: Tensor, saturating: bool) -> Tensor:
        """Codes of the input, as floats -> codes of the output, or floats where it is not rounded."""
        total = self._exact(codes)
        if self.possible and saturating:
            total = total + self._excess(codes)
        channels = (-1, 1, 1) if self.kind == "Conv" else (-1,)
        total = total.to(torch.float64) + self.bias.reshape(channels)
        if self.out is None:
            return total.to(torch.float32) * self.unit.reshape(channels)
        # The kernel multiplies the int32 sum, as float32, by one float32 number, and rounds halves to even.
        factor = self._factor.reshape(channels)
        low, high = self.out.ends
        return (torch.round(total.to(torch.float32) * factor) + self.out.zero_point).clamp(low, high)

    def _exact(self, codes: Tensor) -> Tensor:
        inner = self.centred[0].numel()
        kind = torch.float32 if inner * _LARGEST_CODE * 256 < _EXACT else torch.float64
        data, weight = (codes - self.data.zero_point).to(kind), self.centred.to(kind)
        if self.kind != "Conv":
            return data @ weight.t()
        left, right, top, bottom = window_pads(self.attributes, codes, weight.shape[2:])
        a = self.attributes
        padded = F.pad(data, (left, right, top, bottom))
        return F.conv2d(padded, weight, None, a.get("strides", 1), 0, a.get("dilations", 1), self.groups)

    def _excess(self, codes: Tensor) -> Tensor:
        if self.kind != "Conv":
            flat = codes.reshape(-1, codes.shape[-1]).to(torch.int32)
            return self._counted(flat, self.pair_weights[0]).reshape(*codes.shape[:-1], -1)
        a, kernel = self.attributes, self.codes.shape[2:]
        left, right, top, bottom = window_pads(a, codes, kernel)
        padded = F.pad(codes, (left, right, top, bottom), value=float(self.data.zero_point))
        parts = []
        for image in torch.split(padded, max(1, _BLOCK // max(1, padded[0].numel() * kernel[0] * kernel[1]))):
            columns = []
            for group, weights in zip(image.chunk(self.groups, dim=1), self.pair_weights, strict=True):
                found = F.unfold(group, tuple(kernel), a.get("dilations", 1), 0, a.get("strides", 1))
                n, _, places = found.shape
                # (n, channels × window, places) -> (n × places, window × channels)
                rows = found.reshape(n, group.shape[1], -1, places).permute(0, 3, 2, 1).reshape(n * places, -1)
                columns.append(self._counted(rows.to(torch.int32), weights).reshape(n, places, -1))
            parts.append(torch.cat(columns, dim=2).transpose(1, 2))
        size = self._output_size(padded.shape[2:])
        return torch.cat(parts).reshape(len(codes), -1, *size)

    def _output_size(self, padded: Sequence[int]) -> list[int]:
        strides, dilations = (self.attributes.get(n, [1, 1]) for n in ("strides", "dilations"))
        kernel = self.codes.shape[2:]
        return [(padded[i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i in (0, 1)]

    def _counted(self, rows: Tensor, weights: Tensor) -> Tensor:
        excess, count = pair_excess(rows, weights)
        self.seen["pairs"] += len(rows) * weights.shape[1] * ((len(weights) + 1) // 2)
        self.seen["saturated"] += int(count.sum())
        self.seen["outputs"] += excess.numel()
        self.seen["changed"] += int((excess != 0).sum())
        return excess

    def summary(self) -> LayerSaturation:
        """Shares over all that was seen."""
        pairs, outputs = max(1, self.seen["pairs"]), max(1, self.seen["outputs"])
        return LayerSaturation(self.name, self.possible, self.seen["saturated"] / pairs, self.seen["changed"] / outputs)


@dataclass(frozen=True)
class _Rounded:
    """A Quantize- or DequantizeLinear: scale, zero point and type of its codes; `codes` where these are stored."""

    scale: Array
    zero: Array
    dtype: np.dtype[Any]
    codes: Array | None = None

    def constant_codes(self) -> Tensor:
        assert self.codes is not None, "only for weights"
        return torch.from_numpy(self.codes.astype(np.int32))

    @property
    def zero_point(self) -> float:
        return float(self.zero.reshape(-1)[0])

    @property
    def ends(self) -> tuple[int, int]:
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)


class Emulator:
    """A file of integer layers, computed as its kernels would: images (n, C, H, W) -> logits.

    Raises StepError for operators that cannot be run here.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        flat = inlined(model)
        self._known = constant_names(flat)
        nodes = [n for n in flat.graph.node if not set(n.output) <= self._known]
        self._makers = {o: n for n in flat.graph.node for o in n.output}
        wanted = {name for n in nodes for name in n.input if name in self._known}
        wanted |= {i for name in wanted if name in self._makers for i in self._makers[name].input if i in self._known}
        self._values = constant_values(flat, sorted(wanted))
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._input, self._output = graph_inputs(flat)[0].name, flat.graph.output[0].name
        self.layers: list[_IntegerLayer] = []
        self._saturating = False
        calls = self._calls(nodes)
        # Codes are computed with as float32: every integer below 2^24 is one.
        self._constants = {n: _tensor(v) for n, v in self._values.items() if v.dtype.kind in "fiub"}
        self._run = with_lifetimes(calls, {self._output, *self._constants})

    def _calls(self, nodes: Sequence[onnx.NodeProto]) -> list[Call]:
        calls, fused = [], set[str]()
        for node in nodes:
            if node.output[0] in fused:
                continue
            layer = self._integer_layer(node)
            if layer is not None:
                self.layers.append(layer)
                made = node.output[0]
                if layer.out is not None:
                    made = self._readers[made][0].output[0]
                    fused.add(made)
                calls.append(Call(self._layer_call(layer), (self._makers[node.input[0]].input[0],), (made,)))
            elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                calls.append(Call(_rounding(self._rounded(node), node.op_type), (node.input[0],), (node.output[0],)))
            else:
                calls.append(Call(operator(node), tuple(node.input), tuple(node.output)))
        return calls

    def _layer_call(self, layer: _IntegerLayer) -> Operator:
        return lambda codes: layer(codes, self._saturating)

    def _rounded(self, node: onnx.NodeProto) -> _Rounded:
        scale = self._values[node.input[1]]
        has_zero = len(node.input) > 2 and bool(node.input[2])
        codes = self._values.get(node.input[0])
        dtype = np.dtype(np.uint8) if codes is None else codes.dtype
        zero = self._values[node.input[2]] if has_zero else np.zeros((), dtype)
        return _Rounded(scale, zero, zero.dtype, codes)

    def _integer_layer(self, node: onnx.NodeProto) -> _IntegerLayer | None:
        """The layer where ONNX Runtime fuses an integer kernel; None for all other nodes."""
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            return None
        data, weight = self._makers.get(node.input[0]), self._makers.get(node.input[1])
        if data is None or weight is None or {data.op_type, weight.op_type} != {"DequantizeLinear"}:
            return None
        if node.input[1] not in self._known or node.input[0] in self._known:
            return None
        x, w = self._rounded(data), self._rounded(weight)
        if x.zero.dtype.itemsize != 1 or w.dtype.itemsize != 1 or x.scale.size != 1:
            return None
        readers = self._readers.get(node.output[0], [])
        rounded = [r for r in readers if r.op_type == "QuantizeLinear"]
        out = self._rounded(rounded[0]) if len(readers) == 1 and rounded and node.output[0] != self._output else None
        if node.op_type == "Conv" and out is None:
            return None
        bias = self._values[node.input[2]] if len(node.input) > 2 and node.input[2] else None
        return _IntegerLayer(node, x, w, bias, out)

    def __call__(self, images: npt.NDArray[np.float32], saturating: bool) -> npt.NDArray[np.float32]:
        """Logits (n, classes) of preprocessed images, with exact or saturating sums."""
        self._saturating = saturating
        parts = []
        with torch.no_grad():
            for part in torch.split(torch.from_numpy(np.ascontiguousarray(images)), IMAGES_AT_ONCE):
                values = {**self._constants, self._input: part}
                for call in self._run:
                    found = call.run(*(values[name] if name else None for name in call.inputs))
                    values.update(zip(call.outputs, [found] if isinstance(found, Tensor) else found, strict=False))
                    for name in call.spent:
                        values.pop(name, None)
                parts.append(values[self._output].numpy())
        return np.concatenate(parts)

    def forget(self) -> None:
        """Start counting anew."""
        for layer in self.layers:
            layer.seen.clear()


def _tensor(value: Array) -> Tensor:
    return torch.from_numpy(np.array(value, np.float32 if value.dtype.kind in "u" else value.dtype))


def _rounding(how: _Rounded, op_type: str) -> Operator:
    scale = torch.from_numpy(np.array(how.scale, np.float32))
    if op_type == "DequantizeLinear":
        return lambda codes: (codes - how.zero_point) * scale
    low, high = how.ends
    return lambda exact: (torch.round(exact / scale) + how.zero_point).clamp(low, high)


@dataclass(frozen=True)
class LayerSaturation:
    """One integer layer: the share of its pair sums that saturated, and of its outputs that came out different for it.

    `possible`: whether any image could make a pair of its weights saturate.
    """

    name: str
    possible: bool
    saturated: float
    outputs_changed: float
