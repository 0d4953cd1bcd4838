"""Recipes that make the same network and differ in how it is stored and run: a family, under one heading in a chart or table."""

from __future__ import annotations

from collections.abc import Sequence

from engine.spec.labels import step_label
from engine.trials.trial import Trial

_SHAPING = frozenset({"distill", "prune", "finetune"})
UNCHANGED = "the network as it came"


def family_names(trials: Sequence[Trial]) -> list[tuple[str, str]]:
    """For each trial its family, by the steps that shape the network (`channels −50 % · finetune 1`), and its name within it (`int8`)."""
    return [_named(trial) for trial in trials]


def _named(trial: Trial) -> tuple[str, str]:
    if any(step.step == "imported" for step in trial.recipe.steps):
        return "imported", trial.label
    family = " · ".join(step_label(step) for step in trial.recipe.steps if step.step in _SHAPING)
    if not family:
        return UNCHANGED, trial.label
    rest = trial.label.removeprefix(family)
    # Of a recipe in another order, and of one that was given a name, the whole label is the name.
    return family, trial.label if rest == trial.label else rest.removeprefix(" · ") or "float"
