"""A space whose recipes train, planned for real, with figures made up for them in full and in short, for tests of the search that counts
what recipes cost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.measure.machine import machine
from engine.run.node_costs import NodeCosts
from engine.run.plan import Plan
from engine.run.planner import make_plan
from engine.search.frugal import Earlier, FrugalChooser, Step
from engine.spec.recipe import Recipe
from engine.spec.sweep import Sweep, parse_sweep
from engine.trials.trial import Trial
from tests.helpers.search_cases import measured

TRAINED = {
    "prune": [None, {"method": "channel", "ratio": [0.25, 0.5, 0.9], "finetune_epochs": 4, "finetune_samples": 1000}],
    "quantize": [None, {"weight_bits": [8, 4, 2], "activation_bits": 32, "per_channel": [True, False]}],
}


def trained_sweep(space: Any = TRAINED, seed: int = 0, **more: Any) -> Sweep:
    """28 recipes of four networks, three of them trained."""
    spec = {"model": {"source": "resnet8"}, "space": space, "measure": {"latency": None}, "seed": seed}
    return parse_sweep(spec | {"search": {"method": "gain", "screen": True}} | more)


def seen_in_short(recipe: Recipe, short: Recipe) -> Trial:
    """As `measured`, worse where less was trained."""
    found = measured(recipe)
    assert found.accuracy is not None
    worse = 0.02 * (recipe != short)
    return replace(found, recipe=short, accuracy=replace(found.accuracy, value=found.accuracy.value - worse, n=500))


class Played:
    """A search that is answered by made-up figures, one recipe after the other, and pays for nodes by the forecast."""

    def __init__(self, sweep: Sweep, plan: Plan | None = None, earlier: tuple[Earlier, ...] = ()) -> None:
        self.plan = plan or make_plan(sweep, machine())
        self.costs = NodeCosts(self.plan, {})
        self.shorts = {i: chain.recipe for i, chain in self.plan.shorts.items()}
        self.chooser = FrugalChooser(sweep, self.shorts, earlier=earlier)
        self.needs = {c.recipe.id: self.plan.awaited(c) for c in self.plan.chains}
        self.short_needs = {i: self.plan.awaited(c) for i, c in self.plan.shorts.items()}
        self.there: set[str] = set()
        self.finished: dict[str, Trial] = {}
        self.short: dict[str, Trial] = {}
        self.steps: list[tuple[str, bool]] = []

    def ask(self, left_s: float = float("inf")) -> Step:
        """What the search would do next."""
        ids = [recipe.id for recipe in self.chooser.recipes]
        below = [self.short_needs[i] for i in ids] if self.shorts else []
        prices = self.costs.prices([self.needs[i] for i in ids], below, self.there, left_s)
        return self.chooser.next(self.finished, self.short, (), (), prices)

    def go(self, most: int = 1000) -> Played:
        """So many steps, or until nothing is left."""
        for _ in range(most):
            step = self.ask()
            self.finished |= step.stopped
            if step.recipe is None:
                break
            self.answer(step)
        return self

    def answer(self, step: Step) -> None:
        """What the search asked for is finished."""
        assert step.recipe is not None
        name = step.recipe.id
        self.steps.append((name, step.in_short))
        self.there |= self.short_needs[name] if step.in_short else self.needs[name]
        if step.in_short:
            self.short[name] = seen_in_short(step.recipe, self.shorts[name])
        else:
            self.finished[name] = measured(step.recipe)

    def stopped(self) -> dict[str, Trial]:
        """Trials of recipes that were stopped."""
        return {i: t for i, t in self.finished.items() if t.state == "stopped"}
