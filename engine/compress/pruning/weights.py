"""Single weights set to zero: those of least magnitude, or all but N of every M neighbours. Layers keep their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.compress.pruning.sensitivity import Floats, least_damage, rising, validation_loss
from engine.datasets.dataset import Dataset
from engine.errors import StepError
from engine.models.pruned import mark_pruned, pruned_mask, pruned_masks
from engine.spec.steps import Prune

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# Shares of a layer's weights that are zeroed to see what that does to the loss; most layers bear a half, few bear 97 %.
_TRIED = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
# Fewer zeros than this share are a head that starts at zero, which nobody need be told of.
_NOTED_ZEROS = 0.1


def weight_layers(network: nn.Module) -> dict[str, nn.Parameter]:
    """Layer name -> weight of every convolution and linear layer, the query-key-value weights of attention included.

    A weight that several layers share is listed once, for the first of them; one that a layer computes on each access is none.
    """
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for name, layer in network.named_modules():
        weight: Any = layer.weight if isinstance(layer, _LAYERS) else None
        if isinstance(layer, nn.MultiheadAttention):
            weight = layer.in_proj_weight
        if isinstance(weight, nn.Parameter):
            found.setdefault(id(weight), (name, weight))
    return dict(found.values())


def check_weights(network: nn.Module) -> None:
    """Raises StepError, naming the layer, for a convolution or linear layer that computes its weight anew on each access.

    What torch itself offers of that kind is plain by now (`models/baked.py`).
    """
    for name, layer in network.named_modules():
        kinds = (*_LAYERS, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        if isinstance(layer, kinds) and not isinstance(layer.weight, nn.Parameter):
            raise StepError(
                f"layer {name!r} computes its weight on each access, so it cannot be pruned; make it a parameter"
            )


def _note(network: nn.Module, name: str, gone: Tensor) -> None:
    """Remember of a layer of `weight_layers` that the weights where `gone` is True were pruned, beside those of earlier steps."""
    layer = network.get_submodule(name)
    parameter = "in_proj_weight" if isinstance(layer, nn.MultiheadAttention) else "weight"
    mark_pruned(layer, parameter, gone | pruned_mask(layer, parameter))


def zero_smallest(weights: Sequence[Tensor], count: int) -> None:
    """Zero exactly the `count` smallest of all the weights together, in place; among equal magnitudes the first."""
    if count == 0:
        return
    magnitudes = torch.cat([w.detach().abs().flatten() for w in weights])
    threshold = magnitudes.kthvalue(count).values
    zero = magnitudes < threshold
    equal = torch.nonzero(magnitudes == threshold).flatten()
    zero[equal[: count - int(zero.sum())]] = True
    with torch.no_grad():
        for weight, mask in zip(weights, torch.split(zero, [w.numel() for w in weights]), strict=True):
            weight.masked_fill_(mask.view_as(weight), 0.0)


def zeros_note(zeros: int, weights: int) -> str | None:
    """What to know before training of weights that are zero though no step pruned them; None where they are few."""
    if zeros < _NOTED_ZEROS * weights:
        return None
    return f"{100 * zeros / weights:.3g} % of the weights were zero without having been pruned by a step; they were trained like the others"


def trained_zeros(network: nn.Module) -> str | None:
    """`zeros_note` of a torch network's convolutions and linear layers."""
    weights = weight_layers(network).values()
    pruned = {id(parameter): mask for parameter, mask in pruned_masks(network).values()}
    zeros = sum(int((w == 0).sum()) - int(pruned[id(w)].sum() if id(w) in pruned else 0) for w in weights)
    return zeros_note(zeros, sum(w.numel() for w in weights))


def prune_magnitude(step: Prune, network: nn.Module, data: Dataset | None) -> str:
    """Zero the `ratio` smallest weights in place (Han et al. 2015, arXiv:1506.02626); what keeps it from being more exact.

    `global`: one threshold for the whole network. `uniform`: the same share of each layer. `sensitivity`: of each layer the share
    that raises the validation loss least for the zeros it gives. Biases and normalisations stay. What was zero before, as in a head that
    is yet to be trained, counts among the zeros but is not noted as pruned. Raises StepError.
    """
    layers = weight_layers(network)
    weights, before = list(layers.values()), [w.detach() != 0 for w in layers.values()]
    if not weights:
        raise StepError("magnitude pruning found no convolution or linear layer in this network; leave the step out")
    ratio, total = step.ratio or 0.0, sum(w.numel() for w in weights)
    if step.allocation == "global":
        zero_smallest(weights, round(ratio * total))
    else:
        by_layer = (
            _by_sensitivity(network, weights, ratio, data)
            if step.allocation == "sensitivity"
            else [ratio] * len(weights)
        )
        for weight, share in zip(weights, by_layer, strict=True):
            zero_smallest([weight], round(share * weight.numel()))
    for (name, weight), alive in zip(layers.items(), before, strict=True):
        _note(network, name, alive & (weight.detach() == 0))
    return "there were more zeros before"


def _by_sensitivity(network: nn.Module, weights: list[nn.Parameter], ratio: float, data: Dataset | None) -> list[float]:
    """The share of each layer to zero, together `ratio` of all weights."""
    loss = validation_loss(data)
    network.eval()
    whole = loss(network)
    sizes = np.array([w.numel() for w in weights]) / sum(w.numel() for w in weights)
    curves = []
    for weight in weights:
        original, losses = weight.detach().clone(), []
        for share in _TRIED:
            zero_smallest([weight], round(share * weight.numel()))
            losses.append(loss(network) - whole)
            with torch.no_grad():
                weight.copy_(original)
        curves.append(rising(_TRIED, losses))
    options = np.linspace(0, max(ratio, _TRIED[-1]), 1001)  # no layer is emptied

    def shares(x: float) -> Floats:
        chosen = [least_damage(curve, options, options * size, x) for curve, size in zip(curves, sizes, strict=True)]
        return np.array(options[chosen])

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if shares(middle) @ sizes <= ratio else (low, middle)
    # The curves are straight between points, so shares jump; the rest of the way is taken in proportion.
    less, more = shares(low), shares(high)
    span = float((more - less) @ sizes)
    return list(less + (more - less) * ((ratio - less @ sizes) / span if span > 0 else 0.0))


def keep_n_of_m(step: Prune, network: nn.Module) -> str:
    """Of every M weights that are neighbours along the input channels keep the N largest, in place; which layers stay dense.

    The inputs are the axis that sparse kernels sum over: for a filter of shape (out, in, height, width) the M neighbours share output,
    row and column (Mishra et al. 2021, arXiv:2104.08378). Layers whose inputs are no multiple of M stay dense. Raises StepError.
    """
    n, m = (int(part) for part in (step.pattern or "2:4").split(":"))
    dense = []
    for name, weight in weight_layers(network).items():
        if weight.shape[1] % m:
            dense.append(f"{name!r} with {weight.shape[1]}")
            continue
        with torch.no_grad():
            rows = weight.movedim(1, -1).reshape(-1, m)
            smallest = rows.abs().argsort(dim=1, stable=True)[:, : m - n]
            kept = torch.ones_like(rows).scatter_(1, smallest, 0.0).view(weight.movedim(1, -1).shape).movedim(-1, 1)
            weight.mul_(kept)
        # Noted whatever their values were: training must leave the pattern in a layer that began with zeros, too.
        _note(network, name, kept == 0)
    if len(dense) == len(weight_layers(network)):
        raise StepError(
            f"pattern {step.pattern} fits no layer of this network: no layer's inputs are a multiple of {m}; use magnitude pruning"
        )
    names = f"{', '.join(dense[:3])}{', …' if dense[3:] else ''}"
    return f"layers whose inputs are no multiple of {m} stay dense, {len(dense)} of them ({names})"
