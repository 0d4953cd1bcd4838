"""Cells -> a recipe that rounds those layers so, and what it would save."""

from __future__ import annotations

import pytest

from engine.errors import InputError
from engine.explain.layer_recipe import FLOAT, totals, with_layers, within
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.spec.steps import Prune, Quantize


def found(**step: object) -> dict[str, object]:
    """Three layers of which the middle one is sensitive and the last one is shared by a fourth."""

    def cells(harms: dict[int, float], size: int) -> list[dict[str, object]]:
        return [
            {
                "bits": b,
                "harm": {"value": h, "low": h - 0.1, "high": h + 0.1},
                "bytes_saved": size * (32 - b),
                "ms_saved": 0.5,
            }
            for b, h in harms.items()
        ]

    rows = (
        ("a", {8: 0.0, 4: 0.2, 2: 0.6}, []),
        ("b", {8: 0.4, 4: 2.0, 2: 9.0}, []),
        ("c", {8: 0.0, 4: 0.1, 2: 0.1}, ["d"]),
    )
    stated = Quantize(weight_bits=8, activation_bits=8, **step).model_dump(mode="json")
    return {
        "step": {k: v for k, v in stated.items() if v is not None},
        "layers": [{"name": n, "also": also, "cells": cells(h, 10 * (i + 1))} for i, (n, h, also) in enumerate(rows)],
    }


def test_picked_layers_have_their_bits_and_the_others_stay_in_float():
    recipe = with_layers(found(), Recipe(), {"a": 4, "c": 8}, FLOAT)
    (step,) = recipe.steps
    assert isinstance(step, Quantize)
    assert (step.weight_bits, step.activation_bits) == (8, 8)
    assert dict(step.layers) == {"a": 4, "b": 32}


def test_others_have_their_width_and_only_what_is_special_is_stated():
    (step,) = with_layers(found(), Recipe(), {"b": 8}, 3).steps
    assert (step.weight_bits, step.ends_8bit, dict(step.layers)) == (3, False, {"b": 8})
    (all_alike,) = with_layers(found(), Recipe(), {}, 4).steps
    assert all_alike.layers == "uniform"
    (shared,) = with_layers(found(), Recipe(), {"c": 2}, 8).steps
    assert dict(shared.layers) == {"c": 2, "d": 2}


def test_steps_before_and_the_runtime_stay_and_the_old_rounding_goes():
    pruned, how = Prune(method="channel", ratio=0.25), Runtime(threads=2)
    before = Recipe(steps=(pruned, Quantize(weight_bits=4, activation_bits=32, mean_bits=3), how))
    recipe = with_layers(found(format="u8u8"), before, {"a": 2}, 8)
    assert recipe.steps[0] == pruned
    assert recipe.steps[-1] == how
    assert (recipe.steps[1].format, recipe.steps[1].mean_bits, dict(recipe.steps[1].layers)) == ("u8u8", None, {"a": 2})


def test_nothing_to_round_is_no_recipe():
    with pytest.raises(InputError, match="every layer stays in float"):
        with_layers(found(), Recipe(), {}, FLOAT)


def test_the_fewest_bits_within_a_loss():
    assert within(found(), 0.5) == {"a": 4, "b": 8, "c": 2}
    assert within(found(), 0.1) == {"a": 8, "c": 2}


def test_what_it_saves_is_added_up():
    assert totals(found(), {"a": 4, "b": 8}, FLOAT) == {"bytes": 280 + 480, "ms": 1.0, "harm": pytest.approx(0.6)}
    assert totals(found(), {"a": 4}, 8)["bytes"] == 280 + 480 + 720
    unknown = found()
    unknown["layers"][0]["cells"][0]["ms_saved"] = None
    assert totals(unknown, {"a": 8}, FLOAT)["ms"] is None
