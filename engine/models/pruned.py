"""Which weights a prune step took out: training leaves those at zero, and no others that happen to be zero.

A mask stays with its layer, as torch's own pruning keeps one: a buffer of the parameter's shape, True where the weight is gone. It is no
part of the state dict; `sources.py` writes it into the artifact beside the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import ModelError

_ENDING = "_pruned"
_FOLDER = "pruned/"
"""What names of packed masks begin with in an artifact; no tensor's own name has a slash."""


def mark_pruned(layer: nn.Module, parameter: str, mask: Tensor) -> None:
    """Note, in place, that the positions where `mask` (the parameter's shape, bool) is True were pruned; replaces an earlier note."""
    layer.register_buffer(parameter + _ENDING, mask, persistent=False)


def pruned_mask(layer: nn.Module, parameter: str) -> Tensor:
    """The mask of a layer's parameter; all False where nothing was pruned."""
    mask = getattr(layer, parameter + _ENDING, None)
    return mask if isinstance(mask, Tensor) else torch.zeros_like(layer.get_parameter(parameter), dtype=torch.bool)


def pruned_masks(network: nn.Module) -> dict[str, tuple[nn.Parameter, Tensor]]:
    """Name of a parameter -> the parameter and its mask, for those that lost weights; a shared parameter once for every layer."""
    found: dict[str, tuple[nn.Parameter, Tensor]] = {}
    for path, layer in network.named_modules():
        for name, parameter in layer.named_parameters(recurse=False):
            mask = pruned_mask(layer, name)
            if bool(mask.any()):
                found[f"{path}.{name}".lstrip(".")] = parameter, mask
    return found


def packed_masks(network: nn.Module) -> dict[str, Tensor]:
    """The masks as tensors for an artifact, one bit for each weight."""
    return {
        _FOLDER + name: torch.from_numpy(np.packbits(mask.contiguous().numpy().reshape(-1)))
        for name, (_, mask) in pruned_masks(network).items()
    }


def unpack_masks(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give `network` the masks that an artifact's tensors hold, and return the other tensors. Raises ModelError."""
    for name in [n for n in state if n.startswith(_FOLDER)]:
        path, _, own = name.removeprefix(_FOLDER).rpartition(".")
        try:
            layer = network.get_submodule(path)
            shape = layer.get_parameter(own).shape
            bits = np.unpackbits(state[name].numpy(), count=shape.numel()).astype(bool)
            mark_pruned(layer, own, torch.from_numpy(bits).view(shape))
        except (AttributeError, ValueError, RuntimeError):
            raise ModelError(
                f"the artifact's note of pruned weights {name!r} does not fit its network; run again"
            ) from None
    return {n: tensor for n, tensor in state.items() if not n.startswith(_FOLDER)}
