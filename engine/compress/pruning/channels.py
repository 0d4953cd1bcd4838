"""Channel pruning: whole channels go, or heads, or hidden numbers, so layers become smaller, in any runtime."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.compress.pruning.allocation import Counts, allowed_counts, nearest, search
from engine.compress.pruning.costs import CostModel, Uses, count_costs
from engine.compress.pruning.graph import find_structure
from engine.compress.pruning.importance import unit_scores
from engine.compress.pruning.parts import HEADS, find_parts
from engine.compress.pruning.sensitivity import Floats, least_damage, rising, validation_loss
from engine.compress.pruning.structure import Group, Structure
from engine.compress.pruning.surgery import check_removed, checked, without
from engine.datasets.dataset import Dataset
from engine.errors import StepError
from engine.graph.inputs import Shape
from engine.models.narrow import sizes_of
from engine.spec.steps import Prune

# Allocations that compare layers leave each this share of its channels, lest one cut the network in two.
_FLOOR = 0.1
# Shares of one group's units that are removed to see what that does to the loss.
_TRIED = (0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class _Problem:
    """What counts are chosen by: the groups that lose units of their own accord, how many may stay, and what share of the cost is left."""

    network: nn.Module
    structure: Structure
    groups: list[Group]
    allowed: list[Counts]
    scores: Tensor
    left: Callable[[Counts], Floats]
    wholes: list[float]
    """How many units of the groups the network had before its first pruning."""

    @property
    def units(self) -> Counts:
        """How many units the groups have now."""
        return np.array([len(g) for g in self.groups], np.int64)

    def removed(self, kept: Counts) -> Tensor:
        """(units,): True for the least important, so that so many of each group stay."""
        shares = {g.name: int(k) / len(g) for g, k in zip(self.groups, kept, strict=True)}
        removed = torch.zeros(self.structure.units, dtype=torch.bool)
        for group in self.structure.groups:
            count = round(shares[group.follows or group.name] * len(group))
            removed[group.least(self.scores[group.units], count)] = True
        return removed

    def without(self, kept: Counts) -> nn.Module:
        """The network with so many units of each group."""
        return without(self.network, self.structure, self.removed(kept))

    def checked(self, kept: Counts, input_shape: Shape) -> nn.Module:
        """The same, once it is known that its code fits just these numbers; raises StepError."""
        reason = check_removed(self.network, self.structure, self.removed(kept), input_shape)
        if reason is not None:
            raise StepError(
                f"pruning to so many of its channels or heads is not what this network's code allows: {reason}; prune in another order, or "
                "by another ratio"
            )
        return self.without(kept)


Knob = Callable[[float], Counts]


def prune_channels(
    step: Prune,
    network: nn.Module,
    origin: nn.Module,
    uses: Uses,
    input_shape: Shape,
    data: Dataset | None,
) -> tuple[nn.Module, str]:
    """A pruned copy, and what keeps it from being smaller still.

    `ratio` and `macs_ratio` are shares of the parameters and MACs of `origin`, the network before its first pruning. Layers that an
    addition, a concatenation or a depthwise convolution ties together lose the same channels; grouped convolutions lose whole parts.
    Raises StepError where nothing can be removed.
    """
    structure = checked(network, find_structure(network, input_shape), input_shape)
    whole, model = count_costs(origin, uses), CostModel(network, structure, uses)
    units = np.array([len(g) for g in model.groups], np.int64)
    limit = _limit(structure, step.round_to)
    if not model.groups:
        raise StepError(f"channel pruning cannot shrink this network: {limit}; use magnitude pruning")

    def left(kept: Counts) -> Floats:
        params, macs = model(units - kept)
        return params / whole.params if step.ratio is not None else macs / whole.macs

    target = step.ratio if step.ratio is not None else step.macs_ratio or 0.0
    before = 1 - float(left(units))
    if before >= target:
        return copy.deepcopy(network), "earlier steps removed that much"
    allowed = [allowed_counts(g, step.round_to or 1) for g in model.groups]
    scores = unit_scores(step.importance or "l2", network, structure, data)
    wholes = [len(g) * _width(g, origin) / _width(g, network) for g in model.groups]
    problem = _Problem(network, structure, model.groups, allowed, scores, left, wholes)
    knob = _ALLOCATIONS[step.allocation or "uniform"](problem, data)
    kept = search(knob, lambda counts: 1 - left(counts), allowed, target)
    if (kept == units).all() and before <= 0:
        raise StepError(
            f"channel pruning at {target:g} removes nothing: {limit}; use a larger ratio or a smaller round_to"
        )
    # Sizes that were corrected for heads may be those of channels, too.
    is_narrow = any(sizes_of(layer) for layer in network.modules())
    return (problem.checked(kept, input_shape) if is_narrow else problem.without(kept)), limit


def narrowed(network: nn.Module, width: float, input_shape: Shape) -> nn.Module:
    """A copy with `width` of the channels of each layer, those with the largest weights. Raises StepError where none can be left out."""
    structure = checked(network, find_structure(network, input_shape), input_shape)
    groups = [g for g in structure.groups if g.follows is None]
    if not groups:
        raise StepError(
            f"no layer of this network can be made narrower and keep weights: {_limit(structure, 4)}; use start: fresh, or width 1"
        )
    scores = unit_scores("l2", network, structure, None)
    problem = _Problem(
        network, structure, groups, [allowed_counts(g, 1) for g in groups], scores, lambda kept: kept.sum(-1) * 1.0, []
    )
    return problem.without(np.array([nearest(a, width * a[-1]) for a in problem.allowed]))


def _limit(structure: Structure, round_to: int | None) -> str:
    """Why no more can be removed, or not as exactly as asked."""
    if not structure.fixed and not structure.groups:
        return "it has no layer with channels to spare"
    if not structure.fixed:
        return f"layers lose channels in multiples of {round_to}, and as many stay"
    return _first_fixed(structure)


def _width(group: Group, network: nn.Module) -> int:
    return len(network.get_parameter(f"{group.layer}.weight".lstrip(".")))


@dataclass(frozen=True)
class PartsGone:
    """How many heads of each attention, or hidden numbers of each MLP, there were before a step and are after it; the share of all that
    went since before the network's first pruning, and what keeps it from being more, or as asked.
    """

    layers: tuple[tuple[str, int, int], ...]
    share: float
    limit: str


def prune_parts(
    step: Prune, part: str, network: nn.Module, origin: nn.Module, input_shape: Shape, data: Dataset | None
) -> tuple[nn.Module, PartsGone]:
    """A pruned copy without the `step.ratio` least important of all heads, or hidden numbers of MLPs, of `origin`, and the account of it.

    Each attention keeps a head, each MLP a number. Raises StepError where nothing can be removed.
    """
    whole = {g.name: len(g) for g in find_parts(origin, input_shape, part).groups}
    structure = checked(network, find_parts(network, input_shape, part), input_shape, samples=2)
    groups, total, target = [*structure.groups], sum(whole.values()), step.ratio or 0.0
    what = "attention heads" if part == HEADS else "hidden width of an MLP"
    if not groups:
        reason = _first_fixed(structure) or f"it has no {what} to spare that could be followed through its code"
        raise StepError(f"pruning of {part} cannot shrink this network: {reason}; use method channel, or magnitude")
    units = np.array([len(g) for g in groups], np.int64)
    now = sum(len(g) for g in find_parts(network, input_shape, part).groups) - int(units.sum())

    def left(kept: Counts) -> Floats:
        return (np.asarray(kept.sum(-1), np.float64) + now) / total

    limit = (
        _first_fixed(structure) or f"layers lose whole {'heads' if part == HEADS else f'multiples of {step.round_to}'}"
    )
    if 1 - float(left(units)) >= target:
        same = tuple((g.name, len(g), len(g)) for g in groups)
        return copy.deepcopy(network), PartsGone(same, 1 - float(left(units)), "earlier steps removed that much")
    allowed = [allowed_counts(g, 1 if part == HEADS else step.round_to or 1) for g in groups]
    scores = unit_scores(step.importance or "l2", network, structure, data)
    wholes = [float(whole.get(g.name, len(g))) for g in groups]
    problem = _Problem(network, structure, groups, allowed, scores, left, wholes)
    knob = _ALLOCATIONS[step.allocation or "uniform"](problem, data)
    kept = search(knob, lambda counts: 1 - left(counts), allowed, target)
    if (kept == units).all():
        raise StepError(f"pruning of {part} at {target:g} removes nothing: {limit}; use a larger ratio")
    layers = tuple((g.name, len(g), int(k)) for g, k in zip(groups, kept, strict=True))
    return problem.checked(kept, input_shape), PartsGone(layers, 1 - float(left(kept)), limit)


def _first_fixed(structure: Structure) -> str:
    """The first layer that stays whole, and why; empty where none does."""
    if not structure.fixed:
        return ""
    name, reason = next(iter(structure.fixed.items()))
    others = f"; so do {len(structure.fixed) - 1} other layers" if len(structure.fixed) > 1 else ""
    return f"layer {name!r} stays whole, since {reason}{others}"


def _uniform(problem: _Problem, data: Dataset | None) -> Knob:
    """The same share of each layer, as it was in the original."""
    pairs = [*zip(problem.allowed, problem.wholes, strict=True)]
    return lambda x: np.array([nearest(a, (1 - x) * n) for a, n in pairs])


def _global(problem: _Problem, data: Dataset | None) -> Knob:
    """Wherever in the network importance is least."""
    scores = [problem.scores[g.units].numpy() for g in problem.groups]
    everything = np.sort(np.concatenate(scores))
    allowed = _floored(problem)

    def counts(x: float) -> Counts:
        threshold = everything[min(int(x * len(everything)), len(everything) - 1)]
        return np.array([nearest(a, float((s >= threshold).sum())) for a, s in zip(allowed, scores, strict=True)])

    return counts


def _by_sensitivity(problem: _Problem, data: Dataset | None) -> Knob:
    """From each layer the part that raises the validation loss least for what it saves."""
    loss, units = validation_loss(data), problem.units
    whole = loss(problem.network)
    allowed, curves, savings = [a[::-1] for a in _floored(problem)], [], []
    for i, n in enumerate(units):

        def with_count(count: int, i: int = i) -> Counts:
            return np.where(np.arange(len(units)) == i, count, units)

        tried = sorted({nearest(problem.allowed[i], (1 - share) * n) for share in _TRIED} - {int(n)}, reverse=True)
        losses = [loss(problem.without(with_count(count))) for count in tried]
        curves.append(rising([1 - count / n for count in tried], [value - whole for value in losses]))
        now = float(problem.left(units))
        savings.append(now - problem.left(np.stack([with_count(int(count)) for count in allowed[i]])))

    def counts(x: float) -> Counts:
        options = zip(allowed, units, curves, savings, strict=True)
        return np.array([a[least_damage(curve, 1 - a / n, saved, x)] for a, n, curve, saved in options])

    return counts


def _floored(problem: _Problem) -> list[Counts]:
    return [a[a >= _FLOOR * a[-1]] for a in problem.allowed]


_ALLOCATIONS: dict[str, Callable[[_Problem, Dataset | None], Knob]] = {
    "uniform": _uniform,
    "global": _global,
    "sensitivity": _by_sensitivity,
}
