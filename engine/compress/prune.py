"""Pruning: single weights set to zero (`magnitude`, `nm`), or channels, heads or hidden numbers removed, with an account of what went."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from engine.compress.pruning.channels import prune_channels, prune_parts
from engine.compress.pruning.costs import Uses, count_costs, measure_uses
from engine.compress.pruning.weights import check_weights, keep_n_of_m, prune_magnitude, weight_layers
from engine.datasets.dataset import Dataset
from engine.graph.inputs import Shape
from engine.models.builders import build
from engine.models.sources import Network
from engine.spec.steps import PARTS, Prune

# Layers that are not pruned are named from this share of a network's weights.
_LEFT_OUT = 0.01
REACHED = 0.02
"""A share counts as reached within two points."""


@dataclass(frozen=True)
class LayerChange:
    """A layer's output channels before and after a channel pruning, an attention's heads or an MLP's hidden numbers before and after one of
    these, or a layer's weights other than zero before and after any other.
    """

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class PruneReport:
    """What was asked and what was reached; shares lie in [0, 1].

    `asked` is a share of `quantity`: of the weights that are zero, or of the parameters, MACs, heads or hidden numbers that are gone (of
    both of these for `heads_and_mlp`). `params_removed` and
    `macs_removed` are counted from the network before its first pruning; `zero_share` is of the weights of convolutions and linear
    layers that are left. `reached`: within two points; where not, `note` says in one line why, and which layers have no such weights.
    """

    quantity: str
    asked: float
    params_removed: float
    macs_removed: float
    zero_share: float
    reached: bool
    note: str | None
    layers: tuple[LayerChange, ...]


def apply(step: Prune, network: Network, data: Dataset | None, seed: int) -> tuple[nn.Module, PruneReport]:
    """A pruned copy, in evaluation mode, and the account of it. `seed` changes nothing: no method draws random numbers.

    `data` is needed for importance taylor (calibration images and labels) and allocation sensitivity (validation images and labels).
    Raises StepError, naming the layer and the reason, where the network cannot be pruned so.
    """
    module, input_shape = network.module, network.origin.input_shape
    check_weights(module)
    origin = build(network.origin)
    uses = measure_uses(module, input_shape)
    if step.method in PARTS:
        return _apply_parts(step, module, origin, uses, input_shape, data)
    if step.method == "channel":
        pruned, limit = prune_channels(step, module, origin, uses, input_shape, data)
    else:
        pruned = copy.deepcopy(module)
        limit = prune_magnitude(step, pruned, data) if step.method == "magnitude" else keep_n_of_m(step, pruned)
    pruned = pruned.eval()
    whole, left = count_costs(origin, uses), count_costs(pruned, uses)
    shares = {
        "zeros": _zero_share(pruned),
        "params": 1 - left.params / whole.params,
        "macs": 1 - left.macs / whole.macs,
    }
    quantity, asked = _asked(step)
    reached = abs(shares[quantity] - asked) <= REACHED
    notes = [] if reached else [_note(quantity, asked, shares[quantity], limit)]
    notes += _left_out(pruned) if step.method != "channel" else []
    report = PruneReport(
        quantity=quantity,
        asked=asked,
        params_removed=shares["params"],
        macs_removed=shares["macs"],
        zero_share=shares["zeros"],
        reached=reached,
        note="; ".join(notes) or None,
        layers=_changes(step, module, pruned),
    )
    return pruned, report


def _apply_parts(
    step: Prune, module: nn.Module, origin: nn.Module, uses: Uses, input_shape: Shape, data: Dataset | None
) -> tuple[nn.Module, PruneReport]:
    """One part after the other: what is left of heads and of MLPs are shares of their own."""
    pruned, asked = module, step.ratio or 0.0
    notes, layers, reached = list[str](), list[LayerChange](), True
    for part in PARTS[step.method]:
        pruned, gone = prune_parts(step, part, pruned, origin, input_shape, data)
        layers += [LayerChange(*layer) for layer in gone.layers]
        if abs(gone.share - asked) > REACHED:
            reached = False
            notes.append(_note(part, asked, gone.share, gone.limit))
    pruned = pruned.eval()
    whole, left = count_costs(origin, uses), count_costs(pruned, uses)
    report = PruneReport(
        quantity=step.method,
        asked=asked,
        params_removed=1 - left.params / whole.params,
        macs_removed=1 - left.macs / whole.macs,
        zero_share=_zero_share(pruned),
        reached=reached,
        note="; ".join(notes) or None,
        layers=tuple(layers),
    )
    return pruned, report


def _asked(step: Prune) -> tuple[str, float]:
    if step.pattern is not None:
        n, m = (int(part) for part in step.pattern.split(":"))
        return "zeros", 1 - n / m
    if step.method == "magnitude":
        return "zeros", step.ratio or 0.0
    return ("params", step.ratio) if step.ratio is not None else ("macs", step.macs_ratio or 0.0)


def _note(quantity: str, asked: float, reached: float, limit: str) -> str:
    what = {
        "zeros": "of the weights zero",
        "params": "of the parameters removed",
        "macs": "of the MACs removed",
        "heads": "of the attention heads removed",
        "mlp": "of the MLPs' width removed",
    }[quantity]
    return f"asked {100 * asked:.3g} % {what}, reached {100 * reached:.3g} %: {limit}"


def _left_out(network: nn.Module) -> list[str]:
    """What keeps all of its weights because it is neither convolution nor linear layer, unless that is next to nothing of the network."""
    known = {id(weight) for weight in weight_layers(network).values()}
    matrices = {id(p): p.numel() for p in network.parameters() if p.ndim > 1}
    total, found = sum(matrices.values()), dict[int, tuple[str, int]]()
    for name, layer in network.named_modules():
        own = {id(p) for p in layer.parameters(recurse=False) if p.ndim > 1} - known
        if own and not own <= found.keys():
            found.update(
                dict.fromkeys(
                    own,
                    (
                        f"{type(layer).__name__} {name!r}" if name else "the network itself",
                        sum(matrices[i] for i in own),
                    ),
                )
            )
    layers = dict(found.values())
    share = sum(layers.values()) / max(1, total)
    if share < _LEFT_OUT:
        return []
    names = f"{', '.join(list(layers)[:3])}{', …' if len(layers) > 3 else ''}"
    return [
        f"only convolutions and linear layers are pruned: {share:.1%} of the network's weights stay as they were, in {names}"
    ]


def _zero_share(network: nn.Module) -> float:
    weights = weight_layers(network).values()
    return sum(int((w == 0).sum()) for w in weights) / max(1, sum(w.numel() for w in weights))


def _changes(step: Prune, before: nn.Module, after: nn.Module) -> tuple[LayerChange, ...]:
    def size(weight: torch.Tensor) -> int:
        return len(weight) if step.method == "channel" else int(weight.count_nonzero())

    pairs = zip(weight_layers(before).items(), weight_layers(after).values(), strict=True)
    return tuple(LayerChange(name, size(old), size(new)) for (name, old), new in pairs)
