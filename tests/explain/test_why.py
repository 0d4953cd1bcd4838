"""Answers about a stored trial, on the shipped example: worked out once, then read from the store."""

from dataclasses import replace

import pytest

from engine.errors import InputError
from engine.explain import portability, why
from engine.measure.profile import Kernel, Profile
from engine.trials.evidence import Interval
from engine.trials.slices import Slice, Slices, WorstSlice
from tests.helpers.portability import made_portability


def test_why_sets_a_trial_beside_the_baseline_and_is_kept(example, monkeypatch):
    store, artifacts, sweep, ids = example
    found = why.why(store, artifacts, sweep, ids["int8"])
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
    assert why.why(store, artifacts, sweep, ids["int8"]) == found


def test_data_with_slices_say_where_a_trial_is_worst(example):
    store, _, sweep, ids = example
    trial = store.trial(sweep, ids["int8"])
    worst, drop = (WorstSlice("site", n, Interval(v, v - 0.02, v + 0.02)) for n, v in (("b", 0.81), ("c", 0.05)))
    found = why._about(replace(trial, slices=Slices("accuracy", (Slice("site", "b", 9),), worst, drop)))
    assert found["slices"].startswith(
        "Accuracy is worst in site b: 81.00 % (95 % interval of the worst of many 79.00 % to 83.00 %)"
    )
    assert "worse than the baseline by most in site c: " in found["slices"]
    assert "slices" not in why._about(trial)


def test_the_baseline_has_nothing_to_be_set_against(example):
    store, artifacts, sweep, ids = example
    with pytest.raises(InputError, match="is the baseline itself"):
        why.why(store, artifacts, sweep, ids["baseline"])


def test_an_answer_is_there_for_whoever_asks_next_and_not_before(example, monkeypatch):
    store, artifacts, sweep, ids = example
    spec, trials = store.spec(sweep), {t.id: t for t in store.trials(sweep)}
    trial, baseline = trials[ids["int8"]], trials[ids["baseline"]]
    assert why.kept_why(store, spec, trial, baseline) is None
    assert portability.kept_portability(store, spec, trial) is None
    kernels = (Kernel("a", "QLinearConv", "a", 1.0),)
    made = Profile(kernels, 1.1, 1, 1000, {"a": 1000}, {"a": 16})
    monkeypatch.setattr("engine.measure.operators.profile_pair", lambda *_: [made, made])
    found = why.why(store, artifacts, sweep, trial.id)
    assert why.kept_why(store, spec, trial, baseline) == found
    monkeypatch.setattr("engine.measure.portability.measure_portability", lambda *_: made_portability())
    found = portability.portability(store, artifacts, sweep, trial.id)
    assert portability.kept_portability(store, spec, trial) == found
    assert found["safe_recipe"][0]["weight_bits"] == 7
