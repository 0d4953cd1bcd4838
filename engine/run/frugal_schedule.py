"""Which recipe next where the search counts what each costs: in short or in full, and which of those seen in short are stopped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from engine.run.earlier import earlier_sweeps
from engine.run.forecast import chances
from engine.run.node_costs import NodeCosts
from engine.run.plan import Chain, Plan
from engine.run.screening import short_trial
from engine.search.frugal import Earlier, FrugalChooser
from engine.search.prices import Prices
from engine.spec.recipe import Recipe
from engine.store.artifacts import Artifacts
from engine.store.rows import NodeRow
from engine.store.store import Store
from engine.trials.trial import Trial


@dataclass(frozen=True)
class Ended:
    """What has ended of a plan, as the run goes on: results and errors by node, and what all that costs."""

    results: Mapping[str, dict[str, Any]]
    errors: Mapping[str, str]
    costs: NodeCosts
    artifacts: Artifacts | None = None
    earlier: tuple[Earlier, ...] = ()

    @classmethod
    def nothing(cls, plan: Plan) -> Ended:
        """Of a plan of which nothing has ended and no other sweep tells anything."""
        return cls({}, {}, NodeCosts(plan, {}))


def ended_of(
    plan: Plan,
    store: Store,
    artifacts: Artifacts,
    rows: Iterable[NodeRow],
    results: Mapping[str, dict[str, Any]],
    errors: Mapping[str, str],
    rates: Mapping[str, float],
) -> Ended:
    """What has ended of a plan: `rows` in earlier runs, with `results` and `errors` as a run goes on writing them; what other sweeps tell
    where it is asked for.
    """
    costs = NodeCosts(plan, rates, rows)
    earlier = earlier_sweeps(plan, store) if plan.sweep.search.method == "gain" else ()
    return Ended(results, errors, costs, artifacts, earlier)


def with_stages(chains: Mapping[str, Chain], recipe: Recipe, known: Set[str]) -> list[Chain]:
    """The recipe and, before it, those of its stages that are recipes of the sweep: measured on the way, they count like any other."""
    stages = [chains[s.id] for s in recipe.stages if s.id in chains and s.id not in known]
    return [*(c for c in stages if c.recipe != recipe), chains[recipe.id]]


def added_files(plan: Plan) -> tuple[str, ...]:
    """The ids of the recipes that are files which were added."""
    return tuple(chain.recipe.id for chain in plan.chains if chain.recipe.imported)


def next_added(added: Iterable[str], taken: Set[str], finished: Mapping[str, Trial]) -> str | None:
    """Of files that were `added` one that is still to be measured; it counts against no budget."""
    return next((i for i in added if i not in taken and i not in finished), None)


class FrugalSchedule:
    """As many recipes under way as there are cores, each chosen from all that is known by then, in short or in full."""

    def __init__(self, plan: Plan, needs: Mapping[str, frozenset[str]], failed: frozenset[str], ended: Ended) -> None:
        self.plan, self.needs, self.ended = plan, needs, ended
        shorts = {recipe: chain.recipe for recipe, chain in plan.shorts.items()}
        self.chooser = FrugalChooser(plan.sweep, shorts, failed, ended.earlier)
        self.chains = {chain.recipe.id: chain for chain in plan.chains}
        self.baseline = plan.chains[0].recipe.id
        self.added = added_files(plan)
        own = plan.shorts[self.baseline] if plan.shorts else None
        # The baseline in short is what every recipe in short is counted from.
        self.short_needs = {i: plan.awaited(c) | plan.awaited(own) for i, c in plan.shorts.items()} if own else {}
        self.room = plan.sweep.search.trials or math.inf
        self.taken: set[str] = set()
        self.in_short: set[str] = set()
        self.short: dict[str, Trial] = {}
        self.handed: set[str] = set()
        self.stopped: dict[str, Trial] = {}
        self.said: set[str] = set()
        self.found: float | None = None
        self.planned: frozenset[str] = frozenset()

    def more(
        self, under_way: Set[str], finished: Mapping[str, Trial], slots: int, timing: Callable[[], bool]
    ) -> frozenset[str]:
        """As of any schedule; what is chosen may be a recipe in short."""
        self._read_shorts()
        finished = {**self.stopped, **finished}
        busy = self.taken - finished.keys()
        busy_short = {i for i in self.in_short if not self._short_ended(i)}
        if len(busy) + len(busy_short) >= slots or self.baseline in busy or timing():
            return frozenset()
        if self.baseline in finished and (added := next_added(self.added, self.taken, finished)):
            self.taken.add(added)
            return self._hand_over(self.needs[added])
        if self.room <= 0:
            return frozenset()
        prices = self._prices(under_way)
        choice = self.chooser.next(finished, self.short, busy, busy_short, prices, self._unscreenable())
        self.found = choice.found if choice.found is not None else self.found
        self.stopped |= choice.stopped
        if choice.recipe is None:
            return frozenset()
        if choice.in_short:
            self.in_short.add(choice.recipe.id)
            return self._hand_over(self.short_needs[choice.recipe.id])
        stages = with_stages(self.chains, choice.recipe, busy | finished.keys())
        new = stages[: None if self.room == math.inf else int(self.room)]
        self.taken |= {chain.recipe.id for chain in new}
        self.room -= len(new)
        return self._hand_over(frozenset[str]().union(*(self.needs[chain.recipe.id] for chain in new)))

    def newly_stopped(self) -> tuple[Trial, ...]:
        """Trials of recipes that need not be measured in full, each said once."""
        new = tuple(trial for recipe, trial in self.stopped.items() if recipe not in self.said)
        self.said |= self.stopped.keys()
        return new

    def _hand_over(self, keys: frozenset[str]) -> frozenset[str]:
        self.handed |= keys
        return keys

    def _short_ended(self, recipe: str) -> bool:
        keys = self.short_needs[recipe]
        return recipe in self.short or not self.ended.errors.keys().isdisjoint(keys)

    def _read_shorts(self) -> None:
        """Whatever is there of recipes in short, from this run or an earlier one."""
        for recipe, chain in self.plan.shorts.items():
            if recipe not in self.short and chain.accuracy in self.ended.results:
                assert self.ended.artifacts is not None
                if found := short_trial(self.plan, recipe, self.ended.results, self.ended.artifacts):
                    self.short[recipe] = found

    def _unscreenable(self) -> frozenset[str]:
        """Recipes that could not be made in short: in full they may."""
        errors = self.ended.errors.keys()
        return frozenset(i for i, keys in self.short_needs.items() if errors and not errors.isdisjoint(keys))

    def _prices(self, under_way: Set[str]) -> Prices:
        costs, budget = self.ended.costs, self.plan.sweep.search.node_seconds
        recipes = [recipe.id for recipe in self.chooser.recipes]
        return costs.prices(
            [self.needs[i] for i in recipes],
            [self.short_needs[i] for i in recipes] if self.short_needs else [],
            self.ended.results.keys() | self.handed,
            math.inf if budget is None else budget - costs.spent_s - costs.of(under_way),
        )

    def expected(self, missing: Collection[str], finished: Mapping[str, Trial]) -> dict[str, float]:
        """As of any schedule, as if none were stopped: at most so much."""
        out = self.taken | finished.keys() | self.stopped.keys()
        left = [keys for recipe, keys in self.needs.items() if recipe not in out]
        wanted = frozenset(missing)
        waiting = Counter(key for keys in left for key in keys & wanted)
        return chances(waiting, len(left), self.room)
