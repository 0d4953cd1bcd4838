"""Layers whose weight is computed anew on each access, made plain: weight and spectral norm, orthogonal matrices, torch's own pruning.

Steps change weights, and an export stores them: both need the weight itself. What is lost is how it was made, which only training from
scratch would miss.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm

from engine.errors import ModelError
from engine.models.catalog import one_line
from engine.models.pruned import mark_pruned

# In `torch.nn.utils`, the names of these modules are taken by functions.
_WeightNorm: Any = import_module("torch.nn.utils.weight_norm").WeightNorm
_SpectralNorm: Any = import_module("torch.nn.utils.spectral_norm").SpectralNorm


def bake(network: nn.Module, source: str) -> nn.Module:
    """The network, changed in place and in evaluation mode, with plain parameters for all that layers compute theirs from.

    What torch's own pruning had masked is noted as pruned. Raises ModelError naming the layer.
    """
    network.eval()
    for path, layer in network.named_modules():
        try:
            if parametrize.is_parametrized(layer):
                for name in list(layer.parametrizations):
                    parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
            for hook in list(layer._forward_pre_hooks.values()):
                _unhook(layer, hook)
        except Exception as error:  # whatever a parametrisation of the user's own raises
            raise ModelError(
                f"model {source!r}: the weights of layer {path!r} are computed on each access, and cannot be fixed "
                f"({one_line(error)}); remove the parametrisation before the function returns"
            ) from None
    return network


def _unhook(layer: nn.Module, hook: Any) -> None:
    """Older forms of the same: a hook that sets the weight before each call."""
    if isinstance(hook, _WeightNorm):
        remove_weight_norm(layer, hook.name)
    elif isinstance(hook, _SpectralNorm):
        remove_spectral_norm(layer, hook.name)
    elif isinstance(hook, prune.BasePruningMethod):
        name = hook._tensor_name
        mask = layer.get_buffer(f"{name}_mask") == 0
        prune.remove(layer, name)  # type: ignore[no-untyped-call]
        mark_pruned(layer, name, mask)
