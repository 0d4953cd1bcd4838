"""Whole sweeps on a small real problem: every trial is measured on its file, a second run does nothing, a killed run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from engine.check.report import settled
from engine.export.bundle import export_bundle, verify_bundle
from engine.export.verify_template import Limits
from engine.measure.machine import machine
from engine.run.forecast import preview
from engine.run.holdings import collect
from engine.run.planner import make_plan
from engine.run.run import execute
from engine.spec.read import read_sweep
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.places import ROOT
from tests.helpers.tiny import images, write_problem


def test_a_sweep_from_spec_to_trials_and_nothing_to_do_the_second_time(place: Path, monkeypatch: pytest.MonkeyPatch):
    sweep = read_sweep(write_problem(place), ("measure.test_samples=200",))
    store, artifacts = Store.open(), Artifacts.open()
    plan = make_plan(sweep, machine())
    seen, saved, save = [], [], store.save_nodes
    monkeypatch.setattr(store, "save_nodes", lambda nodes: (saved.extend(n.key for n in nodes), save(nodes)))
    outcome = execute(sweep, store, artifacts, on_progress=seen.append)
    assert (outcome.state, outcome.trials_done, outcome.trials_failed) == ("done", 6, 0)
    assert seen[-1].nodes_done == seen[-1].nodes_total == outcome.nodes_run
    trials = store.trials(sweep.id)
    assert [t.recipe for t in trials] == list(sweep.all_recipes)

    # Another route to the accuracy and the size of every trial: the file, a bare session, a count.
    x, y = images(300, 1)
    for trial in trials:
        path = artifacts.local(trial.artifact)
        assert trial.size_bytes == path.stat().st_size == sum(trial.size_parts.values())
        assert 0 < sum(trial.size_layers.values()) < trial.size_bytes
        assert trial.accuracy.n == 200
        assert trial.accuracy.low <= trial.accuracy.value <= trial.accuracy.high
        assert (trial.accuracy.p_vs_baseline is None) == (trial.label == "baseline")
        assert trial.latency_ms.p50 <= trial.latency_ms.p95 <= trial.latency_ms.p99
        assert trial.projections["host"].energy_mj.source in {"measured", "datasheet"}
        session = onnxruntime.InferenceSession(path)
        preprocessing = _preprocessing(sweep)
        logits = session.run(None, {session.get_inputs()[0].name: preprocessing(x[:200, None])})[0]
        assert (logits.argmax(1) == y[:200]).mean() == trial.accuracy.value
        with np.load(artifacts.local(trial.predictions)) as stored:
            assert (stored["predicted"] == logits.argmax(1)).all()
    # The baseline's nodes came first: whoever waits for a first point waits for it alone.
    needed = plan.needed(plan.chains[0])
    assert set(saved[: len(needed)]) == needed
    smaller = [t.macs for t in trials if t.recipe.steps and t.recipe.steps[0].step == "prune"]
    assert max(smaller) < trials[0].macs

    assert all(0 < t.finished_s <= outcome.seconds for t in trials)
    again = execute(sweep, store, artifacts)
    # Finish times with the rest: they are those of the run that measured.
    assert (again.state, again.nodes_run, again.trials_done) == ("done", 0, 6)
    assert store.trials(sweep.id) == trials


def _preprocessing(sweep):
    from engine.datasets.load import load_dataset

    return load_dataset(sweep.data).preprocessing


def test_a_killed_run_goes_on_where_it_was(place: Path):
    spec = write_problem(place)
    # As the command line states what the spec leaves out.
    sweep, _ = settled(read_sweep(spec))
    store = Store.open()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runner = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "run", str(spec), "--json"], env=environment, cwd=place
    )
    try:
        deadline = time.monotonic() + 120
        while not _nodes(store, sweep) and time.monotonic() < deadline:
            time.sleep(0.2)
        done = _nodes(store, sweep)
        assert done
    finally:
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    done = _nodes(store, sweep)
    # Nobody has to wait until the dead runner has been silent for half a minute.
    assert store.sweep(sweep.id).state == "interrupted"
    outcome = execute(sweep, store, Artifacts.open())
    assert outcome.state == "done"
    assert outcome.nodes_run == _total(sweep) - len(done)

    # Nothing of what it made is in nobody's hands, and all of it is once it is deleted.
    artifacts = Artifacts.open()
    made = artifacts.stored()
    for file in made:
        os.utime(artifacts.local(file.name), (0, 0))
    assert len(made) > 10
    assert collect(store, artifacts).unneeded == ()
    store.delete_sweep(sweep.id)
    assert {f.name for f in collect(store, artifacts).unneeded} == {f.name for f in made}
    assert artifacts.stored() == []


def _nodes(store: Store, sweep: Sweep) -> set[str]:
    return set(store.nodes(make_plan(sweep, machine()).nodes))


def _total(sweep: Sweep) -> int:
    return make_plan(sweep, machine()).unique


def test_a_step_that_does_not_fit_fails_its_own_trials_and_no_others(place: Path):
    spec = write_problem(place)
    # It has 16 channels in each layer, so none can go in multiples of 16.
    spec.write_text(spec.read_text().replace("method: channel,", "method: channel, round_to: 16,"))
    sweep = read_sweep(spec, ("measure.latency=null",))
    outcome = execute(sweep, Store.open(), Artifacts.open())
    trials = Store.open().trials(sweep.id)
    assert [t.state for t in trials] == ["done", "done", *["failed"] * 4]
    assert (outcome.state, outcome.trials_done, outcome.trials_failed) == ("done", 2, 4)
    for failed in trials[2:]:
        assert "removes nothing" in failed.error
        assert "\n" not in failed.error


def test_an_onnx_file_of_the_users_own_takes_the_onnx_steps(place: Path):
    spec = write_problem(place)
    torch = pytest.importorskip("torch")
    sys.path.insert(0, str(place))
    try:
        from net import build
    finally:
        sys.path.remove(str(place))
        sys.modules.pop("net", None)
    names = {
        "input_names": ["pixels"],
        "output_names": ["scores"],
        "dynamic_axes": {"pixels": {0: "n"}, "scores": {0: "n"}},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(build().eval(), (torch.zeros(1, 1, 12, 12),), place / "own.onnx", dynamo=False, **names)
    quantize = (
        "space={quantize: [null, {weight_bits: [8, 4], activation_bits: 8}, {weight_bits: 16, activation_bits: 32}]}"
    )
    sweep = read_sweep(spec, ("model.source=own.onnx", quantize, "measure.latency=null"))
    assert execute(sweep, Store.open(), Artifacts.open()).trials_done == 4
    sizes = {t.label: t.size_bytes for t in Store.open().trials(sweep.id)}
    assert sizes["w4a8"] < sizes["int8"] < sizes["fp16 weights"] < sizes["baseline"]


def test_a_lost_artifact_is_made_again(place: Path):
    sweep = read_sweep(
        write_problem(place), ("space={quantize: [null, {weight_bits: 8, activation_bits: 8}]}", "measure.latency=null")
    )
    store, artifacts = Store.open(), Artifacts.open()
    execute(sweep, store, artifacts)
    trials = store.trials(sweep.id)
    before = artifacts.local(trials[1].artifact).read_bytes()
    artifacts.local(trials[1].artifact).unlink()
    outcome = execute(sweep, store, artifacts)
    assert outcome.nodes_run == 1
    assert artifacts.local(trials[1].artifact).read_bytes() == before
    assert np.array_equal([t.accuracy.value for t in store.trials(sweep.id)], [t.accuracy.value for t in trials])


def test_one_file_run_in_another_way_is_a_trial_of_its_own(place: Path):
    space = "space={quantize: [null, {weight_bits: 8, activation_bits: 8, calibration_samples: 32}], runtime: [null, {batch: 16}]}"
    latency = "measure.latency={time_limit_s: 1.0, processes: 1}"
    sweep = read_sweep(write_problem(place), (space, latency))
    store, artifacts = Store.open(), Artifacts.open()
    assert execute(sweep, store, artifacts).trials_done == 4
    trials = {t.label: t for t in store.trials(sweep.id)}
    int8 = "int8 (32 calibration images)"
    alone, batched = trials[int8], trials[f"{int8} · batch 16"]
    assert batched.artifact == alone.artifact
    assert batched.accuracy.value == alone.accuracy.value
    assert (alone.timing.batch, batched.timing.batch, batched.timing.baseline_batch) == (1, 16, 1)
    # A call of 16 images takes longer than one of a single image, an image less.
    baseline = trials["baseline"].latency_ms.p50
    assert batched.latency_ms.p50 == pytest.approx(16 * batched.latency_ratio.value * baseline)
    assert batched.latency_ms.p50 > alone.latency_ms.p50
    assert batched.latency_ratio.value < alone.latency_ratio.value
    assert batched.throughput_per_s == pytest.approx(16e3 / batched.latency_ms.p50)
    assert batched.stages[-1].latency_ms == pytest.approx(batched.latency_ratio.value * baseline)
    bundle = export_bundle(store, artifacts, sweep.id, batched.id, place / "bundle.zip")
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert "batch: 16" in archive.read("recipe.yaml").decode()
        assert "16 samples per call" in archive.read("card.md").decode()
    assert manifest["runtime"] == {"threads": 1, "batch": 16, "graph_optimisation": "all", "provider": "CPU"}
    assert verify_bundle(bundle, limits=Limits(max_p95_ms=10_000)).ok


def test_a_budget_leaves_the_rest_for_the_next_run(place: Path):
    spec = write_problem(place)
    quick = ("measure.latency=null", "measure.test_samples=60")
    store, artifacts = Store.open(), Artifacts.open()
    no_time = read_sweep(spec, (*quick, "search.minutes=0.000001"))
    outcome = execute(no_time, store, artifacts)
    assert (outcome.state, outcome.trials_done, outcome.recipes_left) == ("done", 0, 6)
    assert store.sweep(no_time.id).state == "done"

    sweep = read_sweep(spec, (*quick, "search.trials=4"))
    assert preview(sweep, store, artifacts).run_recipes == 4
    seen = []
    outcome = execute(sweep, store, artifacts, on_progress=seen.append)
    assert (outcome.state, outcome.trials_done, outcome.recipes_left) == ("done", 4, 2)
    assert seen[-1].nodes_done < seen[-1].nodes_total
    states = [t.state for t in store.trials(sweep.id)]
    assert states == ["done"] * 4 + ["pending"] * 2
    assert preview(sweep, store, artifacts).run_recipes == 2
    outcome = execute(sweep, store, artifacts, on_progress=seen.append)
    assert (outcome.state, outcome.trials_done, outcome.recipes_left) == ("done", 6, 0)
    assert seen[-1].nodes_done == seen[-1].nodes_total


def test_a_search_goes_on_in_the_next_run_with_what_the_first_has_measured(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    # With ten at random to begin with, six recipes would never see the sampler.
    monkeypatch.setattr("engine.search.search.START", 2)
    spec = write_problem(place)
    quick = ("measure.latency=null", "measure.test_samples=60", "search.method=tpe", "search.trials=3")
    sweep, store, artifacts = read_sweep(spec, quick), Store.open(), Artifacts.open()
    before = preview(sweep, store, artifacts)
    assert (before.run_recipes, before.is_estimate, before.search) == (3, True, "tpe")
    assert before.forecast_s < before.naive_forecast_s
    outcome = execute(sweep, store, artifacts)
    assert (outcome.state, outcome.trials_done, outcome.recipes_left) == ("done", 3, 3)
    first = {t.id: t.finished_s for t in store.trials(sweep.id) if t.state == "done"}
    assert sweep.all_recipes[0].id in first
    again = execute(sweep, store, artifacts)
    assert (again.state, again.trials_done, again.recipes_left) == ("done", 6, 0)
    trials = store.trials(sweep.id)
    assert [t.recipe for t in trials] == list(sweep.all_recipes)
    assert {t.id: t.finished_s for t in trials if t.id in first} == first
    assert outcome.nodes_run + again.nodes_run == make_plan(sweep, machine()).unique
    after = preview(sweep, store, artifacts)
    assert (after.run_recipes, after.run_nodes, after.is_estimate) == (0, 0, False)
