"""The schedule of a search that counts costs: in short and in full, stages and budgets counted, nothing twice, stops said once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.measure.machine import machine
from engine.run.frugal_schedule import Ended, FrugalSchedule
from engine.run.node_costs import NodeCosts
from engine.run.plan import Plan
from engine.run.planner import make_plan
from engine.run.schedule import schedule_of
from engine.store.rows import NodeRow
from engine.trials.trial import Trial
from tests.helpers.frugal_cases import seen_in_short, trained_sweep
from tests.helpers.search_cases import measured

SPACE = {
    "prune": [None, {"method": "channel", "ratio": [0.25, 0.5], "finetune_epochs": 4, "finetune_samples": 1000}],
    "quantize": [None, {"weight_bits": [8, 4], "activation_bits": 32}],
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(trained_sweep(SPACE), machine())


class Host:
    """Finishes what it is given at once; a recipe's figures are made up when its nodes are there."""

    def __init__(self, plan: Plan, monkeypatch: pytest.MonkeyPatch, **search: Any) -> None:
        stated = plan.sweep.search.model_dump() | search
        self.plan = replace(plan, sweep=trained_sweep(SPACE, search=stated))
        self.needs = {c.recipe.id: plan.awaited(c) for c in plan.chains}
        self.results: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, str] = {}
        self.finished: dict[str, Trial] = {}
        self.ran: list[str] = []
        self.costs = NodeCosts(self.plan, {})
        monkeypatch.setattr("engine.run.frugal_schedule.short_trial", self.short_trial)
        self.found = self.begun()

    def begun(self) -> FrugalSchedule:
        """A run's schedule, on what is there."""
        rows = [
            NodeRow(k, self.plan.nodes[k].kind, self.plan.nodes[k].work, self.costs.of([k]), {}) for k in self.results
        ]
        self.costs = NodeCosts(self.plan, {}, rows)
        ended = Ended(self.results, self.errors, self.costs, artifacts=object())  # type: ignore[arg-type]
        missing = frozenset(self.plan.nodes) - self.results.keys()
        found = schedule_of(self.plan, self.needs, missing, frozenset(), ended=ended)
        assert isinstance(found, FrugalSchedule)
        return found

    def short_trial(self, plan: Plan, recipe: str, results: dict[str, Any], _: object) -> Trial | None:
        chain = plan.shorts[recipe]
        if not plan.awaited(chain) <= results.keys():
            return None
        whole = next(c.recipe for c in plan.chains if c.recipe.id == recipe)
        return seen_in_short(whole, chain.recipe)

    def go(self, most: int = 1000) -> list[frozenset[str]]:
        """So many answers of the schedule, each finished at once."""
        given = []
        while len(given) < most and (keys := self.found.more(set(), self.finished, 1, lambda: False)):
            given.append(keys)
            for key in (k for k in self.plan.nodes if k in keys and k not in self.results):
                self.ran.append(key)
                self.results[key] = {}
                self.costs.ended(key, self.costs.of([key]))
            for chain in self.plan.chains:
                if chain.recipe.id not in self.finished and self.needs[chain.recipe.id] <= self.results.keys():
                    self.finished[chain.recipe.id] = measured(chain.recipe)
        for trial in self.found.newly_stopped():
            assert trial.id not in self.finished
            self.finished[trial.id] = trial
        return given


def test_short_recipes_share_all_that_is_not_trained(plan: Plan):
    assert plan.shorts.keys() == {c.recipe.id for c in plan.chains}
    for chain in plan.chains:
        short = plan.shorts[chain.recipe.id]
        own = {plan.nodes[k].kind for k in plan.awaited(short) - plan.awaited(chain)}
        if chain.recipe == short.recipe:
            assert (chain.model, chain.facts) == (short.model, short.facts)
            assert own == {"accuracy"}
        else:
            assert "finetune" in own
            assert plan.nodes[short.accuracy].options["samples"] == 500
    trained = {k for k, n in plan.nodes.items() if n.kind == "finetune"}
    # Two networks, each trained in full and in short, whatever is made of them.
    assert len(trained) == 4
    assert sorted(plan.nodes[k].options["epochs"] for k in trained) == [1, 1, 4, 4]


def test_a_whole_search_runs_no_node_twice_and_settles_every_recipe(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    host = Host(plan, monkeypatch)
    given = host.go()
    assert given[0] == host.needs[plan.chains[0].recipe.id]
    assert len(host.ran) == len(set(host.ran))
    assert host.finished.keys() == host.needs.keys()
    assert host.found.found == 1.0
    assert host.found.newly_stopped() == ()


def test_a_killed_search_goes_on_as_it_would_have(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    whole, killed = Host(plan, monkeypatch), Host(plan, monkeypatch)
    killed.go(5)
    killed.found = killed.begun()
    killed.go()
    whole.go()
    assert killed.ran == whole.ran
    assert killed.finished == whole.finished


@pytest.mark.parametrize("trials", [1, 3, 6])
def test_trials_count_what_is_measured_in_full_stages_included(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, trials: int
):
    host = Host(plan, monkeypatch, trials=trials)
    host.go()
    done = [t for t in host.finished.values() if t.state == "done"]
    assert len(done) == trials


def test_node_seconds_are_not_gone_beyond_by_what_is_forecast(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    whole = NodeCosts(plan, {}).of(plan.nodes)
    for budget in (0.2 * whole, 0.6 * whole):
        host = Host(plan, monkeypatch, node_seconds=budget)
        host.go()
        assert 0 < host.costs.spent_s <= budget
        assert plan.chains[0].recipe.id in host.finished
        assert len(host.finished) < len(plan.chains)


def test_what_fails_in_short_alone_is_tried_in_full(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    host = Host(plan, monkeypatch)
    for short in plan.shorts.values():
        for key in plan.awaited(short) - frozenset().union(*host.needs.values()):
            if plan.nodes[key].kind == "finetune":
                host.errors[key] = "it diverged"
    host.go()
    trained = [c.recipe.id for c in plan.chains if c.recipe != plan.shorts[c.recipe.id].recipe]
    assert all(host.finished[i].state == "done" for i in trained)


def test_rates_are_those_of_the_sweeps_own_nodes_in_whatever_order_they_ended(plan: Plan):
    quantize = [k for k, n in plan.nodes.items() if n.kind == "quantize"][:2]
    one, other = NodeCosts(plan, {"quantize": 100.0}), NodeCosts(plan, {"quantize": 7.0})
    assert one.of(quantize) == pytest.approx(200.0)
    one.ended(quantize[0], 1.0)
    one.ended(quantize[1], 4.0)
    other.ended(quantize[1], 4.0)
    other.ended(quantize[0], 1.0)
    assert one.of(quantize) == other.of(quantize) == pytest.approx(5.0)
    assert one.spent_s == 5.0
