"""Recipes in short: fewer epochs, or fewer samples of one; what does not train is itself."""

from __future__ import annotations

import pytest

from engine.spec.recipe import Recipe
from engine.spec.screening import FEWEST, in_short, shortened

QAT = {"step": "quantize", "weight_bits": 2, "activation_bits": 8, "method": "qat"}
LISTED = (
    ([], [], ""),
    (
        [{"step": "quantize", "weight_bits": 4, "activation_bits": 32}],
        [{"step": "quantize", "weight_bits": 4, "activation_bits": 32}],
        "",
    ),
    ([{"step": "finetune", "epochs": 8}], [{"step": "finetune", "epochs": 2}], "2 of 8 epochs"),
    ([{"step": "finetune", "epochs": 2, "samples": 500}], [{"step": "finetune", "epochs": 1, "samples": 500}], "1 of 2 epochs"),
    ([{"step": "finetune"}], [{"step": "finetune", "samples": 1000}], "1000 samples of training"),
    ([{"step": "finetune", "samples": 100}], [{"step": "finetune", "samples": 100}], ""),
    ([{"step": "finetune", "samples": 600}], [{"step": "finetune", "samples": FEWEST}], "256 samples of training"),
    (
        [{"step": "distill", "student": "ds_cnn", "epochs": 4}, {**QAT, "epochs": 3}],
        [{"step": "distill", "student": "ds_cnn", "epochs": 1}, {**QAT, "epochs": 1}],
        "1 of 4 epochs and 1 of 3 epochs",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("whole", "short", "words"), LISTED)
def test_a_quarter_of_each_training(whole: list[dict], short: list[dict], words: str):
    recipe = Recipe.from_json(whole)
    found = shortened(recipe, 0.25, lambda: 4000)
    assert found == Recipe.from_json(short)
    assert in_short(recipe, found) == words
    assert (found is recipe) == (whole == short)


def test_the_data_are_asked_for_their_size_only_where_a_step_does_not_say():
    def nobody() -> int:
        raise AssertionError("asked")

    shortened(Recipe.from_json([{"step": "finetune", "epochs": 3}]), 0.5, nobody)
    with pytest.raises(AssertionError):
        shortened(Recipe.from_json([{"step": "finetune"}]), 0.5, nobody)
