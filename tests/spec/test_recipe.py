"""Recipes: stages, names, JSON."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.spec.recipe import Recipe
from engine.spec.space import expand_space
from tests.helpers.specs import quantizers, steps


def test_each_stage_of_a_recipe_is_a_recipe_and_pruning_counts_with_its_training():
    recipe = expand_space(
        {
            "distill": {"student": "ds_cnn"},
            "prune": {"method": "channel", "macs_ratio": 0.5, "finetune_epochs": 1},
            "quantize": {"weight_bits": 8, "activation_bits": 8},
        }
    )[1]
    assert [[s.step for s in r.steps] for r in recipe.stages] == [
        [],
        ["distill"],
        ["distill", "prune", "finetune"],
        ["distill", "prune", "finetune", "quantize"],
    ]
    assert Recipe().stages == (Recipe(),)


@given(st.lists(steps, max_size=3), st.lists(quantizers, max_size=1))
def test_recipes_survive_json(torch_steps, onnx_steps):
    recipe = Recipe(steps=(*torch_steps, *onnx_steps))
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.id == recipe.id
