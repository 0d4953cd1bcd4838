"""A network as a graph of its layers, with what each of them asks for: the picture's data, and what two networks are
compared by. Records only, nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["input", "output", "operator"]


@dataclass(frozen=True)
class LayerBox:
    """One layer with what is fused into it, or one operator. None stands for what is not known, or what it has not.

    `name` is the node's own, "" for none. `layers`: names of the layers that are counted in it. `shape`: of what it puts out for one blank
    input, the batch axis included. `channels`: what its layer takes and gives. `macs` per image, `params` and `bytes` (weights, scales,
    biases as stored) of all its layers. `geometry`: what pruning and rounding leave as it is: kernel, strides, groups. `weights`: a digest
    of the stored weight. `inside`: what its branches hold.
    """

    kind: Kind
    name: str
    op_type: str
    operators: tuple[str, ...]
    layers: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    channels: tuple[int, int] | None = None
    params: int | None = None
    nonzero_params: int | None = None
    macs: int | None = None
    bytes: int | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None
    geometry: tuple[str, ...] = ()
    weights: str = ""
    inside: str = ""

    @property
    def is_layer(self) -> bool:
        """Whether it holds what was learned."""
        return bool(self.params)

    @property
    def title(self) -> str:
        """Its name without slashes around it, or else its operator."""
        return self.name.strip("/") or self.op_type


@dataclass(frozen=True)
class LayerGraph:
    """`edges`: (from, to), positions among the boxes. `notes`: what could not be found out, and what is left out, a sentence each."""

    boxes: tuple[LayerBox, ...]
    edges: tuple[tuple[int, int], ...]
    notes: tuple[str, ...] = ()
