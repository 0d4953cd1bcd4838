"""How a float graph will be rounded: what post-training methods decide, training improves and the writer stores.

    prepared float graph ─ place ─ calibrate ─ round ─┬─ learned rounding, bias correction, training ─┬─ write ─> ONNX graph
                                                      └───────────────── Scheme ──────────────────────┘

The simulation in torch (simulate.py) and the writer (write.py) read the same scheme, so what is trained is
what is deployed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx

from engine.compress.quantization.weights import Layer

Float32 = npt.NDArray[np.float32]
Format = Literal["u8s8", "u8u8", "s8s8"]


@dataclass(frozen=True)
class ActivationScale:
    """`value ≈ (code - zero_point) * scale`, code in 0 .. 2^bits - 1, whatever type the file stores it in."""

    scale: np.float32
    zero_point: int
    bits: int

    @property
    def largest(self) -> int:
        """The largest code."""
        return int(2**self.bits - 1)

    def codes(self, values: Float32) -> npt.NDArray[np.int32]:
        """The codes of values, of their shape: to the nearest, halves to even, as QuantizeLinear rounds."""
        found: npt.NDArray[np.int32] = np.clip(np.rint(values / self.scale) + self.zero_point, 0, self.largest).astype(
            np.int32
        )
        return found


@dataclass(frozen=True)
class Codes:
    """A stored weight: `weight ≈ (codes - zero_point) * scale`.

    `codes` int16 of the weight's shape; `scale` float32 and `zero_point` int16, both () for one per tensor or (channels,) along `axis`.
    Symmetric codes have zero_point 0 and lie in -2^(bits-1) .. 2^(bits-1) - 1 (±127 at 8 bits), others in 0 .. 2^bits - 1.
    """

    codes: npt.NDArray[np.int16]
    scale: Float32
    zero_point: npt.NDArray[np.int16]
    bits: int
    axis: int

    @property
    def symmetric(self) -> bool:
        """Whether codes lie around 0 (a zero point may be 0 by chance, where no weight is negative)."""
        return not self.zero_point.any() and int(self.codes.max(initial=0)) < 2 ** (self.bits - 1)

    def values(self) -> Float32:
        """The float32 weight that the runtime will see."""
        shape = [1] * self.codes.ndim
        if self.scale.ndim:
            shape[self.axis] = -1
        centred = self.codes - self.zero_point.reshape(shape if self.zero_point.ndim else ())
        value: Float32 = centred.astype(np.float32) * self.scale.reshape(shape if self.scale.ndim else ())
        return value


@dataclass(frozen=True)
class BlockCodes:
    """A matrix (inputs, outputs) in blocks along its inputs: `weight ≈ (codes - zero_point) * scale`, codes in 0 .. 2^bits - 1.

    `codes` uint8 (outputs, blocks, size), the last block filled up with codes of zero; `scale` float32 and `zero_point` uint8, both
    (outputs, blocks). `inputs` of the codes of an output count. Symmetric ones have the middle code as zero point.
    """

    codes: npt.NDArray[np.uint8]
    scale: Float32
    zero_point: npt.NDArray[np.uint8]
    bits: int
    inputs: int

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is the middle code."""
        return bool((self.zero_point == 2 ** (self.bits - 1)).all())

    def values(self) -> Float32:
        """The float32 matrix that the runtime will see."""
        value = (self.codes.astype(np.float32) - self.zero_point[..., None]) * self.scale[..., None]
        return np.ascontiguousarray(value.reshape(len(value), -1)[:, : self.inputs].T)


@dataclass(frozen=True)
class Scheme:
    """A graph and its rounding. Tensors and initialisers go by their names in `model`; methods return a changed copy.

    `model`: the prepared float graph (batch norms folded, tidy). `nodes`: copies of its nodes in order, activation functions that rounding
    does anyway left out. `layers`: nodes among them that multiply by a stored weight; a weight without `weights` entry stays in float.
    `activations`: every tensor that passes through Quantize- and DequantizeLinear, empty for weight-only schemes; the graph's input may be
    among them. `shared`: {output: input} where both must have one scale (max pooling, reshapes). `biases`: by layer output, float, shape
    (channels,); a layer without has none. `limits`: upper bounds that rounding puts on each channel of a tensor, (channels, 1, …): its
    codes are at most the code of the bound. `others`: codes (rows, weights each) of weights that no layer has (others.py). `dynamic`:
    matrix products round their data while they run. `blocks`: weights of layers that are stored in blocks and have no `weights` entry;
    `accuracy_level` is what their kernel computes in.
    """

    model: onnx.ModelProto
    nodes: tuple[onnx.NodeProto, ...]
    layers: tuple[Layer, ...]
    activations: dict[str, ActivationScale]
    shared: dict[str, str]
    weights: dict[str, Codes]
    biases: dict[str, Float32]
    format: Format
    limits: dict[str, Float32] = field(default_factory=dict)
    others: dict[str, Codes] = field(default_factory=dict)
    dynamic: bool = False
    blocks: dict[str, BlockCodes] = field(default_factory=dict)
    accuracy_level: int = 0

    @property
    def opset(self) -> int:
        """Version of the standard operators that the graph uses."""
        return next(int(o.version) for o in self.model.opset_import if o.domain in ("", "ai.onnx"))

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the initialisers."""
        return {t.name: tuple(t.dims) for t in self.model.graph.initializer}

    def copied_nodes(self) -> list[onnx.NodeProto]:
        """`nodes` once more, free to be changed."""
        return [onnx.NodeProto.FromString(n.SerializeToString()) for n in self.nodes]
