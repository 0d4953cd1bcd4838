"""A QDQ graph -> a full-int8 file.

Found unfit beforehand: onnx2tf and litert-torch quantize anew from float with calibration of their own, so their file would not be the one
that was measured, and bring 2 GB (tensorflow, jax) or other versions of onnx than are here; no other that is maintained reads QDQ graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engine.export.tflite import layers, moves, pointwise, windows
from engine.export.tflite.flat import Scale, schema
from engine.export.tflite.network import CHANNELS_LAST, Network, Value
from engine.export.tflite.source import Source, refusal

Array = npt.NDArray[Any]

HANDLERS: dict[str, Callable[[Network, onnx.NodeProto], None]] = {
    "Add": pointwise.pair,
    "AveragePool": windows.average_pool,
    "BatchNormalization": layers.batch_norm,
    "Clip": pointwise.bound,
    "Concat": pointwise.concatenate,
    "Conv": layers.convolution,
    "DequantizeLinear": pointwise.dequantize,
    "Dropout": pointwise.same,
    "Flatten": moves.reshape,
    "Gemm": layers.product,
    "GlobalAveragePool": windows.global_average,
    "Identity": pointwise.same,
    "LeakyRelu": pointwise.curve,
    "MatMul": layers.product,
    "Max": pointwise.limit,
    "MaxPool": windows.max_pool,
    "Min": pointwise.limit,
    "Mul": pointwise.pair,
    "Pad": moves.pad,
    "QuantizeLinear": pointwise.quantize,
    "ReduceMean": windows.global_average,
    "Relu": pointwise.bound,
    "Reshape": moves.reshape,
    "Sigmoid": pointwise.curve,
    "Softmax": pointwise.softmax,
    "Squeeze": moves.reshape,
    "Tanh": pointwise.curve,
    "Transpose": moves.transpose,
    "Unsqueeze": moves.reshape,
}
"""By ONNX operator; any other is refused by name."""


@dataclass(frozen=True)
class Port:
    """An input or output of the file: int8 of `scale`. `axes`: the ONNX axis that each of its axes is; `shape` is the file's."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    scale: Scale
    from_samples: bool = False

    @property
    def layout(self) -> str:
        """In letters."""
        letters = {4: "NCHW", 3: "NCT"}.get(len(self.axes), "N" + "".join(f"D{i}" for i in range(1, len(self.axes))))
        return "".join(letters[a] for a in self.axes) if len(self.axes) in (3, 4) else "(N, features)"


@dataclass(frozen=True)
class Converted:
    """A file, what goes in and comes out, the operators that it needs, and the graph that it is made of."""

    content: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: tuple[str, ...]
    source: Source


def convert(model: onnx.ModelProto, samples: Mapping[str, Array], description: str = "") -> Converted:
    """The int8 file of a QDQ graph; `samples` is what that is fed, by input, (n, …): ranges behind the last layer are taken from them.

    Raises SetupError without `ai-edge-litert`, ModelError, in one line that names it, for an operator that int8 has no way for.
    """
    schema()
    source = Source(model, samples)
    net = Network(source)
    for node in source.nodes:
        if net.done.union(net.values).issuperset(node.output):
            continue
        if node.op_type not in HANDLERS or node.domain not in ("", "ai.onnx"):
            raise refusal(node, "has no int8 form here", f"what can be written is {', '.join(HANDLERS)}")
        HANDLERS[node.op_type](net, node)
    fed = [name for name in source.inputs if name in net.values]
    if missing := [name for name in source.inputs if name not in net.values]:
        raise refusal(source.nodes[0], f"does not read input {missing[0]!r}", "export the network without it")
    outputs = tuple(_output(net, name) for name in source.outputs)
    inputs = tuple(_port(net, name, net.values[name]) for name in fed)
    return Converted(net.flat.content(description), inputs, outputs, net.flat.operator_names, source)


def _output(net: Network, name: str) -> Port:
    """An output of the file: images and series with their channels last where they lie so, all else in ONNX's order."""
    value = net.straight(net.values[name])
    if value.above is not None:
        maker = next(node for node in net.source.nodes if name in node.output)
        raise refusal(
            maker, "gives codes as the network's output", "export it with values, a DequantizeLinear at its end"
        )
    if value.axes != CHANNELS_LAST.get(len(value.shape)):
        value = net.ordered(value, range(len(value.shape)))
    net.flat.outputs.append(value.tensor)
    return _port(net, name, value)


def _port(net: Network, name: str, value: Value) -> Port:
    shape = net.flat.shape_of(value.tensor)
    return Port(name, shape, value.axes, value.scale, from_samples=name in net.ranged)


def as_fed(port: Port, values: Array) -> npt.NDArray[np.int8]:
    """Samples as ONNX takes them, (n, …) -> the codes that the file takes, each in its layout."""
    return np.ascontiguousarray(port.scale.codes(values).transpose(port.axes))
