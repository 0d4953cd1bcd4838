"""Which recipes a run takes on, and when: the whole grid at once, or one recipe after the other as a search chooses them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Set
from typing import Protocol

from engine.run.forecast import chances, next_nodes
from engine.run.frugal_schedule import Ended, FrugalSchedule, added_files, next_added, with_stages
from engine.run.node_costs import NodeCosts
from engine.run.plan import Plan
from engine.search.search import Chooser
from engine.trials.trial import Trial


class Schedule(Protocol):
    """What a run asks. `needs` is, by the recipe's id, every node that it waits for."""

    planned: frozenset[str]
    """Missing nodes that the run is sure to work on, whatever comes out."""

    @property
    def found(self) -> float | None:
        """The share of the expected volume of the whole frontier that is found; None where nobody can tell."""
        ...

    def newly_stopped(self) -> tuple[Trial, ...]:
        """Trials of recipes that need not be measured in full, each said once."""
        ...

    def more(
        self, under_way: Set[str], finished: Mapping[str, Trial], slots: int, timing: Callable[[], bool]
    ) -> frozenset[str]:
        """Nodes to hand to the cluster now, none for "not yet" or "no more"; asked again as long as there are some.

        `under_way`: nodes handed over and not finished; `finished`: trials by id; `slots`: recipes to keep under way; `timing`: whether
        something is being timed, or will be as soon as cores are free.
        """
        ...

    def expected(self, missing: Collection[str], finished: Mapping[str, Trial]) -> dict[str, float]:
        """Of the missing nodes that are not handed over yet, how likely the run still comes to them."""
        ...


def schedule_of(
    plan: Plan,
    needs: Mapping[str, frozenset[str]],
    missing: frozenset[str],
    failed: frozenset[str],
    only: str | None = None,
    ended: Ended | None = None,
) -> Schedule:
    """The schedule of one run; recipes of the ids in `failed` come last, since they would otherwise use up every budget.

    `only`: the id of the one recipe that the run is about, whatever else is left. `ended`: what a search that counts costs reads.
    """
    if only is not None:
        return _GridSchedule(plan, needs, needs[only] & missing)
    search = plan.sweep.search
    if search.method == "gain":
        return FrugalSchedule(plan, needs, failed, ended or Ended.nothing(plan))
    if search.method == "grid" and search.node_seconds is None:
        return _GridSchedule(plan, needs, next_nodes(plan, missing, failed)[0])
    return _SearchSchedule(plan, needs, missing, failed, (ended or Ended.nothing(plan)).costs)


class _JudgesNothing:
    """What chooses without an idea of what all would come to, and measures whatever it has chosen."""

    found: float | None = None

    def newly_stopped(self) -> tuple[Trial, ...]:
        return ()


class _GridSchedule(_JudgesNothing):
    """All that is planned, in the order of the plan, which the cluster keeps to by itself."""

    def __init__(self, plan: Plan, needs: Mapping[str, frozenset[str]], planned: frozenset[str]) -> None:
        self.planned = planned
        # The baseline first and alone: all else is compared with it, and a training that began beside it would keep its latency waiting.
        self.waves = [needs[plan.chains[0].recipe.id] & self.planned, self.planned]

    def more(
        self, under_way: Set[str], finished: Mapping[str, Trial], slots: int, timing: Callable[[], bool]
    ) -> frozenset[str]:
        while self.waves and not under_way:
            wave = self.waves.pop(0)
            if wave:
                return wave
        return frozenset()

    def expected(self, missing: Collection[str], finished: Mapping[str, Trial]) -> dict[str, float]:
        return {}


class _SearchSchedule(_JudgesNothing):
    """As many recipes under way as there are cores, each chosen when there is room for it, from all that is known by then."""

    def __init__(
        self,
        plan: Plan,
        needs: Mapping[str, frozenset[str]],
        missing: frozenset[str],
        failed: frozenset[str],
        costs: NodeCosts,
    ) -> None:
        self.plan, self.needs, self.costs, self.missing = plan, needs, costs, missing
        self.chains = {chain.recipe.id: chain for chain in plan.chains}
        self.added = added_files(plan)
        self.chooser = Chooser(plan.sweep, failed)
        self.room = plan.sweep.search.trials or math.inf
        self.taken: set[str] = set()
        # How many recipes need a node that no run has come to; those that are finished or taken are taken out of it once.
        self.waiting = Counter(key for keys in needs.values() for key in keys & missing)
        self.counted_out: set[str] = set()
        self.planned: frozenset[str] = frozenset()

    def more(
        self, under_way: Set[str], finished: Mapping[str, Trial], slots: int, timing: Callable[[], bool]
    ) -> frozenset[str]:
        busy = self.taken - finished.keys()
        if self._must_wait(busy, slots, timing):
            return frozenset()
        if self.plan.chains[0].recipe.id in finished and (added := next_added(self.added, self.taken, finished)):
            self.taken.add(added)
            return self.needs[added]
        if self.room <= 0:
            return frozenset()
        recipe = self.chooser.next(finished.values(), busy)
        if recipe is None:
            self.room = 0
            return frozenset()
        stages = with_stages(self.chains, recipe, busy | finished.keys())
        new = stages[: None if self.room == math.inf else int(self.room)]
        keys = frozenset[str]().union(*(self.needs[chain.recipe.id] for chain in new))
        if not self._is_paid(keys, under_way):
            self.room = 0
            return frozenset()
        self.taken |= {chain.recipe.id for chain in new}
        self.room -= len(new)
        self.missing -= keys
        return keys

    def _is_paid(self, keys: frozenset[str], under_way: Set[str]) -> bool:
        """Whether the node seconds suffice for nodes, after those that are under way."""
        budget = self.plan.sweep.search.node_seconds
        if budget is None:
            return True
        return self.costs.spent_s + self.costs.of(under_way) + self.costs.of(keys & self.missing) <= budget

    def _must_wait(self, busy: Collection[str], slots: int, timing: Callable[[], bool]) -> bool:
        # The baseline first and alone, as in a grid. And choosing is computing, up to seconds of it: not while something is timed.
        return len(busy) >= slots or self.plan.chains[0].recipe.id in busy or timing()

    def expected(self, missing: Collection[str], finished: Mapping[str, Trial]) -> dict[str, float]:
        out = (self.taken | finished.keys()) & self.chains.keys()
        for recipe in out - self.counted_out:
            self.waiting.subtract(self.needs[recipe])
        self.counted_out |= out
        left = len(self.chains) - len(out)
        return chances({k: n for k in missing if (n := self.waiting[k]) > 0}, left, self.room)
