"""The search that counts costs: every recipe is measured or stopped with a reason, the same from the same measurements, within limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.frontier import dominance
from engine.measure.machine import machine
from engine.run.plan import Plan
from engine.run.planner import make_plan
from engine.search.frugal import Earlier
from engine.spec.recipe import Recipe
from engine.trials.trial import Trial
from tests.helpers.frugal_cases import Played, seen_in_short, trained_sweep
from tests.helpers.search_cases import measured, share


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(trained_sweep(), machine())


def front(trials: list[Trial]) -> set[str]:
    points = [[t.accuracy.value, t.size_bytes] for t in trials]
    return {t.id for t, on in zip(trials, dominance.non_dominated(points, (True, False)), strict=True) if on}


def test_every_recipe_is_measured_or_stopped_with_a_reason_and_nothing_of_the_frontier_is_stopped(plan: Plan):
    found = Played(plan.sweep, plan).go()
    assert found.steps[0] == (Recipe().id, False)
    assert found.finished.keys() == {r.id for r in plan.sweep.all_recipes}
    assert len(set(found.steps)) == len(found.steps)
    stopped = found.stopped()
    every = [measured(r) for r in plan.sweep.all_recipes]
    assert stopped
    assert not front(every) & stopped.keys()
    assert stopped.keys() <= found.short.keys()
    for trial in stopped.values():
        assert trial.stopped.startswith("stopped after screening: ")
        assert "on 500 samples" in trial.stopped
        # Its figures would be those of another file.
        assert (trial.accuracy, trial.size_bytes, trial.error) == (None, None, None)
        assert found.costs.of(found.needs[trial.id] - found.there) > 0
    trained = next(t for t in stopped.values() if found.shorts[t.id] != t.recipe)
    assert "with 1 of 4 epochs" in trained.stopped


def test_the_same_measurements_lead_to_the_same_step_whoever_asks_and_in_whatever_order_they_came(plan: Plan):
    first = Played(plan.sweep, plan).go(14)
    again = Played(plan.sweep, plan)
    again.finished = dict(sorted(first.finished.items()))
    again.short = dict(sorted(first.short.items(), reverse=True))
    again.there = set(first.there)
    step, other = again.ask(), first.ask()
    assert (step.recipe, step.in_short, step.found) == (other.recipe, other.in_short, other.found)
    assert Played(trained_sweep(seed=5), plan).go(14).steps != first.steps


def test_what_is_not_left_for_is_not_begun_and_what_shares_a_training_is_cheap(plan: Plan):
    found = Played(plan.sweep, plan).go(1)
    assert found.ask(left_s=0.0).recipe is None
    ids = [r.id for r in plan.sweep.all_recipes]
    prices = found.costs.prices([found.needs[i] for i in ids], [found.short_needs[i] for i in ids], found.there)
    alone, places = prices.alone(), {i: n for n, i in enumerate(ids)}
    pruned = [r for r in plan.sweep.all_recipes if len(r.steps) == 3 and r.steps[0].ratio == 0.25]
    assert len(pruned) == 6
    found.there |= found.needs[pruned[0].id]
    after = found.costs.prices([found.needs[i] for i in ids], [], found.there).alone()
    for recipe in pruned[1:]:
        own = found.needs[recipe.id] - found.needs[pruned[0].id]
        kinds = sorted(plan.nodes[k].kind for k in own)
        # Its quantization and what is measured of that; the training is there.
        assert kinds == ["accuracy", "facts", "quantize"]
        assert after[places[recipe.id]] == pytest.approx(found.costs.of(own))
        assert alone[places[recipe.id]] > 3 * after[places[recipe.id]]
    assert after[places[pruned[0].id]] == 0


def test_shared_nodes_are_paid_for_by_all_that_need_them_as_far_as_they_add(plan: Plan):
    found = Played(plan.sweep, plan)
    ids = [r.id for r in plan.sweep.all_recipes]
    prices = found.costs.prices([found.needs[i] for i in ids], [found.short_needs[i] for i in ids], set())
    each = np.full(len(ids), 0.5)
    alike = prices.per_gain(each, lambda rows: 0.5)
    # Whoever adds no more than the others together pays the whole training.
    assert alike[0] * each == pytest.approx(prices.alone())
    assert alike[1] * each == pytest.approx(prices.alone(in_short=True))
    left = [found.costs.of(found.needs[i] - found.short_needs[i]) for i in ids]
    assert alike[2] * each == pytest.approx(left)
    # Where what they add is a sum, all of them together pay exactly what all nodes take.
    summed = prices.per_gain(each, lambda rows: 0.5 * len(rows))
    assert (summed[0] * each).sum() == pytest.approx(found.costs.of(frozenset().union(*found.needs.values())))
    assert (summed[1] * each).sum() == pytest.approx(found.costs.of(frozenset().union(*found.short_needs.values())))
    # What adds nothing takes for ever, and is no division by zero.
    nothing = prices.per_gain(np.zeros(len(ids)), lambda rows: 0.0)[0]
    assert np.isfinite(nothing).all()
    assert nothing.min() > 1e6


def test_it_comes_nearer_to_the_frontier_than_its_share_of_the_cost(plan: Plan):
    every = [measured(r) for r in plan.sweep.all_recipes]
    whole = Played(plan.sweep, plan)
    cost = whole.costs.of(frozenset().union(*whole.needs.values()))
    found = Played(plan.sweep, plan)
    while found.costs.of(found.there) < 0.5 * cost:
        found.go(1)
    assert share([t for t in found.finished.values() if t.state == "done"], every) > 0.97


def test_limits_are_kept_to_and_where_none_can_be_the_nearest_is_looked_for(plan: Plan):
    within = Played(trained_sweep(target={"limits": {"accuracy": 0.915}}), plan).go(16)
    done = [t for t in within.finished.values() if t.state == "done"]
    free = [t for t in Played(plan.sweep, plan).go(16).finished.values() if t.state == "done"]
    assert np.mean([t.accuracy.value >= 0.915 for t in done]) >= np.mean([t.accuracy.value >= 0.915 for t in free])
    never = Played(trained_sweep(target={"limits": {"size_bytes": 1000}}, search={"method": "gain"}), None).go(14)
    sizes = [t.size_bytes for t in never.finished.values()]
    # Nothing is that small: the smallest come early.
    assert min(sizes) == min(measured(r).size_bytes for r in plan.sweep.all_recipes)


def test_objectives_are_what_the_spec_says(plan: Plan):
    chosen = trained_sweep(search={"method": "gain", "objectives": ["size_bytes", "energy_mj", "top5"]})
    # What no trial has is nothing to look for.
    objectives, limits = Played(chosen, plan).chooser.scales([measured(Recipe())])
    assert [s.key for s in objectives] == ["size_bytes", "energy_mj"]
    assert limits == ()
    device = trained_sweep(target={"device": "stm32h7a3-xcubeai", "limits": {"energy_mj": 5.0}})
    objectives, limits = Played(device, plan).chooser.scales([measured(Recipe())])
    assert [(s.key, s.device) for s in objectives][:2] == [
        ("accuracy", "stm32h7a3-xcubeai"),
        ("size_bytes", "stm32h7a3-xcubeai"),
    ]
    assert limits == ()
    within = trained_sweep(target={"limits": {"energy_mj": 5.0, "top5": 0.9}})
    limits = Played(within, plan).chooser.scales([measured(Recipe())])[1]
    assert [(s.key, s.limit) for s in limits] == [("energy_mj", 5.0)]


def test_enough_ends_the_search_and_is_near_the_truth(plan: Plan):
    search = {"method": "gain", "screen": True, "enough": 0.99}
    found = Played(trained_sweep(search=search), plan).go()
    done = [t for t in found.finished.values() if t.state == "done"]
    assert len(found.finished) < len(plan.sweep.all_recipes)
    assert found.ask().found >= 0.99
    assert share(done, [measured(r) for r in plan.sweep.all_recipes]) > 0.97


def test_what_earlier_sweeps_have_measured_is_learnt_from(plan: Plan):
    every = [measured(r) for r in plan.sweep.all_recipes]
    # Another network: less right, and a third of the size, with the same options paying.
    other = [
        replace(t, accuracy=replace(t.accuracy, value=t.accuracy.value - 0.1), size_bytes=t.size_bytes // 3)
        for t in every
    ]

    def after(steps: int, earlier: tuple[Earlier, ...]) -> float:
        chosen = [trained_sweep(search={"method": "gain"}, seed=seed) for seed in range(2)]
        found = [Played(one, earlier=earlier).go(steps).finished.values() for one in chosen]
        return float(np.mean([share([*trials], every) for trials in found]))

    assert after(7, (Earlier(tuple(other), same_model=False),)) >= after(7, ()) - 0.005
    assert after(7, (Earlier(tuple(every), same_model=True),)) > after(7, ())


def test_a_recipe_that_cannot_be_had_in_short_is_measured_in_full(plan: Plan):
    found = Played(plan.sweep, plan).go(3)
    ids = [r.id for r in plan.sweep.all_recipes]
    prices = found.costs.prices([found.needs[i] for i in ids], [found.short_needs[i] for i in ids], found.there)
    while (step := found.chooser.next(found.finished, found.short, (), (), prices, ids)).recipe:
        assert not step.in_short
        found.answer(step)
    assert found.finished.keys() == set(ids)


def test_a_trial_in_short_is_worse_only_where_less_was_trained(plan: Plan):
    recipe = plan.sweep.all_recipes[-1]
    short = plan.shorts[recipe.id].recipe
    assert short != recipe
    assert seen_in_short(recipe, short).accuracy.value < measured(recipe).accuracy.value
