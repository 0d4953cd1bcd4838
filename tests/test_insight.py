"""Answers about a stored trial, on the shipped example: worked out once, then read from the store."""

import json
from pathlib import Path

import pytest

from engine import cli, insight
from engine.artifacts import Artifacts
from engine.errors import InputError
from engine.steps import Prune, Quantize, Recipe
from engine.store import Store

INT8 = Quantize(weight_bits=8, activation_bits=8)


@pytest.fixture
def example(home: Path):
    store = Store.open()
    (row,) = store.sweeps()
    return store, Artifacts.open(), row.id, {t.label: t.id for t in store.trials(row.id)}


def test_why_sets_a_trial_beside_the_baseline_and_is_kept(example, monkeypatch):
    store, artifacts, sweep, ids = example
    found = insight.why(store, artifacts, sweep, ids["int8"])
    assert (found["label"], found["macs_saved"]) == ("int8", 0)
    assert {"QLinearConv", "Conv"} <= {row["name"] for row in found["by_type"]}
    layers = {row["name"]: row for row in found["by_layer"]}
    assert layers["/1/conv1/conv1.0/Conv"]["trial_ms"] > 0
    assert layers["/1/conv1/conv1.0/Conv"]["baseline_ms"] > 0
    assert (
        layers["/1/conv1/conv1.0/Conv"]["trial_macs"]
        == layers["/1/conv1/conv1.0/Conv"]["baseline_macs"]
        == 28 * 28 * 16 * 16 * 9
    )
    assert found["advice"]
    monkeypatch.setattr("engine.measure.operators.profile_pair", lambda *_: pytest.fail("it was worked out already"))
    assert insight.why(store, artifacts, sweep, ids["int8"]) == found


def test_the_baseline_has_nothing_to_be_set_against(example):
    store, artifacts, sweep, ids = example
    with pytest.raises(InputError, match="is the baseline itself"):
        insight.why(store, artifacts, sweep, ids["baseline"])


def test_portability_of_an_int8_trial_comes_with_a_recipe_that_is_safe(example, monkeypatch, capsys):
    store, artifacts, sweep, ids = example
    monkeypatch.setattr(insight, "CALIBRATION_IMAGES", 10)
    arguments = ["paretoscope", "portability", sweep, ids["distil ds_cnn · int8"], "--samples", "30", "--json"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 30
    assert found["risk"] in {"unseen", "harmless", "harmful"}
    assert any(layer["possible"] for layer in found["layers"])
    recipe = Recipe.from_json(found["safe_recipe"])
    assert recipe.steps[-1].weight_bits == 7
    assert recipe.label == "distil ds_cnn · w7a8"
    monkeypatch.setattr("engine.measure.saturation.measure_portability", lambda *_: pytest.fail("known already"))
    again = insight.portability(store, artifacts, sweep, ids["distil ds_cnn · int8"], 30)
    assert again == found


def test_a_float_file_is_refused_in_one_line(example):
    store, artifacts, sweep, ids = example
    with pytest.raises(InputError, match="no integer layers"):
        insight.portability(store, artifacts, sweep, ids["4-bit weights"], 5)


def test_the_safe_recipe_changes_the_bits_and_nothing_else():
    pruned = Prune(method="magnitude", ratio=0.5)
    safe = insight.safe_recipe(Recipe(steps=(pruned, INT8)))
    assert safe is not None
    assert safe.steps == (pruned, INT8.model_copy(update={"weight_bits": 7}))
    assert Recipe.from_json(safe.to_json()) == safe
    assert insight.safe_recipe(safe) is None
    assert insight.safe_recipe(Recipe(steps=(Quantize(weight_bits=8, activation_bits=32),))) is None
