"""Tensors into networks: reads checkpoints, fits layers to the shapes that pruning left, loads strictly."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.errors import ModelError
from engine.models.catalog import one_line

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
RESIZABLE = (nn.Conv2d, nn.Linear, *NORMS)
"""The layers with parameters that channel pruning may meet; a network with others cannot be stored at another size."""


def fit_to(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give convolutions, linear layers and batch norms the shapes that `state` holds for them, in place; values are not copied."""
    for name, layer in network.named_modules():
        weight = state.get(f"{name}.weight" if name else "weight")
        if weight is None or weight.shape == getattr(layer, "weight", weight).shape:
            continue
        if isinstance(layer, nn.Conv2d):
            # Depthwise: one filter per channel, so groups and both channel counts shrink together.
            if layer.groups > 1 and layer.groups == layer.out_channels:
                layer.groups = len(weight)
            layer.out_channels, layer.in_channels = len(weight), weight.shape[1] * layer.groups
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = weight.shape
        elif isinstance(layer, NORMS):
            layer.num_features = len(weight)
        _resize(layer, len(weight), weight.shape)


def _resize(layer: nn.Module, outputs: int, weight_shape: torch.Size) -> None:
    for name, parameter in layer.named_parameters(recurse=False):
        shape = weight_shape if name == "weight" else (outputs,)
        setattr(layer, name, nn.Parameter(torch.empty(shape), requires_grad=parameter.requires_grad))
    for name, buffer in layer.named_buffers(recurse=False):
        if buffer.ndim:
            setattr(layer, name, torch.empty(outputs))


def read_weights(path: Path) -> dict[str, Tensor]:
    """A user's checkpoint: safetensors, or a .pt/.pth file of plain tensors, also under the usual keys of a training script."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"weights {path} cannot be read ({one_line(error)}); save them again") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        what = (
            "hold Python objects beside tensors" if "weights_only" in str(error) else "are damaged or not a checkpoint"
        )
        raise ModelError(
            f"weights {path} {what}; save them with torch.save(network.state_dict(), {path.name!r})"
        ) from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"weights {path} are not a state dict; save them with torch.save(network.state_dict(), …)")
    # DataParallel and DistributedDataParallel put every name under `module.`.
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def load_state(module: nn.Module, state: Mapping[str, Tensor], what: str, source: str) -> None:
    """Copy a state dict into `module`: every tensor, no others, finite, of the same shapes; raises ModelError naming `what`.

    A tensor that the module holds under several names may be stored under one of them.
    """
    own = module.state_dict(keep_vars=True)
    loaded = {id(own[name]) for name in state if name in own}
    unknown = sorted(set(state) - set(own))
    missing = sorted(name for name, tensor in own.items() if id(tensor) not in loaded)
    if unknown or missing:
        parts = [
            f"{len(n)} {word} ({n[0]}{', …' if n[1:] else ''})"
            for n, word in ((missing, "missing"), (unknown, "unknown"))
            if n
        ]
        raise ModelError(f"{what} do not belong to {source}: {' and '.join(parts)} tensors; give its own checkpoint")
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"{what} do not fit {source} here: {name} is {shape_text(tuple(tensor.shape))}, not "
                f"{shape_text(tuple(own[name].shape))}; train them for this dataset's classes and channels"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{what}: {name} has values that are not finite numbers; train again")
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def shape_text(shape: tuple[int, ...]) -> str:
    """`3×32×32`."""
    return "×".join(map(str, shape))
