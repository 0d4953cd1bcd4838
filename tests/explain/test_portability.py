"""How an int8 file would answer on CPUs without VNNI, and the recipe that is safe there."""

from __future__ import annotations

import json

import pytest

from engine.cli import __main__ as cli
from engine.errors import InputError
from engine.explain import portability
from engine.measure.emulation import runtime_sums
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune, Quantize

INT8 = Quantize(weight_bits=8, activation_bits=8)


def test_portability_of_an_int8_trial_comes_with_a_recipe_that_is_safe(example, monkeypatch, capsys):
    store, artifacts, sweep, ids = example
    monkeypatch.setattr(portability, "CALIBRATION_IMAGES", 10)
    arguments = ["paretoscope", "portability", sweep, ids["distil ds_cnn (2×25k) · int8"], "--samples", "30", "--json"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 30
    assert found["risk"] in {"unseen", "harmless", "harmful"}
    assert found["here"] == runtime_sums()
    assert any(layer["possible"] for layer in found["layers"])
    recipe = Recipe.from_json(found["safe_recipe"])
    assert recipe.steps[-1].weight_bits == 7
    assert recipe.label == "distil ds_cnn (2×25k) · w7a8"
    monkeypatch.setattr("engine.measure.portability.measure_portability", lambda *_: pytest.fail("known already"))
    again = portability.portability(store, artifacts, sweep, ids["distil ds_cnn (2×25k) · int8"], 30)
    assert again == found


def test_a_float_file_is_refused_in_one_line(example):
    store, artifacts, sweep, ids = example
    with pytest.raises(InputError, match="no integer layers"):
        portability.portability(store, artifacts, sweep, ids["4-bit weights"], 5)


def test_the_safe_recipe_changes_the_bits_and_nothing_else():
    pruned = Prune(method="magnitude", ratio=0.5)
    safe = portability.safe_recipe(Recipe(steps=(pruned, INT8)))
    assert safe is not None
    assert safe.steps == (pruned, INT8.model_copy(update={"weight_bits": 7}))
    assert Recipe.from_json(safe.to_json()) == safe
    assert portability.safe_recipe(safe) is None
    assert portability.safe_recipe(Recipe(steps=(Quantize(weight_bits=8, activation_bits=32),))) is None


def test_only_files_that_multiply_integers_can_saturate():
    assert portability.computes_in_integers(Recipe(steps=(INT8,)))
    assert not portability.computes_in_integers(Recipe(steps=(Quantize(weight_bits=4, activation_bits=32),)))
    assert not portability.computes_in_integers(Recipe())
