"""Recipes in short: a rung below the plan's own, of nodes like any others, so that what both need is there once.

The recipe in short has the same steps, those that train with a share of their epochs, fewer test samples and no latency. Without a
training it shares all nodes but its accuracy with the recipe; and one short training serves all that is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from engine.run.plan import Plan
from engine.run.task import dataset_of
from engine.spec.goals import Screen, Search
from engine.spec.screening import shortened
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.trials.trial import Trial


def with_shorts(plan: Plan, plan_of: Callable[[Sweep], Plan]) -> Plan:
    """The plan with its recipes in short, where the sweep screens them; `plan_of` plans another sweep on the same machine."""
    screen, sweep = plan.sweep.search.screen, plan.sweep
    if screen is None:
        return plan
    shorts = {
        r.id: shortened(r, screen.share, lambda: len(dataset_of(sweep.data).train))
        for r in sweep.all_recipes
        if not r.imported
    }
    below = plan_of(_in_short(sweep, screen, tuple(dict.fromkeys(s.steps for s in shorts.values() if s.steps))))
    chains = {chain.recipe: chain for chain in below.chains}
    found = {recipe: chains[short] for recipe, short in shorts.items()}
    return replace(plan, nodes=plan.nodes | below.nodes, shorts=found, in_short=below.sweep)


def _in_short(sweep: Sweep, screen: Screen, recipes: tuple[Any, ...]) -> Sweep:
    asked = sweep.measure.test_samples
    samples = screen.test_samples if asked == "all" else min(asked, screen.test_samples)
    measure = sweep.measure.model_copy(update={"test_samples": samples, "latency": None})
    changed = {"space": {}, "recipes": recipes, "measure": measure, "search": Search(), "replicates": 1, "target": None}
    # Anew, since a copy would keep the recipes of before.
    return Sweep(**{name: getattr(sweep, name) for name in Sweep.model_fields} | changed)


def short_trial(plan: Plan, recipe: str, results: Mapping[str, dict[str, Any]], artifacts: Artifacts) -> Trial | None:
    """What a recipe, by its id, came to in short; None as long as something of that is missing.

    Its figures are of the shortened recipe's own file, the baseline's on the same samples beside it.
    """
    from engine.run.assemble import assemble  # not at the top: its statistics take a while to load, and plans need none

    assert plan.in_short is not None
    chain, baseline = plan.shorts[recipe], plan.shorts[plan.chains[0].recipe.id]
    below = replace(plan, sweep=plan.in_short, chains=(baseline,))
    if not (below.asked_of(chain) | below.asked_of(baseline)) <= results.keys():
        return None
    return assemble(below, chain, results, artifacts)
