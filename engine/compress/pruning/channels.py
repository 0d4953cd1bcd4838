"""Channel pruning: whole channels go, so layers become smaller, in any runtime."""

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
from engine.compress.pruning.sensitivity import Floats, least_damage, rising, validation_loss
from engine.compress.pruning.structure import Group, Structure
from engine.compress.pruning.surgery import checked, without
from engine.datasets.dataset import Dataset
from engine.errors import StepError
from engine.graph.inputs import Shape
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

    @property
    def units(self) -> Counts:
        """How many units the groups have now."""
        return np.array([len(g) for g in self.groups], np.int64)

    def without(self, kept: Counts) -> nn.Module:
        """The network with so many units of each group, the least important removed."""
        shares = {g.name: int(k) / len(g) for g, k in zip(self.groups, kept, strict=True)}
        removed = torch.zeros(self.structure.units, dtype=torch.bool)
        for group in self.structure.groups:
            count = round(shares[group.follows or group.name] * len(group))
            removed[group.least(self.scores[group.units], count)] = True
        return without(self.network, self.structure, removed)


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
    limit = _limit(structure, step)
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
    problem = _Problem(network, structure, model.groups, allowed, scores, left)
    knob = _ALLOCATIONS[step.allocation or "uniform"](problem, origin, data)
    kept = search(knob, lambda counts: 1 - left(counts), allowed, target)
    if (kept == units).all() and before <= 0:
        raise StepError(
            f"channel pruning at {target:g} removes nothing: {limit}; use a larger ratio or a smaller round_to"
        )
    return problem.without(kept), limit


def _limit(structure: Structure, step: Prune) -> str:
    """Why no more can be removed, or not as exactly as asked."""
    if not structure.fixed and not structure.groups:
        return "it has no layer with channels to spare"
    if not structure.fixed:
        return f"layers lose channels in multiples of {step.round_to}, and as many stay"
    name, reason = next(iter(structure.fixed.items()))
    others = f"; so do {len(structure.fixed) - 1} other layers" if len(structure.fixed) > 1 else ""
    return f"layer {name!r} stays whole, since {reason}{others}"


def _uniform(problem: _Problem, origin: nn.Module, data: Dataset | None) -> Knob:
    """The same share of each layer, as it was in the original."""
    wholes = []
    for group in problem.groups:
        now, then = (len(net.get_parameter(f"{group.layer}.weight".lstrip("."))) for net in (problem.network, origin))
        wholes.append(len(group) * then / now)
    return lambda x: np.array([nearest(a, (1 - x) * n) for a, n in zip(problem.allowed, wholes, strict=True)])


def _global(problem: _Problem, origin: nn.Module, data: Dataset | None) -> Knob:
    """Wherever in the network importance is least."""
    scores = [problem.scores[g.units].numpy() for g in problem.groups]
    everything = np.sort(np.concatenate(scores))
    allowed = _floored(problem)

    def counts(x: float) -> Counts:
        threshold = everything[min(int(x * len(everything)), len(everything) - 1)]
        return np.array([nearest(a, float((s >= threshold).sum())) for a, s in zip(allowed, scores, strict=True)])

    return counts


def _by_sensitivity(problem: _Problem, origin: nn.Module, data: Dataset | None) -> Knob:
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


_ALLOCATIONS: dict[str, Callable[[_Problem, nn.Module, Dataset | None], Knob]] = {
    "uniform": _uniform,
    "global": _global,
    "sensitivity": _by_sensitivity,
}
