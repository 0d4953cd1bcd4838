"""Other providers in whole sweeps: what is estimated on which hardware, and OpenVINO from the spec to the bundle where it is installed."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from engine.cli.doctor import examine
from engine.export.bundle import export_bundle, verify_bundle
from engine.export.verify_template import Limits
from engine.measure.answers import answers
from engine.measure.machine import machine
from engine.run.assemble import assemble
from engine.run.confirm import confirm_trial, confirmation_key
from engine.run.plan import Plan
from engine.run.planner import make_plan
from engine.run.run import execute
from engine.spec.read import read_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.text import timing_texts
from tests.helpers.openvino import needs_openvino
from tests.helpers.run_here import swept
from tests.helpers.tiny import write_problem

QUANTIZE = "quantize: [null, {weight_bits: 8, activation_bits: 8, calibration_samples: 32}]"


def timed(provider: str, energy: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "latency_ms": {"p50": 2.0, "p95": 2.0, "p99": 2.0}, "latency_ratio": {"value": 0.5, "low": 0.5, "high": 0.5},
        "throughput_per_s": 1.0, "peak_memory_bytes": 1, "load_ms": 1.0, "machine": asdict(machine()), "cpus": [0], "processes": [[]],
        "runtime": {"threads": 1, "batch": 1, "graph_optimisation": "all", "provider": provider}, "baseline_runtime": {"batch": 1},
        "stopped": "precise", "half_width": 0.01, "blocks": 9, "disturbed_blocks": 0, "first_run_ms": 1.0, "arena_bytes": None,
        "energy": energy,
    }  # fmt: skip


def planned(place: Path) -> tuple[Plan, dict[str, Any]]:
    """A small sweep, run without its latencies: its plan with them, and what its nodes returned, by key."""
    spec, space = write_problem(place), f"space={{{QUANTIZE}}}"
    swept(spec, space)
    plan = make_plan(read_sweep(spec, (space,)), machine())
    return plan, copy.deepcopy({k: row.result for k, row in Store.open().nodes(plan.nodes).items()})


def test_a_processors_watts_are_no_estimate_of_a_cards_energy(place: Path) -> None:
    plan, results = planned(place)
    first, second = plan.chains
    counted = {
        "net_mj": 5.0, "low_mj": 4.0, "high_mj": 6.0, "gross_mj": 9.0, "idle_w": 70.0, "inferences": 10, "seconds": 1.0,
        "meter": "NVML (NVIDIA H100 PCIe)", "covers": "the whole graphics card",
    }  # fmt: skip
    seen = {}
    for provider, energy in (("OpenVINO", None), ("CUDA", None), ("CUDA", counted), ("CoreML", None)):
        results |= {first.latency: timed("CPU", None), second.latency: timed(provider, energy)}
        trial = assemble(plan, second, results, Artifacts.open())
        found, told = trial.projections["host"].energy_mj, any("energy left out" in note for note in trial.notes)
        seen[provider, energy is None] = (found and found.source, told)
        assert trial.timing is not None
        assert trial.timing.provider == provider
    assert seen == {
        ("OpenVINO", True): ("datasheet", False),
        ("CUDA", True): (None, True),
        ("CUDA", False): ("measured", False),
        ("CoreML", True): (None, True),
    }


def test_a_trial_is_confirmed_as_it_is_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = "space={runtime: [null, {threads: 2}, {graph_optimisation: disable}]}"
    sweep, trials, _ = swept(write_problem(place), space, "measure.held_back=0.2")
    ran = []
    monkeypatch.setattr(
        "engine.run.confirm.answers", lambda *given, **options: ran.append(options) or answers(*given, **options)
    )
    store, artifacts = Store.open(), Artifacts.open()
    orders = [confirm_trial(store, artifacts, sweep.id, t.id).confirmation.order for t in trials[1:]]
    as_stored = {"graph_optimisation": "disable"}
    # Each after the baseline, which runs as the sweep measures.
    assert ran == [{}, {}, {}, as_stored]
    assert orders == [1, 2]
    plain, threads, stored = (confirmation_key(sweep, t) for t in trials)
    assert plain == threads, "threads change no answer"
    assert plain != stored


def test_a_network_that_runs_in_part_elsewhere_has_a_note(place: Path) -> None:
    plan, results = planned(place)
    first, second = plan.chains
    results |= {first.latency: timed("CPU", None), second.latency: timed("OpenVINO", None)}
    whole, partly = {"OpenVINO": {"Conv": 9}}, {"OpenVINO": {"Conv": 9}, "CPU": {"Det": 1}}
    notes = []
    for placement in (whole, partly):
        results[second.latency]["placement"] = placement
        trial = assemble(plan, second, results, Artifacts.open())
        assert trial.timing is not None
        assert trial.timing.placement == placement
        notes.append([note for note in trial.notes if note.startswith("OpenVINO runs")])
    assert notes == [[], ["OpenVINO runs 9 of 10 operators; the CPU runs 1: Det"]]


@needs_openvino
def test_openvino_is_a_second_runtime_from_the_spec_to_the_bundle(place: Path) -> None:
    space = f"space={{{QUANTIZE}, runtime: [null, {{provider: OpenVINO}}]}}"
    sweep = read_sweep(write_problem(place), (space, "measure.latency={time_limit_s: 1.0, processes: 1}"))
    store, artifacts = Store.open(), Artifacts.open()
    assert execute(sweep, store, artifacts).trials_done == 4
    trials = {t.label: t for t in store.trials(sweep.id)}
    int8 = next(label for label in trials if label.startswith("int8") and "OpenVINO" not in label)
    for label in ("baseline", int8):
        cpu, other = trials[label], trials["OpenVINO" if label == "baseline" else f"{label} · OpenVINO"]
        assert (cpu.artifact, cpu.size_bytes) == (other.artifact, other.size_bytes)
        assert cpu.timing is not None
        assert other.timing is not None
        assert (cpu.timing.provider, other.timing.provider) == ("CPU", "OpenVINO")
        assert set(other.timing.placement) == {"OpenVINO"}
        assert any(text.startswith("OpenVINO runs all ") for text in timing_texts(other.timing))
        assert cpu.accuracy is not None
        assert other.accuracy is not None
        assert other.accuracy.value == pytest.approx(cpu.accuracy.value, abs=0.01 if label == int8 else 1e-9)
        assert other.latency_ratio is not None
        assert other.latency_ratio.value > 0
        assert other.machine is not None
        assert other.machine.versions["onnxruntime-ep-openvino"]
    last = trials[f"{int8} · OpenVINO"]
    bundle = export_bundle(store, artifacts, sweep.id, last.id, place / "bundle.zip")
    assert verify_bundle(bundle, limits=Limits(max_p95_ms=10_000)).ok
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(place / "out")
    assert json.loads((place / "out" / "manifest.json").read_text())["runtime"]["provider"] == "OpenVINO"
    assert "OpenVINO runs all " in (place / "out" / "card.md").read_text()
    done = subprocess.run([sys.executable, "verify.py"], cwd=place / "out", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    hidden = "import sys; sys.modules['onnxruntime_ep_openvino'] = None; import verify; sys.exit(verify.main([]))"
    done = subprocess.run(
        [sys.executable, "-c", hidden], cwd=place / "out", capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip().endswith("run `pip install onnxruntime-ep-openvino`")


@needs_openvino
def test_doctor_runs_every_provider_and_says_what_brought_it(place: Path) -> None:
    found = {check.name: check for check in examine()}
    assert "OpenVINO (onnxruntime-ep-openvino " in found["onnxruntime"].finding
    assert (found["providers"].state, "OpenVINO" in found["providers"].finding) == ("ok", True)
