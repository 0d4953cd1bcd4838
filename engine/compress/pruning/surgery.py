"""Takes units out of a network, and checks first that the network is then what it was without them."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from engine.compress.pruning.structure import Group, Structure
from engine.graph.inputs import Shape, Signature, drawn
from engine.models.catalog import one_line
from engine.models.narrow import narrow
from engine.models.pruned import mark_pruned, pruned_masks
from engine.models.state import fit_to, load_state
from engine.models.torch_inputs import Tensors, as_tensors, call

# A wrong group changes the outputs of a random network by some hundredths of their size at least, rounding by some millionths.
_TOLERANCE = 1e-3


def without(network: nn.Module, structure: Structure, removed: Tensor) -> nn.Module:
    """A copy of the network without the units whose entry in `removed` (units,) is True; layers are smaller, the outputs are not.

    What the units added is gone, all else is computed as before: attention divides by the square root of its width, so queries are
    scaled to make up for the smaller one. (Layer norms do see fewer values.)
    """
    state = {name: tensor.detach() for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
    state = {name: state[name] for name in network.state_dict() if name in state}
    masks = {name: mask for name, (_, mask) in pruned_masks(network).items()}
    for axis in structure.axes:
        lost = (axis.unit >= 0) & removed[axis.unit.clamp_min(0)]
        if bool(lost.any()):
            left = torch.nonzero(~lost).flatten()
            state[axis.tensor] = state[axis.tensor].index_select(axis.dim, left)
            if axis.tensor in masks:
                masks[axis.tensor] = masks[axis.tensor].index_select(axis.dim, left)
    for name in structure.attention:
        _rescale_queries(state, name, network.get_submodule(name))
    pruned = (
        narrow(copy.deepcopy(network), resized) if (resized := structure.resized(removed)) else copy.deepcopy(network)
    )
    fit_to(pruned, state)
    load_state(pruned, state, "pruned tensors", "this network")
    for name, mask in masks.items():
        path, _, parameter = name.rpartition(".")
        mark_pruned(pruned.get_submodule(path), parameter, mask)
    return pruned


def _rescale_queries(state: dict[str, Tensor], name: str, layer: Any) -> None:
    before, after = layer.embed_dim, state[f"{name}.in_proj_weight"].shape[1]
    scale = torch.ones(3 * after, dtype=layer.in_proj_weight.dtype)
    scale[:after] = math.sqrt(after / before)
    for key in ("in_proj_weight", "in_proj_bias"):
        tensor = state.get(f"{name}.{key}")
        if tensor is not None:
            state[f"{name}.{key}"] = tensor * scale.view(-1, *[1] * (tensor.ndim - 1))


def silenced(network: nn.Module, structure: Structure, removed: Tensor) -> nn.Module:
    """A copy of the network of the same shape in which nobody writes to the units to be removed and nobody reads them."""
    quiet = copy.deepcopy(network)
    parameters = dict(quiet.named_parameters())
    with torch.no_grad():
        for axis in structure.axes:
            lost = (axis.unit >= 0) & removed[axis.unit.clamp_min(0)]
            if axis.tensor in parameters and bool(lost.any()):
                parameters[axis.tensor].index_fill_(axis.dim, torch.nonzero(lost).flatten(), 0.0)
    return quiet


class _PlainLayerNorm(TorchFunctionMode):
    """Layer norms by the largest value, which silent channels do not change as they do mean and variance."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_by_largest if func is F.layer_norm else func)(*args, **(kwargs or {}))


def _by_largest(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 0.0
) -> Tensor:
    x = x / x.abs().amax()
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def checked(network: nn.Module, structure: Structure, input_shape: Shape, samples: int = 1) -> Structure:
    """The structure less the groups that are wrong: removing half of each must be the same as silencing it, whatever the weights.

    The dependency graph guesses what an operation without weights does to channels, and a network may state a width in its code.
    Tried on random weights and `samples` random inputs with all groups at once, and with fewer and fewer when that fails.
    """
    network = _randomised(network)
    leaders = [g for g in structure.groups if g.follows is None]
    inputs = _drawn(input_shape, samples)
    return structure.keeping(_wrong(network, structure, leaders, inputs)) if leaders else structure


def _drawn(input_shape: Shape, samples: int) -> Tensors:
    if isinstance(input_shape, Signature):
        return as_tensors(drawn(input_shape, samples, np.random.default_rng(1)))
    return torch.randn(samples, *input_shape, generator=torch.Generator().manual_seed(2))


def _wrong(network: nn.Module, structure: Structure, leaders: list[Group], inputs: Tensors) -> dict[str, str]:
    """Names of the groups that cannot lose units, and why; found by halving the list."""
    names = {g.name for g in leaders}
    groups = [g for g in structure.groups if g.name in names or g.follows in names]
    reason = _difference(network, structure, groups, inputs)
    if reason is None:
        return {}
    if len(leaders) == 1:
        return {leaders[0].name: reason}
    half = len(leaders) // 2
    return {
        **_wrong(network, structure, leaders[:half], inputs),
        **_wrong(network, structure, leaders[half:], inputs),
    }


def _randomised(network: nn.Module) -> nn.Module:
    """A copy with weights from a fixed seed, scaled so that signals keep their size (He et al. 2015, arXiv:1502.01852)."""
    network = copy.deepcopy(network).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]:
            if tensor.ndim > 1:
                tensor.normal_(0, math.sqrt(2 * len(tensor) / tensor.numel()), generator=generator)
            else:
                tensor.uniform_(0.5, 1.5, generator=generator)
    return network


def check_removed(network: nn.Module, structure: Structure, removed: Tensor, input_shape: Shape) -> str | None:
    """Why just these units cannot be removed, None where they can: a size that code states may have fitted half of them by chance."""
    return _unlike(_randomised(network), structure, removed, _drawn(input_shape, 2))


def _difference(network: nn.Module, structure: Structure, groups: list[Group], inputs: Tensors) -> str | None:
    """Why half of the groups' units cannot be removed, None where they can."""
    generator = torch.Generator().manual_seed(1)
    removed = torch.zeros(structure.units, dtype=torch.bool)
    for group in groups:
        step = math.lcm(group.multiple, group.parts)
        kept = max(1, len(group) // 2 // step) * step
        removed[group.least(torch.rand(len(group), generator=generator), min(kept, len(group)))] = True
    return _unlike(network, structure, removed, inputs)


def _unlike(network: nn.Module, structure: Structure, removed: Tensor, inputs: Tensors) -> str | None:
    """Why removing units is not the same as silencing them; None where it is."""
    try:
        with torch.no_grad(), _PlainLayerNorm():
            expected = call(silenced(network, structure, removed), inputs)
            found = call(without(network, structure, removed), inputs)
    except Exception as error:  # whatever a network's forward raises when its channels are fewer
        return f"the network does not run with fewer of its channels ({one_line(error)})"
    if expected.shape != found.shape:
        return "the network's outputs change with it"
    off = float((found - expected).abs().max() / expected.abs().max())
    return None if off < _TOLERANCE else "its channels are rearranged on the way to the layers that read them"
