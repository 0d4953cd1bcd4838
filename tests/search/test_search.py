"""Searching: every recipe once, the same choice from the same measurements, and better than chance where it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from engine.frontier import dominance
from engine.search.search import START, Chooser
from engine.search.search_space import space_of
from engine.spec.recipe import Recipe
from engine.trials.trial import Trial
from tests.helpers.search_cases import SMALL, SPACE, measured, share, sweep, walk
from tests.helpers.trial_factory import trial

METHODS = ("random", "nsga2", "tpe", "gp")
QUICK = ("random", "nsga2", "tpe")
"""Without the Gaussian process, which takes a second for each choice."""


def axes(recipes: tuple[Recipe, ...]) -> dict[str, tuple[str, ...]]:
    return {axis.name: axis.values for axis in space_of(recipes).axes}


def test_axes_are_what_is_swept_in_order_with_a_place_for_not_there():
    found = axes(sweep("random").all_recipes)
    assert found == {
        "distill": ("", '"distill"'),
        "prune.method": ("", '"channel"', '"magnitude"'),
        # Nothing pruned comes before a little, no quantization after 8 bits.
        "prune.ratio": ("", "0.25", "0.5", "0.7", "0.9"),
        "quantize.weight_bits": ("2", "3", "4", "6", "8", ""),
        "quantize.activation_bits": ("8", "32", ""),
        "quantize.per_channel": ("", "true", "false"),
    }


def test_every_recipe_has_a_place_of_its_own_also_where_only_the_order_differs():
    prune, distill = {"step": "prune", "method": "nm"}, {"step": "distill", "student": "current"}
    listed = [[prune, distill], [distill, prune], [prune, prune], [distill]]
    recipes = sweep("random", space=SMALL, recipes=listed).all_recipes
    codes = space_of(recipes).codes
    assert len(np.unique(codes, axis=0)) == len(recipes)
    assert "order" in axes(recipes)
    assert "order" not in axes(sweep("random").all_recipes)


def test_rounds_of_pruning_are_told_by_one_ratio():
    rounds = {"prune": [None, {"method": "channel", "ratio": [0.3, 0.6], "rounds": 3, "finetune_epochs": 1}]}
    assert len(axes(sweep("random", space=rounds).all_recipes)) == 1


@pytest.mark.parametrize("method", METHODS)
def test_every_recipe_is_measured_once_the_baseline_first_and_listed_ones_too(method: str):
    listed = [[{"step": "prune", "method": "nm"}, {"step": "distill", "student": "current"}]]
    space = {"prune": [None, {"method": "magnitude", "ratio": [0.5, 0.9]}], "quantize": SPACE["quantize"][2:]}
    chosen = sweep(method, space={**space, "quantize": [None, *space["quantize"]]}, recipes=listed)
    trials = walk(chosen, len(chosen.all_recipes))
    assert trials[0].recipe == Recipe()
    assert len({t.id for t in trials}) == len(chosen.all_recipes) == 13
    assert Chooser(chosen).next(trials) is None


@pytest.mark.parametrize("method", METHODS)
def test_the_same_measurements_lead_to_the_same_choice_in_whatever_order_they_came(method: str):
    going_on = walk(sweep(method), START + 4)
    known = going_on[: START + 3]
    # As after a kill: nothing is left but what the store has, in the order of the plan.
    assert Chooser(sweep(method)).next(sorted(known, key=lambda t: t.id)).id == going_on[-1].id


@pytest.mark.parametrize("method", QUICK)
def test_another_seed_goes_another_way(method: str):
    first, second = ([t.id for t in walk(sweep(method, seed), START + 5)] for seed in (0, 1))
    assert first != second
    assert first == [t.id for t in walk(sweep(method), START + 5)]


@pytest.mark.parametrize("method", QUICK)
def test_what_is_under_way_or_failed_is_not_chosen_again(method: str):
    finished = walk(sweep(method), START + 2)
    chooser = Chooser(sweep(method))
    busy = []
    for _ in range(4):
        busy.append(chooser.next(finished, busy).id)
    failed = [Trial(t.id, t.recipe, state="failed", error="no") for t in finished[-2:]]
    found = chooser.next([*finished[:-2], *failed], busy)
    assert len({*busy, *(t.id for t in finished), found.id}) == 4 + len(finished) + 1


@pytest.mark.parametrize("method", QUICK)
def test_recipes_that_failed_in_an_earlier_run_come_last(method: str):
    chosen = sweep(method, space=SMALL)
    doomed = {r.id for r in chosen.all_recipes[5:8]}
    chooser, finished = Chooser(chosen, doomed), []
    while recipe := chooser.next(finished):
        finished.append(measured(recipe))
    assert {t.id for t in finished[-3:]} == doomed
    assert len(finished) == len(chosen.all_recipes)


def test_combinations_that_the_space_leaves_out_are_answered_with_a_neighbour():
    # A cross: one knob at a time, so most points of the flat space name no recipe.
    steps = [[{"step": "prune", "method": "magnitude", "ratio": r}] for r in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)]
    steps += [[{"step": "quantize", "weight_bits": b, "activation_bits": 32}] for b in range(2, 9)]
    for method in ("nsga2", "tpe"):
        chosen = sweep(method, space={}, recipes=steps)
        assert len({t.id for t in walk(chosen, 15)}) == 15


def mean_share(method: str, steps: int, seeds: range) -> float:
    every = [measured(r) for r in sweep(method).all_recipes]
    return float(np.mean([share(walk(sweep(method, seed), steps), every) for seed in seeds]))


def test_samplers_that_learn_come_nearer_to_the_frontier_than_chance():
    assert mean_share("tpe", 30, range(3)) > mean_share("random", 30, range(3)) + 0.02
    # Evolution takes longer; with budgets of this size it is only not worse.
    assert mean_share("nsga2", 50, range(6)) > mean_share("random", 50, range(6)) - 0.01
    assert mean_share("gp", 17, range(1)) > mean_share("random", 17, range(1)) + 0.05


def test_limits_of_the_target_are_searched_within():
    limited = {"target": {"limits": {"accuracy": 0.92}}}

    def kept(method: str, **more) -> float:
        later = [t for seed in range(2) for t in walk(sweep(method, seed, **more), 40)[START:]]
        return float(np.mean([t.accuracy.value >= 0.92 for t in later]))

    for method in ("tpe", "nsga2"):
        assert kept(method, **limited) > kept("random", **limited) + 0.1
    assert kept("nsga2", **limited) > kept("nsga2") + 0.05


def test_a_limit_that_nothing_was_measured_for_counts_as_missed():
    chooser = Chooser(sweep("tpe", target={"limits": {"energy_mj": 1.0, "accuracy": 0.9}}))
    known = measured(Recipe())
    found = chooser._told([known, replace(measured(chooser.recipes[1]), projections={})], ())
    assert found.missed[:, 0].tolist() == [1.0, 1.0]
    assert found.missed[0, 1] == pytest.approx((0.9 - 0.93) / 0.9)


def test_latency_is_an_objective_where_it_is_measured_and_agreement_where_labels_are_missing():
    timed = Chooser(sweep("tpe", measure={"latency": {}}))
    with_time, without = trial(latency_ms=2.0), trial(timed.recipes[1], latency_ms=None)
    found = timed._told([with_time, without], ())
    assert found.maximise == (True, False, False)
    assert found.values.tolist() == [[0.9, math.log(100_000), math.log(2.0)]]
    unlabelled = Chooser(sweep("tpe"))
    assert unlabelled._objectives([trial(accuracy=None)]) == ("agreement", "size_bytes")


def test_many_trials_are_learnt_from_by_their_frontier(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.search.search._LEARNS_FROM", {"tpe": 12})
    chooser = Chooser(sweep("tpe"))
    told = chooser._told([measured(r) for r in chooser.recipes], ())
    some = chooser._thinned(told, np.random.default_rng(0))
    front = set(told.rows[dominance.non_dominated(told.values, told.maximise)].tolist())
    assert len(some.rows) == 12 < len(front)
    assert set(some.rows.tolist()) <= front
    assert some.values.tolist() == told.values[some.rows].tolist()


def test_the_gaussian_process_names_recipes_that_are_left_and_nothing_else():
    from engine.search.samplers import suggestions

    chooser = Chooser(sweep("gp"))
    told = chooser._told([measured(r) for r in chooser.recipes[:30]], [chooser.recipes[40].id])
    left = np.arange(100, 120)
    points = list(suggestions("gp", chooser.space, told, left, 0, 2))
    assert len(points) == 2
    assert {p.tobytes() for p in points} <= {chooser.space.codes[i].tobytes() for i in left}
