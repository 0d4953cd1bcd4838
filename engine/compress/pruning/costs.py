"""Parameters and MACs of a torch network, and what they become as groups of channels lose some."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from engine.compress.pruning.structure import CONVS, Axis, Structure
from engine.graph.inputs import Shape
from engine.models.torch_inputs import blank_tensors, call

Floats = npt.NDArray[np.float64]
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Costs:
    """Learned parameters, and multiply-accumulates of convolutions, linear and recurrent layers and attention for one image."""

    params: int
    macs: int


@dataclass(frozen=True)
class Uses:
    """How often one image uses the weights: tensor name -> multiplications by each weight; (output matrix, tokens²) of each attention."""

    weights: dict[str, int]
    attention: tuple[tuple[str, int], ...]


def measure_uses(network: nn.Module, input_shape: Shape) -> Uses:
    """Seen in one forward pass of a blank image; a layer that is applied several times counts as often."""
    weights: Counter[str] = Counter()
    attention: Counter[str] = Counter()
    names = {id(p): name for name, p in network.named_parameters()}

    def note(layer: Any, inputs: tuple[Tensor, ...], output: object) -> None:
        if isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
            tokens = inputs[0].shape[1 if layer.batch_first else 0]
            for weight in (layer.in_proj_weight, layer.out_proj.weight):
                weights[names[id(weight)]] += tokens
            attention[names[id(layer.out_proj.weight)]] += tokens**2
        elif isinstance(layer, nn.RNNBase | nn.RNNCellBase):
            for weight in [p for p in layer.parameters(recurse=False) if p.ndim > 1]:
                weights[names[id(weight)]] += inputs[0].numel() // layer.input_size
        elif isinstance(output, Tensor):
            counted = inputs[0] if isinstance(layer, _TRANSPOSED) else output
            channels = layer.in_channels if isinstance(layer, _TRANSPOSED) else len(layer.weight)
            weights[names[id(layer.weight)]] += counted.numel() // channels

    kinds = (*CONVS, *_TRANSPOSED, nn.Linear, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)
    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, kinds)]
    try:
        # With gradients: without them attention takes a fused path that shows no layers.
        call(network.eval(), blank_tensors(input_shape, 1))
    finally:
        for hook in hooks:
            hook.remove()
    return Uses(dict(weights), tuple(sorted(attention.items())))


def count_costs(network: nn.Module, uses: Uses) -> Costs:
    """Parameters and MACs; queries times keys and their products with the values cost tokens² × the width of all heads each."""
    parameters = dict(network.named_parameters())
    macs = sum(parameters[name].numel() * times for name, times in uses.weights.items())
    macs += sum(2 * tokens * parameters[name].shape[1] for name, tokens in uses.attention)
    return Costs(sum(p.numel() for p in parameters.values()), macs)


class CostModel:
    """Costs as a function of how many units each group has lost, without pruning anything: tensors shrink along axes.

    `groups` are those that lose units of their own accord; a group that follows another loses what that one does.
    """

    def __init__(self, network: nn.Module, structure: Structure, uses: Uses) -> None:
        self.groups = [g for g in structure.groups if g.follows is None]
        self._share = self._shares(structure)
        # A size is (now, lost per unit of each group); a tensor's is the product of all along its axes and a constant.
        sizes: dict[str, list[tuple[float, Floats]]] = defaultdict(list)
        for axis in structure.axes:
            sizes[axis.tensor].append(self._size(axis))
        self._tensors = []
        for name, parameter in network.named_parameters():
            constant = parameter.numel() / math.prod(now for now, _ in sizes[name])
            self._tensors.append((constant, uses.weights.get(name, 0) * constant, sizes[name]))
        widths = {axis.tensor: self._size(axis) for axis in structure.axes if axis.dim == 1}
        for name, tokens in uses.attention:
            fixed = (float(network.get_parameter(name).shape[1]), np.zeros(len(self.groups)))
            self._tensors.append((0.0, 2.0 * tokens, [widths.get(name, fixed)]))

    def _shares(self, structure: Structure) -> Floats:
        """(units + 1, groups): how much of a unit goes with one lost unit of a group, on average; the last row is for what stays."""
        shares = np.zeros((structure.units + 1, len(self.groups)))
        columns = {g.name: i for i, g in enumerate(self.groups)}
        for group in structure.groups:
            column = columns[group.follows or group.name]
            shares[group.units.numpy(), column] = 1 / len(self.groups[column])
        return shares

    def _size(self, axis: Axis) -> tuple[float, Floats]:
        return float(len(axis.unit)), self._share[axis.unit.numpy()].sum(0)

    def __call__(self, lost: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Units lost (…, groups) -> parameters (…) and MACs (…)."""
        params, macs = np.zeros(lost.shape[:-1]), np.zeros(lost.shape[:-1])
        for constant, per_use, sizes in self._tensors:
            product: Floats = np.ones(lost.shape[:-1])
            for now, per_unit in sizes:
                product = product * (now - lost @ per_unit)
            params, macs = params + constant * product, macs + per_use * product
        return params, macs
