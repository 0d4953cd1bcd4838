"""From predictions to records in whole sweeps: held-back images, seeds, missing labels, two machines, and input that is no good.

The nodes of a plan are run here one after another; what the cluster adds is tested in test_run.py.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engine.datasets.load import load_dataset
from engine.errors import InputError, NotFoundError
from engine.measure.accuracy import predict
from engine.measure.machine import machine
from engine.run.assemble import assemble
from engine.run.confirm import confirm_trial
from engine.run.planner import make_plan
from engine.run.task import Task
from engine.spec.read import read_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.run_here import swept
from tests.helpers.tiny import images, write_problem
from tests.helpers.tiny_onnx import conv_net

PRUNE = "prune: [null, {method: channel, ratio: 0.5, finetune_epochs: 1}]"
QUANTIZE = "quantize: [null, {weight_bits: 8, activation_bits: 8, calibration_samples: 32}]"
PRUNED, QUANTIZED = f"space={{{PRUNE}, {QUANTIZE}}}", f"space={{{QUANTIZE}}}"


def test_held_back_images_confirm_a_trial_once_and_nothing_else_sees_them(place: Path):
    spec = write_problem(place)
    sweep, trials, _ = swept(spec, QUANTIZED, "measure.held_back=0.2")
    data = load_dataset(sweep.data)
    assert [t.accuracy.n for t in trials] == [240, 240]
    store, artifacts = Store.open(), Artifacts.open()
    found = confirm_trial(store, artifacts, sweep.id, trials[1].id).confirmation
    split = data.test.held_back(0.2)
    by_hand = predict(artifacts.local(trials[1].artifact), split, data.preprocessing, 3).right
    before = predict(artifacts.local(trials[0].artifact), split, data.preprocessing, 3).right
    assert (found.accuracy.value, found.accuracy.n, found.order) == (by_hand.mean(), 60, 1)
    assert found.baseline == before.mean()
    assert found.accuracy.vs_baseline.value == pytest.approx(by_hand.mean() - before.mean())
    assert store.trial(sweep.id, trials[1].id).confirmation == found
    # Asked again it says the same, and does not count as another look.
    assert confirm_trial(store, artifacts, sweep.id, trials[1].id).confirmation == found
    assert confirm_trial(store, artifacts, sweep.id, trials[0].id).confirmation.order == 2
    # Running the sweep again writes every trial anew.
    _, again, _ = swept(spec, QUANTIZED, "measure.held_back=0.2")
    assert again[1].confirmation == found
    assert Trial.from_json(json.loads(json.dumps(again[1].to_json()))) == again[1]


def test_what_cannot_be_confirmed_is_told_in_one_line(place: Path):
    spec = write_problem(place)
    sweep, trials, _ = swept(spec, QUANTIZED)
    store, artifacts = Store.open(), Artifacts.open()
    with pytest.raises(InputError, match=r"held no test images back; write `measure: \{held_back: 0.2\}`"):
        confirm_trial(store, artifacts, sweep.id, trials[0].id)
    with pytest.raises(NotFoundError):
        confirm_trial(store, artifacts, sweep.id, "none")
    other = read_sweep(spec, (QUANTIZED, "measure.held_back=0.5", "name=other"))
    store.begin(other, [Trial(t.recipe.id, t.recipe) for t in trials], 1, 0)
    with pytest.raises(InputError, match="still running"):
        confirm_trial(store, artifacts, other.id, trials[0].id)
    store.end(other.id, "done")
    with pytest.raises(InputError, match="no measured model to confirm: pending"):
        confirm_trial(store, artifacts, other.id, trials[0].id)


def test_a_recipe_that_trains_is_run_with_every_seed_and_one_that_does_not_is_not(place: Path):
    sweep, trials, plan = swept(write_problem(place), PRUNED, "replicates=3", "seed=5")
    kinds = [n.kind for n in plan.nodes.values()]
    # Pruning draws no random numbers: one network, trained three times, quantized three times.
    assert [kinds.count(k) for k in ("source", "prune", "finetune", "quantize", "accuracy")] == [1, 1, 3, 4, 8]
    assert sorted(n.seed for n in plan.nodes.values() if n.kind == "finetune") == [5, 6, 7]
    by_label = {t.label: t for t in trials}
    assert [t.seeds is None for t in trials] == [True, True, False, False]
    pruned = by_label["channels −50 % · finetune 1"]
    assert [r.seed for r in pruned.seeds.runs] == [5, 6, 7]
    assert (pruned.seeds.runs[0].accuracy, pruned.seeds.runs[0].artifact) == (pruned.accuracy.value, pruned.artifact)
    values = [r.accuracy for r in pruned.seeds.runs]
    assert len({r.artifact for r in pruned.seeds.runs}) == 3
    assert (pruned.seeds.mean, pruned.seeds.deviation) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
    )
    assert (pruned.seeds.low, pruned.seeds.high) == (min(values), max(values))
    # Another route: each seed's file, counted.
    data, artifacts = load_dataset(sweep.data), Artifacts.open()
    for run in pruned.seeds.runs:
        right = predict(artifacts.local(run.artifact), data.test, data.preprocessing, 3).right
        assert right.mean() == run.accuracy
        assert artifacts.local(run.artifact).stat().st_size == run.size_bytes
    assert Trial.from_json(json.loads(json.dumps(pruned.to_json()))) == pruned


def test_more_seeds_leave_what_is_there_already_alone(place: Path):
    spec = write_problem(place)
    once, twice = (make_plan(read_sweep(spec, (PRUNED, f"replicates={n}")), machine()) for n in (1, 2))
    assert once.nodes.keys() < twice.nodes.keys()
    assert list(twice.nodes)[: once.unique] == list(once.nodes)
    assert all(len(c.replicas) == (1 if any(s.step == "finetune" for s in c.recipe.steps) else 0) for c in twice.chains)
    assert {r.latency for c in twice.chains for r in c.replicas} == {None}


def test_every_record_names_the_machine_and_carries_what_predictions_say(place: Path):
    _, trials, _ = swept(write_problem(place), QUANTIZED)
    for trial in trials:
        assert trial.machine == machine()
        assert len(trial.quality.class_recall) == 3
        assert trial.quality.top5 is None
        assert trial.quality.nll.low < trial.quality.nll.value < trial.quality.nll.high
        assert 0 <= trial.quality.ece <= 1
        assert Artifacts.open().has(trial.predictions)
    assert trials[0].quality.flip_rate.value == 0
    assert trials[1].fidelity.agreement.value == 1 - trials[1].quality.flip_rate.value
    assert trials[1].fidelity.kl.value > 0
    assert trials[1].accuracy.vs_baseline.value == pytest.approx(trials[1].accuracy.value - trials[0].accuracy.value)


def test_images_without_labels_give_fidelity_and_no_accuracy(place: Path):
    spec = write_problem(place)
    with np.load(place / "data.npz") as whole:
        np.savez(place / "data.npz", **{k: whole[k] for k in ("x_train", "y_train", "x_test")})
    sweep, trials, _ = swept(spec, QUANTIZED, "replicates=2", "measure.held_back=0.1")
    assert [t.state for t in trials] == ["done", "done"]
    assert [(t.accuracy, t.quality, t.seeds) for t in trials] == [(None, None, None)] * 2
    assert trials[1].fidelity.agreement.value > 0.9
    assert trials[1].stages[-1].accuracy is None
    from engine.frontier.certainty import certainty
    from engine.frontier.front import best_under, find_front
    from engine.trials.text import stage_rows

    assert find_front(trials, ("kl", "size_bytes")).trials[0].id == trials[0].id
    assert certainty(trials, ("agreement", "size_bytes"), {}).p_front[trials[1].id] == 1
    # The baseline agrees with itself wholly; a smaller file that does too is better.
    agrees = trials[1].fidelity.agreement.value == 1
    assert best_under(trials, {}).id == trials[1 if agrees else 0].id
    assert best_under(trials, {"size_bytes": trials[1].size_bytes}).id == trials[1].id
    assert best_under(trials, {"size_bytes": 1}) is None
    assert stage_rows(trials[1])[-1]["Accuracy"] == "–"
    with pytest.raises(InputError, match="no labels, so no accuracy can be confirmed"):
        confirm_trial(Store.open(), Artifacts.open(), sweep.id, trials[1].id)
    from engine.export.bundle import export_bundle, verify_bundle

    report = verify_bundle(export_bundle(Store.open(), Artifacts.open(), sweep.id, trials[1].id, place / "b.zip"))
    assert report.ok
    assert [c.name for c in report.checks] == ["model.onnx SHA-256", "other files' SHA-256", "predictions as recorded"]


def test_a_test_split_of_one_image_is_measured(place: Path):
    spec = write_problem(place)
    train, test = images(100, 0), images(1, 1)
    np.savez(place / "data.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    _, trials, _ = swept(spec, QUANTIZED)
    assert [(t.state, t.accuracy.n) for t in trials] == [("done", 1)] * 2
    assert trials[1].accuracy.low < trials[1].accuracy.high


def own_onnx(place: Path, **options: Any) -> Path:
    return conv_net(place / "own.onnx", size=12, **options)


def refused_by_the_runtime(place: Path) -> Path:
    path = own_onnx(place, classes=3)
    model = onnx.load(path)
    next(n for n in model.graph.node if n.op_type == "Conv").attribute.append(onnx.helper.make_attribute("group", 5))
    onnx.save(model, path)
    return path


def not_a_number(place: Path) -> Path:
    path = own_onnx(place, classes=3)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = np.full(onnx.numpy_helper.to_array(tensor).shape, np.nan, np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda place: own_onnx(place, classes=4), "gives 4 scores for an image, but the dataset has 3 classes"),
        (not_a_number, "not numbers (NaN)"),
        (refused_by_the_runtime, "Input channels C is not equal to kernel channels"),
    ],
)
def test_a_model_that_cannot_be_measured_is_one_line_on_every_trial(place: Path, make: Any, words: str):
    spec = write_problem(place)
    make(place)
    _, trials, _ = swept(spec, QUANTIZED, "model.source=own.onnx")
    assert [t.state for t in trials] == ["failed", "failed"]
    for trial in trials:
        assert words in trial.error
        assert "\n" not in trial.error


def test_a_trial_that_gives_no_numbers_fails_alone(place: Path, monkeypatch: pytest.MonkeyPatch):
    from engine.run import worker

    def spoilt(task: Task, output: Path) -> dict[str, Any]:
        not_a_number(output.parent).rename(output)
        return {}

    monkeypatch.setitem(worker._WORK, "quantize", spoilt)
    _, trials, _ = swept(write_problem(place), QUANTIZED)
    assert [t.state for t in trials] == ["done", "failed"]
    assert "not numbers (NaN), first for image 0" in trials[1].error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v | {"x_test": v["x_test"][:0], "y_test": v["y_test"][:0]}, "x_test is empty"),
        (lambda v: v | {"y_test": v["y_test"] + 5}, "y_test has the label 7, but there are 3 classes"),
    ],
)
def test_data_that_no_trial_can_be_measured_on_is_refused_before_anything_runs(place: Path, change: Any, words: str):
    from engine.run.run import execute

    spec = write_problem(place)
    with np.load(place / "data.npz") as whole:
        np.savez(place / "data.npz", **change(dict(whole)))
    sweep = read_sweep(spec, (QUANTIZED,))
    with pytest.raises(InputError, match=words):
        execute(sweep, Store.open(), Artifacts.open())
    assert all(s.example for s in Store.open().sweeps())


def timed(p50: float, ratio: float, where: Any) -> dict[str, Any]:
    return {
        "latency_ms": {"p50": p50, "p95": p50, "p99": p50},
        "latency_ratio": {"value": ratio, "low": ratio, "high": ratio},
        "throughput_per_s": 1.0, "peak_memory_bytes": 1, "load_ms": 1.0, "machine": asdict(where), "cpus": [0], "processes": [[]],
        "runtime": {"threads": 1, "batch": 1, "graph_optimisation": "all", "provider": "CPU"}, "baseline_runtime": {"batch": 1},
        "stopped": "precise", "half_width": 0.01, "blocks": 9, "disturbed_blocks": 0, "first_run_ms": 1.0, "arena_bytes": None,
    }  # fmt: skip


def test_a_latency_from_another_machine_is_left_out_and_said(place: Path):
    spec = write_problem(place)
    _, trials, _ = swept(spec, QUANTIZED)
    plan = make_plan(read_sweep(spec, (QUANTIZED,)), machine())
    store, artifacts = Store.open(), Artifacts.open()
    results = copy.deepcopy({k: row.result for k, row in store.nodes(plan.nodes).items()})
    elsewhere = replace(machine(), fingerprint="e" * 64, cpu="Other CPU")
    first, second = plan.chains
    results |= {first.latency: timed(2.0, 1.0, machine()), second.latency: timed(1.0, 0.5, elsewhere)}
    found = assemble(plan, second, results, artifacts)
    assert (found.latency_ms, found.latency_ratio, found.stages[-1].latency_ms) == (None, None, None)
    assert "host" not in found.projections
    assert any("never put on one axis" in note and "Other CPU" in note for note in found.notes)
    assert found.accuracy == trials[1].accuracy
    results[second.latency] = timed(1.0, 0.5, machine())
    assert assemble(plan, second, results, artifacts).latency_ms.p50 == 1.0
