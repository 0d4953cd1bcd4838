"""How much a unit matters: by the size of its weights, by the scales of its batch norms, or by what the loss is without it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from engine.compress.losses import batch_of, task_loss
from engine.compress.pruning.structure import Axis, Structure
from engine.compress.torch_device import device, from_inputs
from engine.datasets.dataset import Dataset
from engine.errors import StepError
from engine.models.torch_inputs import call

TAYLOR_IMAGES = 512
"""Calibration images that gradients are taken on."""
_TAYLOR_BATCH = 8
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def unit_scores(importance: str, network: nn.Module, structure: Structure, data: Dataset | None) -> Tensor:
    """(units,) scores, the least important lowest; comparable between groups as far as the method allows. Raises StepError."""
    if importance == "taylor":
        return taylor_scores(network, structure, data)
    norm = norm_scores(network, structure)
    return bn_scores(network, structure, norm) if importance == "bn_scale" else norm


def _per_unit(structure: Structure, axes: Iterable[Axis], values: Mapping[str, Tensor]) -> Tensor:
    """(units,): the sums of all values at the positions of each unit, over the axes given."""
    sums = torch.zeros(structure.units)
    for axis in axes:
        per_position = values[axis.tensor].movedim(axis.dim, 0).reshape(len(axis.unit), -1).sum(1)
        inside = axis.unit >= 0
        sums.index_add_(0, axis.unit[inside], per_position[inside])
    return sums


def norm_scores(network: nn.Module, structure: Structure) -> Tensor:
    """Sum of squares of all weights that write or read a unit, over the mean of its group (Fang et al. 2023, arXiv:2301.12900).

    Scales of normalisations count as weights, biases do not.
    """
    squares = {name: p.detach() ** 2 for name, p in network.named_parameters() if name.endswith("weight")}
    scores = _per_unit(structure, [a for a in structure.axes if a.tensor in squares], squares)
    for group in structure.groups:
        scores[group.units] /= scores[group.units].mean().clamp_min(torch.finfo(scores.dtype).tiny)
    return scores


def bn_scores(network: nn.Module, structure: Structure, norm: Tensor) -> Tensor:
    """Mean absolute scale of the batch norms that a unit passes (network slimming, Liu et al. 2017, arXiv:1708.06519).

    A group that passes none goes by its `norm` scores, brought to the network's mean scale. Raises StepError when none passes any.
    """
    names = {f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, _NORMS)}
    scales = {name: p.detach().abs() for name, p in network.named_parameters() if name in names}
    axes = [axis for axis in structure.axes if axis.tensor in scales]
    if not axes:
        raise StepError(
            "channel pruning by importance bn_scale needs batch norms, but none of this network's can be pruned; use importance l2"
        )
    counts = _per_unit(structure, axes, {name: torch.ones_like(scale) for name, scale in scales.items()})
    scores = _per_unit(structure, axes, scales) / counts.clamp_min(1)
    return torch.where(counts > 0, scores, norm * scores[counts > 0].mean())


def taylor_scores(network: nn.Module, structure: Structure, data: Dataset | None) -> Tensor:
    """What the loss changes to first order when nobody reads a unit, squared and summed over small batches of calibration images.

    To first order that is the product of weights and gradients, summed over the weights that read the unit (Molchanov et al. 2019,
    arXiv:1906.10771, equation 8, with the reading side in place of the writing one: whatever ties layers together, what reads a unit
    reads all of it). Squares come before the sum over batches, since at a minimum gradients cancel. Raises StepError without data.
    """
    if data is None:
        raise StepError("channel pruning by importance taylor needs labelled images; use importance l2")
    task = task_loss(data, {"source": "task"})
    assert task is not None
    network = copy.deepcopy(network).eval().requires_grad_(True).to(device())
    weights = {name: p for name, p in network.named_parameters() if name.endswith("weight") and p.ndim > 1}
    readers = [axis for axis in structure.axes if axis.dim == 1 and axis.tensor in weights]
    split = data.calibration.head(TAYLOR_IMAGES)
    scores = torch.zeros(structure.units)
    for start in range(0, len(split), _TAYLOR_BATCH):
        images = from_inputs(data.preprocessing(split.inputs[start : start + _TAYLOR_BATCH]))
        loss = task(call(network, images), batch_of(split, start, start + _TAYLOR_BATCH))
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        products = {
            name: (torch.zeros_like(w) if g is None else w.detach() * g).cpu()
            for (name, w), g in zip(weights.items(), gradients, strict=True)
        }
        scores += _per_unit(structure, readers, products) ** 2
    return scores
