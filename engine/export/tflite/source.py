"""The QDQ graph as it is read: constants computed, codes of weights and scales of activations found, ranges taken from samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper

from engine.errors import ModelError
from engine.export.tflite.flat import Scale
from engine.graph.graph import LAYER_OPS, constant_names, constant_values, fixed_batch, open_session, with_outputs
from engine.graph.inline import inlined

Array = npt.NDArray[Any]

_CLIPPING = ("Relu", "Clip")
_SHAPED = ("Reshape", "Squeeze", "Unsqueeze")
_AT_A_TIME = 50


def refusal(node: onnx.NodeProto, because: str, remedy: str) -> ModelError:
    """An operator that cannot be written, by name: one line."""
    name = node.name or node.output[0]
    return ModelError(f"--for tflite: {node.op_type} {name!r} {because}; {remedy}")


@dataclass(frozen=True)
class Weight:
    """Stored codes whose zero is 0, in -127 .. 127, int8 of the weight's shape, and their scales: one, or one a slice along `axis`."""

    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    axis: int


@dataclass(frozen=True)
class Target:
    """What a computed tensor is rounded to, once `clip` has been at it, the ends of the Relu or Clip behind it, in values.

    `names`: the tensor's, and those of what the clipping makes of it, of which the last is rounded. `free`: nothing in the graph rounds it,
    its scale is of its range over the samples, and another would do.
    """

    scale: Scale
    clip: tuple[float, float]
    names: tuple[str, ...]
    free: bool = False


class Source:
    """A QDQ graph of one sample a run. Raises ModelError for one that fixes another batch."""

    def __init__(self, model: onnx.ModelProto, samples: Mapping[str, Array]) -> None:
        """`samples`: what the graph is fed, by input, (n, …)."""
        if (batch := fixed_batch(model)) not in (None, 1):
            raise ModelError(
                f"--for tflite: the graph fixes its batch at {batch}, and microcontrollers answer one at a time; "
                "export the network with a free batch axis"
            )
        self.model = inlined(model)
        self._samples = samples
        self._constant = constant_names(self.model)
        stored = {t.name for t in self.model.graph.initializer}
        self.inputs = [i.name for i in self.model.graph.input if i.name not in stored]
        self.outputs = [o.name for o in self.model.graph.output]
        self.nodes = self._computing()
        named = [*self.inputs, *(o for n in self.nodes for o in n.output if o)]
        first = next(iter(self.run(named, {name: array[:1] for name, array in samples.items()})))
        self.shapes = {name: tuple(int(n) for n in np.shape(value)) for name, value in first.items()}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        self._makers = {o: n for n in self.model.graph.node for o in n.output}

    def _computing(self) -> list[onnx.NodeProto]:
        """The nodes that compute on the sample, in order; those that work out shapes, which a run has told, are none of them."""
        needed, nodes = set(self.outputs), []
        for node in reversed(self.model.graph.node):
            if needed.intersection(node.output) and not set(node.output) <= self._constant:
                nodes.append(node)
                needed.update(node.input[:1] if node.op_type in _SHAPED else node.input)
        return nodes[::-1]

    @cached_property
    def _values(self) -> dict[str, Array]:
        """Everything that computed nodes read and that does not depend on the sample."""
        read = [name for node in self.nodes for name in node.input if name in self._constant]
        made = [name for one in read if (maker := self._makers.get(one)) is not None for name in maker.input if name]
        return constant_values(self.model, list(dict.fromkeys([*read, *made])))

    def constant(self, name: str) -> Array | None:
        """The value of a tensor, None where it depends on the sample."""
        return self._values.get(name)

    def attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        """A node's attributes, texts as such."""
        found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}

    def weight(self, node: onnx.NodeProto, name: str) -> Weight:
        """The codes of a stored weight; raises ModelError where it has none that int8 around 0 holds."""
        maker = self._makers.get(name)
        if name not in self._constant:
            raise refusal(node, "multiplies two computed tensors", "only products with stored weights can be written")
        if maker is None or maker.op_type != "DequantizeLinear":
            raise refusal(
                node,
                "has weights in float or in blocks",
                "a full-int8 file needs every layer quantized: activation_bits 8 or fewer, no float layers",
            )
        codes, scale = (self._values[n] for n in maker.input[:2])
        zero = self._values[maker.input[2]] if len(maker.input) > 2 and maker.input[2] else np.zeros(1, np.int64)
        axis = int(self.attributes(maker).get("axis", 1)) % max(1, codes.ndim)
        if self.attributes(maker).get("block_size") or scale.ndim > 1:
            raise refusal(node, "has weights in blocks", "quantize it with one scale a channel or layer")
        along = [1] * codes.ndim
        if zero.size > 1:
            along[axis] = -1
        centred = codes.astype(np.int64) - zero.astype(np.int64).reshape(along if zero.size > 1 else ())
        if np.abs(centred).max(initial=0) > 127:
            raise refusal(
                node,
                f"has weights of {centred.min()} to {centred.max()} steps around their zero, and TensorFlow Lite's go from -127 to 127",
                "quantize with symmetric: true",
            )
        scales = scale.reshape(-1).astype(np.float32)
        return Weight(centred.astype(np.int8), scales[:1] if (scales == scales[0]).all() else scales, axis)

    def bias(self, name: str) -> npt.NDArray[np.float64] | None:
        """A stored bias in values, exactly as they are meant; None where it is computed."""
        maker = self._makers.get(name)
        if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in self._constant:
            codes, scale = (self._values[n].astype(np.float64) for n in maker.input[:2])
            zero = self._values[maker.input[2]].astype(np.float64) if len(maker.input) > 2 and maker.input[2] else 0.0
            found: npt.NDArray[np.float64] = ((codes - zero) * scale).reshape(-1)
            return found
        value = self._values.get(name)
        return None if value is None else value.astype(np.float64).reshape(-1)

    def rounding(self, node: onnx.NodeProto) -> tuple[Scale, int]:
        """How a QuantizeLinear rounds, as int8, and what its own codes are above those; raises ModelError for other types."""
        scale = self._values.get(node.input[1])
        zero = self._values.get(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.uint8)
        if scale is None or zero is None or scale.size != 1 or zero.dtype not in (np.uint8, np.int8):
            kind = "computed or per channel" if scale is None or zero is None or scale.size != 1 else str(zero.dtype)
            raise refusal(node, f"rounds activations to {kind}", "quantize with activation_bits 8 or fewer")
        above = 128 if zero.dtype == np.uint8 else 0
        return Scale(float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]) - above), above

    def target(self, node: onnx.NodeProto) -> Target:
        """What the first output of a node is to be rounded to: said by the graph, or, behind the last layer, by its range over samples.

        Raises ModelError where the graph goes on in float.
        """
        name, clip = node.output[0], (-np.inf, np.inf)
        names = [name]
        while len(readers := self.readers.get(name, [])) == 1 and name not in self.outputs:
            ends = self.ends(readers[0]) if readers[0].op_type in _CLIPPING else None
            if ends is None:
                break
            clip = max(clip[0], ends[0]), max(max(clip[0], ends[0]), min(clip[1], ends[1]))
            name = readers[0].output[0]
            names.append(name)
        rounds = [reader for reader in readers if reader.op_type == "QuantizeLinear"]
        if rounds and (len(rounds) == len(readers)):
            return Target(self.rounding(rounds[0])[0], clip, tuple(names))
        blocking = self._layer_behind(name)
        if blocking is not None:
            raise refusal(
                node,
                f"gives floats that {blocking.op_type} {blocking.name or blocking.output[0]!r} reads",
                "a full-int8 file needs every tensor between two layers rounded: quantize without float layers",
            )
        return Target(self._range(name), clip, tuple(names), free=True)

    def ends(self, node: onnx.NodeProto) -> tuple[float, float] | None:
        """The ends of a Relu, or of a Clip between constants, in what it reads; None where they are computed."""
        if node.op_type == "Relu":
            return 0.0, np.inf
        found = [self.constant(name) if name else None for name in [*node.input[1:], "", ""][:2]]
        if any(name and value is None for name, value in zip(node.input[1:], found, strict=False)):
            return None
        low, high = (None if value is None else float(value.reshape(-1)[0]) for value in found)
        return -np.inf if low is None else low, np.inf if high is None else high

    def _layer_behind(self, name: str) -> onnx.NodeProto | None:
        """The first layer or rounding that depends on a tensor: behind the last of them, the graph is in float on purpose."""
        waiting, seen = [name], {name}
        while waiting:
            for reader in self.readers.get(waiting.pop(0), []):
                if reader.op_type in (*LAYER_OPS, "QuantizeLinear"):
                    return reader
                fresh = set(reader.output) - seen
                seen |= fresh
                waiting += sorted(fresh)
        return None

    @cached_property
    def _ranges(self) -> dict[str, tuple[float, float]]:
        """Least and greatest value over the samples of every float tensor behind the last layer, 0 among them."""
        tail = [n.output[0] for n in self.nodes if self._layer_behind(n.output[0]) is None]
        low, high = dict.fromkeys(tail, 0.0), dict.fromkeys(tail, 0.0)
        for found in self.run(tail):
            for name, values in found.items():
                low[name], high[name] = min(low[name], float(values.min())), max(high[name], float(values.max()))
        return {name: (low[name], high[name]) for name in tail}

    def _range(self, name: str) -> Scale:
        """Of a tensor's values over the samples, 255 steps; in three digits, so that the last bits of a machine's floats do not show."""
        low, high = self._ranges[name]
        step = max((high - low) / 255, 1e-12)
        unit = 10.0 ** (np.floor(np.log10(step)) - 2)
        scale = float(np.float32(np.ceil(step / unit) * unit))
        return Scale(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))

    def run(self, names: Iterable[str], samples: Mapping[str, Array] | None = None) -> Iterable[dict[str, Array]]:
        """Tensors over samples (default: its own) as ONNX Runtime computes the graph as it stands, a few at a time, one where it must."""
        samples = self._samples if samples is None else samples
        wanted = list(dict.fromkeys(names))
        session = open_session(with_outputs(self.model, wanted), onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
        count = len(next(iter(samples.values())))
        step = 1 if fixed_batch(self.model) else _AT_A_TIME
        for start in range(0, count, step):
            fed = {name: array[start : start + step] for name, array in samples.items()}
            yield dict(zip(wanted, session.run(wanted, fed), strict=True))
