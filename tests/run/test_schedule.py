"""Which recipes a run takes on: budgets are exact, the baseline is alone, stages count, nothing is chosen while something is timed."""

from __future__ import annotations

import pytest

from engine.measure.machine import machine
from engine.run.forecast import chances, forecast_s
from engine.run.plan import Plan
from engine.run.planner import make_plan
from engine.run.schedule import Schedule, schedule_of
from engine.spec.sweep import parse_sweep
from engine.trials.trial import Trial
from tests.helpers.search_cases import measured

SPACE = {
    "prune": [None, {"method": "channel", "ratio": [0.25, 0.5], "finetune_epochs": 1}],
    "quantize": [None, {"weight_bits": [8, 4], "activation_bits": 32}],
}


def plan_of(**search: object) -> Plan:
    spec = {"model": {"source": "resnet8"}, "space": SPACE, "search": search, "measure": {"latency": None}}
    return make_plan(parse_sweep(spec), machine())


def needs_of(plan: Plan) -> dict[str, frozenset[str]]:
    return {c.recipe.id: plan.awaited(c) for c in plan.chains}


def turns(plan: Plan, failed: frozenset[str] = frozenset()) -> Schedule:
    return schedule_of(plan, needs_of(plan), frozenset(plan.nodes), failed)


class Host:
    """Finishes what it is given: all of it, and then the trials that are complete."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.needs = plan, needs_of(plan)
        self.nodes: set[str] = set()
        self.finished: dict[str, Trial] = {}

    def finish(self, keys: frozenset[str]) -> None:
        self.nodes |= keys
        for chain in self.plan.chains:
            if self.needs[chain.recipe.id] <= self.nodes:
                self.finished[chain.recipe.id] = measured(chain.recipe)


def ask(found: Schedule, host: Host, slots: int = 1, timing: bool = False) -> frozenset[str]:
    return found.more(set(), host.finished, slots, lambda: timing)


@pytest.mark.parametrize("method", ["random", "tpe"])
@pytest.mark.parametrize("trials", [1, 2, 3, 5, 9, 50])
def test_a_run_measures_as_many_recipes_as_its_budget_has_stages_included(method: str, trials: int):
    plan = plan_of(method=method, trials=trials)
    host = Host(plan)
    for run in (1, 2):
        found = turns(plan)
        while keys := ask(found, host):
            host.finish(keys)
        assert len(host.finished) == min(9, run * trials)


def test_the_baseline_is_first_and_alone_and_then_there_are_as_many_as_slots():
    plan = plan_of(method="random")
    found, host = turns(plan), Host(plan)
    first = ask(found, host, slots=2)
    assert first == host.needs[plan.chains[0].recipe.id]
    assert not ask(found, host, slots=2)
    host.finish(first)
    taken = 0
    while ask(found, host, slots=2):
        taken += 1
    # A recipe with a stage that is one of the sweep fills both.
    assert taken in {1, 2}


def test_nothing_is_chosen_while_something_is_timed():
    plan = plan_of(method="random")
    found, host = turns(plan), Host(plan)
    host.finish(ask(found, host))
    assert not ask(found, host, timing=True)
    assert ask(found, host)


def test_what_a_stage_is_shared_with_is_not_measured_again():
    plan = plan_of(method="random")
    found, host = turns(plan), Host(plan)
    asked = []
    while keys := ask(found, host):
        asked.append(keys - host.nodes)
        host.finish(keys)
    assert sum(map(len, asked)) == plan.unique
    assert len(host.finished) == len(plan.chains) == 9
    assert all(asked)


def test_the_grid_hands_over_the_baseline_and_then_everything():
    plan = plan_of(method="grid")
    found, host = turns(plan), Host(plan)
    assert ask(found, host) == host.needs[plan.chains[0].recipe.id]
    assert not found.more({"something"}, {}, 1, lambda: False)
    assert ask(found, host) == frozenset(plan.nodes)
    assert not ask(found, host)


def test_what_is_expected_of_a_search_is_all_of_it_or_the_mean_over_its_choices():
    # Four recipes, of which two need `a`, all `b` and one `c`.
    waiting = {"a": 2, "b": 4, "c": 1}
    assert chances(waiting, 4, 4) == dict.fromkeys("abc", 1.0)
    assert chances(waiting, 4, 1) == pytest.approx({"a": 0.5, "b": 1.0, "c": 0.25})
    assert chances(waiting, 4, 0) == {}
    two = chances(waiting, 4, 2)
    assert two["c"] < two["a"] < two["b"] == 1.0
    plan = plan_of(method="tpe", trials=3)
    found = turns(plan)
    some = found.expected(plan.nodes, {})
    everything = turns(plan_of(method="tpe")).expected(plan.nodes, {})
    assert 0 < forecast_s(plan, some, {}, 1) < forecast_s(plan, everything, {}, 1)
    assert forecast_s(plan, everything, {}, 1) == pytest.approx(forecast_s(plan, frozenset(plan.nodes), {}, 1))


def test_what_failed_recipes_would_still_have_needed_is_not_expected_any_more():
    plan = plan_of(method="tpe")
    found, host = turns(plan), Host(plan)
    trials = {c.recipe.id: Trial(c.recipe.id, c.recipe, state="failed") for c in plan.chains}
    last = plan.chains[-1].recipe.id
    some = {i: t for i, t in trials.items() if i != last}
    assert set(found.expected(plan.nodes, some)) == set(host.needs[last])
    assert found.expected(plan.nodes, trials) == {}
    assert chances({"a": 5}, 0, float("inf")) == {}
