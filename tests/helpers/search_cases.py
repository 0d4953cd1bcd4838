"""A space of 196 recipes with figures made up for them, for tests of what searches it."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.frontier import dominance
from engine.search.search import Chooser
from engine.spec.recipe import Recipe
from engine.spec.steps import Distill, Prune
from engine.spec.sweep import Sweep, parse_sweep
from engine.trials.trial import Trial
from tests.helpers.trial_factory import trial

SPACE = {
    "distill": [None, {"student": "ds_cnn"}],
    "prune": [
        None,
        {"method": "channel", "ratio": [0.25, 0.5, 0.7], "finetune_epochs": 1},
        {"method": "magnitude", "ratio": [0.5, 0.7, 0.9]},
    ],
    "quantize": [
        None,
        {"weight_bits": [8, 6, 4, 3, 2], "activation_bits": 32, "per_channel": [True, False]},
        {"weight_bits": [8, 4, 2], "activation_bits": 8},
    ],
}
SMALL = {"prune": SPACE["prune"][:2], "quantize": SPACE["quantize"][:2]}


def sweep(method: str, seed: int = 0, space: Any = SPACE, **more: Any) -> Sweep:
    measure = {"latency": None}
    return parse_sweep(
        {
            "model": {"source": "resnet8"},
            "space": space,
            "search": {"method": method},
            "seed": seed,
            "measure": measure,
            **more,
        }
    )


def measured(recipe: Recipe) -> Trial:
    """Smooth in every knob, and each step takes its own share of accuracy and bytes."""
    accuracy, size = 0.93, 300_000.0
    for step in recipe.steps:
        if isinstance(step, Distill):
            accuracy, size = accuracy - 0.03, size * 0.3
        elif isinstance(step, Prune):
            channel = step.method == "channel"
            accuracy -= (0.06 if channel else 0.03) * (step.ratio or 0.5) ** 2
            size *= 1 - (step.ratio or 0.5) * (1.0 if channel else 0.5)
        elif step.step == "quantize":
            accuracy -= 0.1 * 2.0**-step.weight_bits * (1 if step.per_channel else 3)
            accuracy -= 0.002 * (step.activation_bits == 8)
            size *= step.weight_bits / 32
    return trial(recipe, accuracy=accuracy, size_bytes=int(size + 5000), latency_ms=None)


def walk(chosen: Sweep, steps: int) -> list[Trial]:
    """What a search measures first, one recipe at a time."""
    chooser, finished = Chooser(chosen), []
    for _ in range(steps):
        finished.append(measured(chooser.next(finished)))
    return finished


def share(trials: list[Trial], among: list[Trial]) -> float:
    """Their hypervolume, as a share of that of `among`."""
    every, some = (np.array([[t.accuracy.value, t.size_bytes] for t in ts], float) for ts in (among, trials))
    low, high = every.min(axis=0), every.max(axis=0)
    volumes = [dominance.hypervolume((p - low) / (high - low), [True, False], [0.0, 1.0]) for p in (some, every)]
    return volumes[0] / volumes[1]
