"""What a network asks of a device: operations by kind and precision, bytes moved, memory, operators. Records only, nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Kind = Literal["conv", "stem", "pointwise", "depthwise", "dense", "product"]
"""conv: any other convolution; stem: one over fewer than four channels (a picture, a spectrogram), where kernels that work across channels
run empty; pointwise: 1×1; depthwise: one filter per channel; dense: a learned matrix; product: of two activations."""
KINDS: tuple[Kind, ...] = ("conv", "stem", "pointwise", "depthwise", "dense", "product")


@dataclass(frozen=True)
class LayerDemand:
    """One layer that multiplies, for one image.

    `weights` and `biases` are counts, whatever their storage; `weight_bits` is 0 for a product of two activations. `activation_bits` is
    what the input was rounded to, 32 for float. `input_bytes` and `output_bytes` are those of the tensors as a runtime keeps them: whole
    bytes, 8 bits at least. `shared` layers use weights that an earlier layer has counted already.
    """

    kind: Kind
    macs: int
    weights: int
    biases: int
    weight_bits: int
    activation_bits: int
    input_bytes: int
    output_bytes: int
    shared: bool = False

    @property
    def compute_bits(self) -> int:
        """Bits that the multiplier works in: a layer whose weights or input are float runs in float (or half) precision."""
        return max(self.weight_bits, self.activation_bits)

    def weight_bytes(self, storage_bits: int = 1) -> float:
        """Bytes of the weights when none takes fewer than `storage_bits`, and of biases, which integer runtimes keep in 32 bits."""
        return self.weights * max(self.weight_bits, storage_bits) / 8 + 4 * self.biases


@dataclass(frozen=True)
class Demand:
    """A whole network, for one image.

    `operators` counts what a runtime runs after it has fused activations, rounding and reshapes into their neighbours; `op_types` are
    the kinds of ONNX operators among them. `peak_bytes`: activations that live at one time, at the worst moment of the graph's own order.
    `moved_bytes`: inputs and outputs of every operator.
    """

    layers: tuple[LayerDemand, ...]
    operators: int
    op_types: tuple[str, ...]
    peak_bytes: int
    moved_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return sum(layer.macs for layer in self.layers)

    @property
    def compute_bits(self) -> int:
        """The widest precision that any layer computes in; 32 for a graph without layers."""
        return max((layer.compute_bits for layer in self.layers), default=32)

    def macs_by_kind(self) -> dict[Kind, int]:
        """Multiply-accumulates in layers of every kind."""
        macs = dict.fromkeys(KINDS, 0)
        for layer in self.layers:
            macs[layer.kind] += layer.macs
        return macs

    def weight_bytes(self, storage_bits: int = 1) -> float:
        """Bytes that a device stores for weights and biases; shared ones once."""
        return sum(layer.weight_bytes(storage_bits) for layer in self.layers if not layer.shared)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Demand:
        """The inverse of `to_json`."""
        layers = tuple(LayerDemand(**layer) for layer in record["layers"])
        return cls(**{**record, "layers": layers, "op_types": tuple(record["op_types"])})


def in_integers(demand: Demand, bits: int = 8) -> Demand:
    """The same network with weights and activations of `bits` each, as its float graph would be after quantization."""
    layers = tuple(
        replace(
            x,
            weight_bits=bits if x.weight_bits else 0,
            activation_bits=bits,
            input_bytes=_scaled(x.input_bytes, x.activation_bits, bits),
            output_bytes=_scaled(x.output_bytes, x.activation_bits, bits),
        )
        for x in demand.layers
    )
    wide = demand.compute_bits
    return replace(
        demand,
        layers=layers,
        peak_bytes=_scaled(demand.peak_bytes, wide, bits),
        moved_bytes=_scaled(demand.moved_bytes, wide, bits),
    )


def _scaled(size: int, before: int, after: int) -> int:
    return round(size * max(8, after) / max(8, before))
