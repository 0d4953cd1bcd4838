"""What a latency was made of: every timed call of a trial.

Reads the store alone, so a web server may call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.run.planner import make_plan
from engine.run.training_device import KINDS
from engine.spec.sweep import Sweep
from engine.store.example import example_folder
from engine.store.store import Store
from engine.trials.trial import Trial

SIDES, SHIPPED_PER_MS = ("trial", "baseline"), 10_000
"""How the shipped samples are called, each after its trial's id, and in how many parts of a millisecond they are whole numbers."""


@dataclass(frozen=True)
class Samples:
    """Every timed call of a trial and, in turns with it, of the baseline, in ms, disturbed ones too; the baseline has only its own."""

    trial_ms: tuple[float, ...]
    baseline_ms: tuple[float, ...]


def latency_samples(store: Store, sweep: Sweep, trial: Trial) -> Samples | None:
    """What a trial's latency was made of; None where it was not measured, or by another version of the program, or in another store.

    The samples of the shipped examples ship with them. Raises InputError when the model or the data that the sweep names are not there any
    more.
    """
    if trial.machine is None or trial.timing is None:
        return None
    # A node's key depends on its own recipe alone: planning the others as well would take seconds in a large sweep.
    steps = (trial.recipe.steps,)
    alone = Sweep(model=sweep.model, data=sweep.data, recipes=steps, measure=sweep.measure, seed=sweep.seed)
    for device in KINDS:
        plan = make_plan(alone, trial.machine, device=device)
        key = next((c.latency for c in plan.chains if c.recipe.id == trial.recipe.id), None)
        row = store.nodes([key]).get(key) if key else None
        if row is not None:
            return samples_of(row.result)
    is_example = any(row.example and row.id == sweep.id for row in store.sweeps())
    folder = example_folder(sweep.id) if is_example else None
    return _shipped_samples(folder, trial.id) if folder else None


def samples_of(latency: Mapping[str, Any]) -> Samples:
    """The samples in the result of a `latency` node."""
    sides = ("candidate_ms", "baseline_ms")
    own, before = (tuple(ms for p in latency["processes"] for block in p[side] for ms in block) for side in sides)
    return Samples(own, before)


def _shipped_samples(folder: Path, trial_id: str) -> Samples | None:
    """Written by data/make_example.py, in units of 100 ns."""
    path = folder / "latency.npz"
    if not path.exists():
        return None
    with np.load(path) as shipped:
        sides = [shipped.get(f"{trial_id} {side}") for side in SIDES]
    own, before = (() if side is None else tuple((side / SHIPPED_PER_MS).tolist()) for side in sides)
    return Samples(own, before) if own else None
