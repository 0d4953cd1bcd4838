"""Answers about a stored trial, on the shipped example: worked out once, then read from the store."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from engine.cli import __main__ as cli
from engine.errors import InputError
from engine.explain import insight
from engine.measure.diagnose import Kernel, Profile
from engine.run.plan import make_plan
from engine.spec.steps import Prune, Quantize, Recipe
from engine.store.artifacts import Artifacts
from engine.store.store import NodeRow, Store

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


def test_an_answer_is_there_for_whoever_asks_next_and_not_before(example, monkeypatch):
    store, artifacts, sweep, ids = example
    spec, trials = store.spec(sweep), {t.id: t for t in store.trials(sweep)}
    trial, baseline = trials[ids["int8"]], trials[ids["baseline"]]
    assert insight.kept_why(store, spec, trial, baseline) is None
    assert insight.kept_portability(store, spec, trial) is None
    kernels = (Kernel("a", "QLinearConv", "a", 1.0),)
    made = Profile(kernels, 1.1, 1, 1000, {"a": 1000}, {"a": 16})
    monkeypatch.setattr("engine.measure.operators.profile_pair", lambda *_: [made, made])
    found = insight.why(store, artifacts, sweep, trial.id)
    assert insight.kept_why(store, spec, trial, baseline) == found
    monkeypatch.setattr("engine.measure.saturation.measure_portability", lambda *_: made_portability())
    found = insight.portability(store, artifacts, sweep, trial.id)
    assert insight.kept_portability(store, spec, trial) == found
    assert found["safe_recipe"][0]["weight_bits"] == 7


def made_portability():
    from engine.measure.saturation import LayerSaturation, Portability

    return Portability("harmful", 500, 0.93, 0.9, 20, 16, 1, 0.001, (LayerSaturation("a", True, 0.01, 0.2),))


def test_raw_samples_of_the_example_ship_with_it_and_are_those_that_its_latency_was_made_of(example):
    store, _, sweep, ids = example
    spec, trials = store.spec(sweep), store.trials(sweep)
    for trial in trials:
        found = insight.latency_samples(store, spec, trial)
        assert len(found.trial_ms) > 500
        if trial.id == ids["baseline"]:
            assert found.baseline_ms == ()
            continue
        ratio = statistics.median(found.trial_ms) / statistics.median(found.baseline_ms)
        # The interval is of ratios block by block; whole medians lie close to it.
        assert trial.latency_ratio.low * 0.9 < ratio < trial.latency_ratio.high * 1.1


def test_raw_samples_of_a_latency_are_found_through_the_plan_on_the_machine_that_took_them(
    example, monkeypatch, tmp_path
):
    store, _, sweep, ids = example
    monkeypatch.setattr(insight, "EXAMPLE", tmp_path)
    spec, trials = store.spec(sweep), {t.id: t for t in store.trials(sweep)}
    for label in ("int8", "baseline"):
        trial = trials[ids[label]]
        # What ships of the example are its records, not its nodes.
        assert insight.latency_samples(store, spec, trial) is None
        plan = make_plan(spec, trial.machine)
        key = next(c.latency for c in plan.chains if c.recipe == trial.recipe)
        blocks = [[[0.1, 0.2], [0.3]], [[0.4]]]
        processes = [{"candidate_ms": b, "baseline_ms": [[1.0]] if label == "int8" else []} for b in blocks]
        store.save_node(NodeRow(key, "latency", 1.0, 1.0, {"processes": processes}))
        found = insight.latency_samples(store, spec, trial)
        assert found.trial_ms == (0.1, 0.2, 0.3, 0.4)
        assert found.baseline_ms == ((1.0, 1.0) if label == "int8" else ())
        elsewhere = replace(trial, machine=replace(trial.machine, fingerprint="0" * 64))
        assert insight.latency_samples(store, spec, elsewhere) is None
        assert insight.latency_samples(store, spec, replace(trial, timing=None)) is None


def test_only_files_that_multiply_integers_can_saturate():
    assert insight.computes_in_integers(Recipe(steps=(INT8,)))
    assert not insight.computes_in_integers(Recipe(steps=(Quantize(weight_bits=4, activation_bits=32),)))
    assert not insight.computes_in_integers(Recipe())
