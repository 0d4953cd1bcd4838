"""A recipe in short, to see cheaply what it promises: the same steps, those that train with a share of what they are trained with."""

from __future__ import annotations

from collections.abc import Callable

from engine.spec.frozen import Frozen
from engine.spec.recipe import Recipe
from engine.spec.steps import Distill, Finetune, Quantize, Step

FEWEST = 256
"""So many samples a shortened training sees at least: with fewer, a batch or two, it says nothing of the whole one."""


def shortened(recipe: Recipe, share: float, train_samples: Callable[[], int]) -> Recipe:
    """The recipe with `share`, in (0, 1), of each training: fewer epochs, and fewer samples where not one whole epoch is left.

    `train_samples` says how many there are, and is asked only where a step does not. A recipe that does not train is itself; so is one
    whose trainings cannot be shorter.
    """
    steps: list[Step] = [_shortened(step, share, train_samples) for step in recipe.steps]
    return recipe if tuple(steps) == recipe.steps else Recipe(steps=tuple(steps))


def _shortened(step: Step, share: float, train_samples: Callable[[], int]) -> Step:
    if not isinstance(step, Distill | Finetune | Quantize) or step.epochs is None:
        return step
    if step.epochs > 1:
        return step.model_copy(update={"epochs": max(1, round(step.epochs * share))})
    samples = step.samples or train_samples()
    fewer = min(samples, max(FEWEST, round(samples * share)))
    return step if fewer == samples else step.model_copy(update={"samples": fewer})


def in_short(recipe: Recipe, short: Recipe) -> str:
    """What was left out of a recipe's trainings, in words: `1 of 4 epochs`; empty where nothing was."""
    said: dict[str, None] = {}
    for step, less in zip(recipe.steps, short.steps, strict=True):
        if step == less:
            continue
        whole, part = _trained(step), _trained(less)
        if whole[0] != part[0]:
            said[f"{part[0]} of {whole[0]} epochs"] = None
        else:
            said[f"{part[1]} samples of training"] = None
    return " and ".join(said)


def _trained(step: Frozen) -> tuple[int, int | None]:
    return getattr(step, "epochs", None) or 0, getattr(step, "samples", None)
