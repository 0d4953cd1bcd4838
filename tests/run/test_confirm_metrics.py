"""Held-back samples confirm what a sweep is judged by, whatever that is: a metric of each sample, of the set, or of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from engine.datasets.load import load_dataset
from engine.errors import InputError
from engine.export.card import card
from engine.run.confirm import confirm_trial
from engine.spec.read import read_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.text import confirmation_text
from engine.trials.trial import Trial
from tests.helpers.regression import regression_problem
from tests.helpers.run_here import swept
from tests.helpers.tiny import write_problem

QUANTIZE = "space={quantize: {weight_bits: 4, activation_bits: 8, calibration_samples: 32, rounding: nearest}}"
SPEC = """
name: values
model: {source: "net.py:build", weights: net.pt}
data: {source: d.npz, task: regression, preprocess: standardize}
measure: {latency: null, held_back: 0.4}
"""


@pytest.fixture
def values(place: Path) -> Path:
    regression_problem(place)
    (place / "own.py").write_text(
        "import numpy as np\ndef near(outputs, targets):\n    return np.abs(outputs.ravel() - targets.ravel()) < 1\n"
    )
    spec = place / "values.yaml"
    spec.write_text(SPEC)
    return spec


def _by_hand(sweep, trials) -> tuple[list[np.ndarray], np.ndarray]:
    """What the files of trials say of the held-back samples, and their targets."""
    data = load_dataset(sweep.data)
    split = data.test.held_back(0.4)
    x = data.preprocessing(split.inputs)
    sessions = [onnxruntime.InferenceSession(Artifacts.open().local(t.artifact)) for t in trials]
    return [s.run(None, {s.get_inputs()[0].name: x})[0].ravel() for s in sessions], split.targets.ravel()


METRICS = {
    "metric={name: mae, unit: K}": lambda y, t: np.abs(y - t).mean(),
    "metric=r2": lambda y, t: 1 - np.square(y - t).sum() / np.square(t - t.mean()).sum(),
    'metric={source: "own.py:near", higher_is_better: true, unit: "%"}': lambda y, t: (np.abs(y - t) < 1).mean(),
}


@pytest.mark.parametrize("metric", METRICS)
def test_a_trial_is_confirmed_by_the_metric_on_samples_that_nothing_else_has_seen(metric, values: Path):
    sweep, trials, _ = swept(values, QUANTIZE, metric)
    n = len(load_dataset(sweep.data).test)
    store, artifacts = Store.open(), Artifacts.open()
    confirmed = confirm_trial(store, artifacts, sweep.id, trials[1].id)
    found = confirmed.confirmation
    (before, after), targets = _by_hand(sweep, trials)
    assert found.score.n == len(targets) == n - trials[1].score.n
    assert found.accuracy is None
    assert found.score.value == pytest.approx(METRICS[metric](after, targets), rel=1e-4)
    assert found.baseline == pytest.approx(METRICS[metric](before, targets), rel=1e-4)
    assert found.score.vs_baseline.value == pytest.approx(found.score.value - found.baseline, abs=1e-9)
    assert found.score.low < found.score.value < found.score.high
    assert 0 < found.score.p_vs_baseline <= 1
    assert store.trial(sweep.id, trials[1].id).confirmation == found
    assert Trial.from_json(json.loads(json.dumps(confirmed.to_json()))) == confirmed
    # Asked again, and after another run, it says the same.
    assert confirm_trial(store, artifacts, sweep.id, trials[1].id).confirmation == found
    assert swept(values, QUANTIZE, metric)[1][1].confirmation == found
    assert confirm_trial(store, artifacts, sweep.id, trials[0].id).confirmation.score.p_vs_baseline is None
    text = confirmation_text(confirmed)
    assert f"on {len(targets)} held-back samples" in text
    assert "against the baseline’s" in text
    told = card(confirmed, sweep, load_dataset(sweep.data), trials[0], 10, "1")
    assert f"{sweep.metric.title}, confirmed" in told
    assert text in told


def test_another_function_of_the_same_name_is_another_confirmation(values: Path):
    metric = 'metric={source: "own.py:near", higher_is_better: true, unit: "%"}'
    sweep, trials, _ = swept(values, QUANTIZE, metric)
    store, artifacts = Store.open(), Artifacts.open()
    first = confirm_trial(store, artifacts, sweep.id, trials[1].id).confirmation
    own = values.parent / "own.py"
    own.write_text(own.read_text().replace("< 1", "< 3"))
    _, again, _ = swept(values, QUANTIZE, metric)
    assert again[1].confirmation is None
    second = confirm_trial(store, artifacts, sweep.id, again[1].id).confirmation
    assert second.score.value > first.score.value


def test_a_metric_of_classes_is_confirmed_beside_their_accuracy(place: Path):
    quantize = "space={quantize: {weight_bits: 8, activation_bits: 8, calibration_samples: 32, rounding: nearest}}"
    sweep, trials, _ = swept(write_problem(place), quantize, "measure.held_back=0.2", "metric=macro_f1")
    found = confirm_trial(Store.open(), Artifacts.open(), sweep.id, trials[1].id).confirmation
    assert (found.score.n, found.accuracy.n) == (60, 60)
    assert found.judged is found.score


def test_closeness_to_the_baseline_is_not_confirmed(values: Path):
    data = np.load(values.parent / "d.npz")
    np.savez(values.parent / "d.npz", x=data["x"])
    values.write_text(SPEC.replace("regression", "fidelity"))
    sweep, trials, _ = swept(values, QUANTIZE)
    with pytest.raises(
        InputError, match="judged by how close outputs are to the baseline's, which needs no confirming; give"
    ):
        confirm_trial(Store.open(), Artifacts.open(), sweep.id, trials[1].id)
    assert read_sweep(values).metric is None
