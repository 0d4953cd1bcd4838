"""Tensors into networks: fits layers to the shapes that pruning left, loads strictly."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from engine.errors import ModelError
from engine.models.narrow import sizes_of
from engine.models.shapes import shape_text


def fit_to(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give every parameter and buffer the shape that `state` holds for it, and its layer the widths that go with it, in place.

    Values are not copied; a tensor that several layers share stays shared. A convolution of several parts (depthwise is one channel
    per part) is taken to have lost whole parts, which is what pruning does to it.
    """
    # By identity, and with the old tensor, so that its identity is not given to another while it is needed.
    new: dict[int, tuple[Tensor, Tensor]] = {}
    for path, layer in network.named_modules():
        own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        for name, tensor in own:
            stored = state.get(f"{path}.{name}" if path else name)
            if id(tensor) not in new and stored is not None and stored.shape != tensor.shape:
                new[id(tensor)] = (tensor, _empty_like(tensor, stored.shape))
        resized = [name for name, tensor in own if id(tensor) in new]
        for name, tensor in own:
            if name in resized:
                setattr(layer, name, new[id(tensor)][1])
        if resized:
            _restate_widths(layer)
    # One of its networks can only be here where torchvision is loaded, which by itself takes longer than torch does.
    torchvision = sys.modules.get("torchvision")
    if torchvision is not None and isinstance(network, torchvision.models.VisionTransformer):
        network.hidden_dim = network.conv_proj.out_channels  # read in its forward


def _empty_like(tensor: Tensor, shape: torch.Size) -> Tensor:
    empty = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _restate_widths(layer: nn.Module) -> None:
    """The numbers that a layer keeps beside its tensors, as the tensors' shapes now say."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if layer.groups > 1:
            layer.groups = len(layer.weight) * layer.groups // layer.out_channels
        layer.out_channels, layer.in_channels = len(layer.weight), layer.weight.shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        layer.num_features = next(len(t) for t in (layer.weight, layer.running_mean) if t is not None)
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(layer.weight.shape)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
    elif isinstance(layer, nn.MultiheadAttention):
        width = layer.in_proj_weight.shape[1]
        layer.embed_dim = layer.kdim = layer.vdim = width
        # Of one that lost heads, the code goes on with as many as it had.
        heads = next((now for _, _, meant, now in sizes_of(layer) if meant == layer.num_heads), layer.num_heads)
        layer.head_dim = len(layer.in_proj_weight) // 3 // heads


def load_state(module: nn.Module, state: Mapping[str, Tensor], what: str, source: str) -> None:
    """Copy a state dict into `module`: every tensor, no others, finite, of the same shapes; raises ModelError naming `what`.

    A tensor that the module holds under several names may be stored under one of them. Counts of batches that a batch norm has seen may be
    missing, as torch's own strict loading has it: versions before 0.4.1 kept none, and nothing depends on them but a cumulative average
    (`momentum=None`), which begins anew.
    """
    own = module.state_dict(keep_vars=True)
    loaded = {id(own[name]) for name in state if name in own}
    norms = (path for path, layer in module.named_modules() if isinstance(layer, _NormBase))
    counters = {f"{path}.num_batches_tracked".lstrip(".") for path in norms}
    unknown = sorted(set(state) - set(own))
    missing = sorted(name for name, tensor in own.items() if id(tensor) not in loaded and name not in counters)
    if unknown or missing:
        parts = [
            f"{len(n)} {word} ({n[0]}{', …' if n[1:] else ''})"
            for n, word in ((missing, "missing"), (unknown, "unknown"))
            if n
        ]
        raise ModelError(f"{what} do not belong to {source}: {' and '.join(parts)} tensors; give its own checkpoint")
    # What training makes. Other buffers may well be infinite, as the mask of an attention is.
    learned = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    learned |= {name for name in own if name.endswith(("running_mean", "running_var"))}
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"{what} do not fit {source} here: {name} is {shape_text(tuple(tensor.shape))}, not "
                f"{shape_text(tuple(own[name].shape))}; train them for this dataset's classes and channels"
            )
        if name in learned and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{what}: {name} has values that are not finite numbers; train again")
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)
