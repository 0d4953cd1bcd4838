"""The space of a spec: every combination of its choices as recipes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from engine.errors import SpecError
from engine.spec.frozen import Frozen
from engine.spec.recipe import Recipe
from engine.spec.steps import FAMILIES, Finetune, Prune
from engine.spec.validation import validated

MOST_RECIPES = 100_000
"""A space of more is a mistake, or worse: it would fill the memory before anything could be said of it."""


def _choices(family: str, entry: Any) -> Iterator[tuple[Frozen, ...]]:
    """One entry of `space.<family>` -> the step tuples it stands for; list values are swept."""
    where = f"space.{family}"
    if entry is None:
        yield ()
        return
    if not isinstance(entry, Mapping):
        raise SpecError(f"{where}: {entry!r} is not a step; write null to leave the step out, or {{key: value, …}}")
    options = dict(entry)
    training = {k: _as_list(options.pop(k)) for k in _PRUNE_TRAINING if family == "prune" and k in options}
    names = list(options)
    for values in itertools.product(*(_as_list(options[name]) for name in names)):
        chosen = dict(zip(names, values, strict=True))
        if family != "prune":
            yield (validated(FAMILIES[family], chosen, where),)
            continue
        for trained in itertools.product(*training.values()):
            yield _pruning(chosen, dict(zip(training, trained, strict=True)), where)


# Keys of `space.prune` that say how the network is trained after, or between, prunings.
_PRUNE_TRAINING = ("rounds", "finetune_epochs", "finetune_samples", "finetune_learning_rate", "finetune_augment")


def _pruning(options: dict[str, Any], training: dict[str, Any], where: str) -> tuple[Frozen, ...]:
    """Pruning and the training after it are steps of their own, so that sweeps share what they have in common.

    With `rounds` the ratio is reached in that many prunings, each with its training: the steps get smaller towards the end, as in
    Zhu & Gupta 2017 (arXiv:1710.01878).
    """
    rounds, epochs = training.pop("rounds", 1), training.pop("finetune_epochs", 0)
    if not isinstance(rounds, int) or not 1 <= rounds <= 100:
        raise SpecError(f"{where}.rounds: {rounds!r} is not a number of prunings; give 1 to 100")
    target = "macs_ratio" if options.get("macs_ratio") is not None else "ratio"
    prune = validated(Prune, options, where)
    if rounds > 1 and getattr(prune, target) is None:
        raise SpecError(
            f"{where}.rounds: method {prune.method} has no ratio to reach in {rounds} rounds; leave rounds out"
        )
    if rounds > 1 and epochs == 0:
        raise SpecError(f"{where}.rounds: {rounds} prunings without training between are one; give finetune_epochs")
    steps: list[Frozen] = []
    for k in range(1, rounds + 1):
        reached = prune
        if k < rounds:
            share = round(getattr(prune, target) * (1 - (1 - k / rounds) ** 3), 4)
            reached = prune.model_copy(update={target: share})
        steps.append(reached)
        if epochs:
            finetune = {"epochs": epochs, **{k.removeprefix("finetune_"): v for k, v in training.items()}}
            steps.append(validated(Finetune, finetune, f"{where} finetune"))
    return tuple(steps)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _refuse_too_many(space: Mapping[str, Any]) -> None:
    """Raise SpecError where a space has more combinations than anybody runs; counted before any is made."""

    def combinations(entry: Any) -> int:
        return math.prod(len(_as_list(v)) for v in entry.values()) if isinstance(entry, Mapping) else 1

    count = math.prod(sum(map(combinations, _as_list(entries))) for entries in space.values())
    if count > MOST_RECIPES:
        raise SpecError(f"space: {count:,} combinations are more than {MOST_RECIPES:,}; leave values out")


def expand_space(space: Mapping[str, Any]) -> tuple[Recipe, ...]:
    """Every recipe of a space, without repeats, the baseline first; raises SpecError."""
    _refuse_too_many(space)
    columns = []
    for family, entries in space.items():
        if family not in FAMILIES:
            raise SpecError(f"space: {family!r} is not a step; known steps: {', '.join(FAMILIES)}")
        column = [choice for entry in _as_list(entries) for choice in _choices(family, entry)]
        if not column:
            raise SpecError(f"space.{family}: an empty list leaves no recipe; write [null] to leave the step out")
        columns.append(column)
    recipes: dict[Recipe, None] = {Recipe(): None}
    for parts in itertools.product(*columns):
        steps = tuple(itertools.chain.from_iterable(parts))
        recipes[validated(Recipe, {"steps": steps}, "space")] = None
    return tuple(recipes)
