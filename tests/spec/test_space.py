"""A space as recipes."""

from __future__ import annotations

import pytest

from engine.errors import SpecError
from engine.spec.recipe import Recipe
from engine.spec.space import expand_space
from engine.spec.steps import Finetune, Prune
from engine.spec.sweep import parse_sweep
from tests.helpers.specs import SPEC


def test_every_combination_is_a_recipe_and_the_baseline_comes_first():
    recipes = parse_sweep(SPEC).all_recipes
    assert len(recipes) == 2 * 4 * 3
    assert recipes[0] == Recipe()
    assert len({r.id for r in recipes}) == len(recipes)


def test_finetuning_after_pruning_is_a_step_of_its_own_so_that_sweeps_share_the_pruned_network():
    recipes = expand_space(
        {"prune": {"method": "channel", "ratio": 0.5, "finetune_epochs": [0, 1, 2], "finetune_samples": 100}}
    )
    pruned = Prune(method="channel", ratio=0.5)
    assert [r.steps for r in recipes[1:]] == [
        (pruned,),
        (pruned, Finetune(epochs=1, samples=100)),
        (pruned, Finetune(epochs=2, samples=100)),
    ]


def test_rounds_reach_the_ratio_in_ever_smaller_steps_with_training_between():
    recipe = expand_space(
        {"prune": {"method": "magnitude", "ratio": 0.8, "rounds": 3, "finetune_epochs": 1, "finetune_augment": "shift"}}
    )[1]
    prunings = [s.ratio for s in recipe.steps if isinstance(s, Prune)]
    assert prunings == [0.563, 0.7704, 0.8]
    assert [s.step for s in recipe.steps] == ["prune", "finetune"] * 3
    assert {s.augment for s in recipe.steps if isinstance(s, Finetune)} == {"shift"}


def test_equal_recipes_appear_once():
    twice = {"quantize": [None, {"weight_bits": [8, 8], "activation_bits": 8}, None]}
    assert len(expand_space(twice)) == 2


def test_the_order_of_the_space_is_the_order_of_the_steps():
    space = {"prune": {"method": "magnitude", "ratio": 0.5}, "distill": {"student": "current"}}
    assert [s.step for s in expand_space(space)[1].steps] == ["prune", "distill"]
    reversed_space = dict(reversed(space.items()))
    assert parse_sweep({**SPEC, "space": space}).id != parse_sweep({**SPEC, "space": reversed_space}).id


def test_a_space_beyond_all_reason_is_refused_before_it_is_made():
    huge = {"prune": {"method": "magnitude", "ratio": [0.5] * 1000}, "quantize": {"weight_bits": [8] * 1000}}
    with pytest.raises(SpecError, match=r"space: 1,000,000 combinations are more than 100,000"):
        expand_space(huge)
