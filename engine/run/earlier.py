"""Finished trials of other sweeps that a search may learn from: of the same model and data, and of others, which options paid there."""

from __future__ import annotations

import numpy as np

from engine.errors import InputError
from engine.run.plan import Plan
from engine.search.frugal import Earlier
from engine.spec.sweep import Sweep
from engine.store.store import Store

_SWEEPS = 2
"""So many sweeps of the same model, and as many of others, the newest: each is two scales more to fit."""
_TRIALS = 100
"""Most trials of one of them; of more, as many evenly over the plan."""
_FEWEST = 4
"""With fewer trials a sweep says nothing of options."""


def earlier_sweeps(plan: Plan, store: Store) -> tuple[Earlier, ...]:
    """What other sweeps of the store have measured, those of the same model and data first."""
    same: list[Earlier] = []
    others: list[Earlier] = []
    for row in store.sweeps():
        if row.id == plan.sweep.id or row.trials < _FEWEST or len(same) == len(others) == _SWEEPS:
            continue
        try:
            is_same = _is_same(store.spec(row.id), plan.sweep)
        except InputError:
            continue  # a spec that this version does not read
        kept = same if is_same else others
        if len(kept) < _SWEEPS:
            done = [t for t in store.trials(row.id) if t.state == "done"]
            if any(not t.recipe.steps for t in done):
                some = np.unique(np.linspace(0, len(done) - 1, min(len(done), _TRIALS)).round().astype(int))
                kept.append(Earlier(tuple(done[i] for i in some), is_same))
    return (*same, *others)


def _is_same(one: Sweep, other: Sweep) -> bool:
    return one.model == other.model and one.data == other.data
