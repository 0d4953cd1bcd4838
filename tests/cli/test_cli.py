"""The command line as a user meets it: a process, its exit code, one line on stderr, and nothing half-written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from engine.cli import __main__ as cli
from engine.paths import log_path, spec_path
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.command_line import paretoscope, refused
from tests.helpers.places import ROOT


def test_trials_have_the_fields_that_scripts_rely_on(swept):
    home, sweep = swept
    trials = json.loads(paretoscope("trials", sweep, "--json", home=home).stdout)
    assert len(trials) == 6
    wanted = {
        "id", "recipe", "label", "accuracy", "size_bytes", "size_zipped_bytes", "params", "nonzero_params", "macs", "latency_ms",
        "latency_ratio", "throughput_per_s", "peak_memory_bytes", "energy_mj", "provenance", "machine", "artifact",
    }  # fmt: skip
    for trial in trials:
        assert wanted <= trial.keys()
        assert trial["accuracy"].keys() == {"value", "low", "high", "n", "p_vs_baseline", "vs_baseline", "exact_sums"}
        assert {"top5", "class_recall", "flip_rate", "harmful_flip_rate", "nll", "ece"} <= trial["quality"].keys()
        assert trial["fidelity"].keys() == {"agreement", "kl"}
        assert trial["tied_with_baseline"] in ((None,) if trial["label"] == "baseline" else (True, False))
        assert trial["latency_ms"].keys() == {"p50", "p95", "p99"}
        assert {"value", "low", "high", "source"} <= trial["energy_mj"].keys()
        assert all("step" in step for step in trial["recipe"])
    rows = json.loads(paretoscope("sweeps", "--json", home=home).stdout)
    assert {"id", "name", "state", "trials", "created"} <= rows[0].keys()
    assert rows[0]["id"] == sweep


def test_the_front_is_a_part_of_the_trials_that_nothing_beats(swept):
    home, sweep = swept
    trials = json.loads(paretoscope("trials", sweep, "--json", home=home).stdout)
    front = json.loads(paretoscope("front", sweep, "--objectives", "accuracy,size_bytes", "--json", home=home).stdout)
    points = {t["id"]: (-t["accuracy"]["value"], t["size_bytes"]) for t in trials}
    beaten = {i for i, p in points.items() if any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points.values())}
    assert {t["id"] for t in front} == points.keys() - beaten
    assert sum(t["knee"] for t in front) <= 1
    assert all(0 < t["p_front"] <= 1 and not t["tied_with_frontier"] for t in front)
    both = json.loads(
        paretoscope("front", sweep, "--objectives", "accuracy,size_bytes", "--tied", "--json", home=home).stdout
    )
    assert both[: len(front)] == front
    assert all(t["tied_with_frontier"] and t["p_front"] >= 0.05 for t in both[len(front) :])
    assert {i for t in front for i in t["tied_with"]} <= {t["id"] for t in both[len(front) :]}


def test_a_sweep_that_held_nothing_back_says_so_when_a_trial_is_to_be_confirmed(swept):
    home, sweep = swept
    trial = json.loads(paretoscope("trials", sweep, "--json", home=home).stdout)[0]["id"]
    refused(paretoscope("confirm", sweep, trial, home=home), "held no test images back", "held_back: 0.2")


def test_a_trial_is_exported_and_its_bundle_verifies(swept, tmp_path: Path):
    home, sweep = swept
    trial = json.loads(paretoscope("front", sweep, "--json", home=home).stdout)[0]["id"]
    bundle = tmp_path / "bundle.zip"
    done = paretoscope("export", sweep, trial, "-o", bundle, home=home)
    assert done.returncode == 0, done.stderr
    assert paretoscope("verify", bundle, home=home).returncode == 0
    failed = paretoscope("verify", bundle, "--max-kb", "0.001", home=home)
    assert failed.returncode == 1
    missing = paretoscope("export", sweep, "ffff", "-o", tmp_path / "none.zip", home=home)
    assert missing.returncode == 2
    assert not (tmp_path / "none.zip").exists()


def test_a_sweep_is_deleted_by_its_name_and_the_example_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = tmp_path / "home"
    monkeypatch.setenv("PARETOSCOPE_HOME", str(home))
    store = Store.open()
    sweep = parse_sweep({"name": "to go", "model": {"source": "resnet8"}})
    store.begin(sweep, [Trial(r.id, r) for r in sweep.all_recipes], 3, 0)
    refused(paretoscope("delete", "to go", home=home), "is running; cancel it first")
    store.end(sweep.id, "cancelled")
    for path in (spec_path(sweep.id), log_path(sweep.id)):
        path.parent.mkdir()
        path.write_text("a trace")
    done = paretoscope("delete", "to go", "--json", home=home)
    assert json.loads(done.stdout) == {"sweep": sweep.id, "state": "deleted"}
    assert not spec_path(sweep.id).exists()
    assert not log_path(sweep.id).exists()
    refused(paretoscope("delete", "to go", home=home), "there is no sweep")
    refused(paretoscope("delete", "latest", home=home), "ships with Paretoscope")


def test_listing_a_front_never_imports_torch(swept):
    home, sweep = swept
    code = (
        "import sys; sys.argv = ['paretoscope', 'front', sys.argv[1]]\n"
        "from engine.cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in ('torch', 'streamlit', 'distributed', 'onnxruntime') if m in sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PARETOSCOPE_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code, sweep], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("[]"), done.stdout


def test_every_command_is_in_the_documents():
    documented = (ROOT / "docs" / "command-line.md").read_text()
    group = typer.main.get_command(cli.app)
    assert [name for name in group.commands if not re.search(rf"[` ]{name}\b", documented)] == []  # type: ignore[attr-defined]


def test_models_print_what_the_checkpoints_score(tmp_path: Path):
    from engine.datasets.fashion_mnist import load_fashion_mnist
    from engine.graph.graph import save_onnx
    from engine.measure.accuracy import predict
    from engine.models.export import export_onnx
    from engine.models.sources import load_network
    from engine.spec.sections import Model

    data = load_fashion_mnist()
    listed = {r["name"]: r for r in json.loads(paretoscope("models", "--json", home=tmp_path / "home").stdout)}
    # The smallest network on all images; the others, on some, must agree within what some images can tell.
    for name, n in (
        ("ds_cnn", 10_000),
        ("resnet8", 2_000),
        ("resnet20", 1_000),
        ("mobilenet_v2", 1_000),
        ("recursive_resnet", 1_000),
    ):
        path = tmp_path / f"{name}.onnx"
        save_onnx(export_onnx(load_network(Model(source=name), data).module, data.input_shape), path)
        split = data.test.head(n)
        share = float(np.mean(predict(path, split, data.preprocessing, 10).predicted == split.labels))
        stated = listed[name]["accuracy"]
        slack = 1 / 10_000 if n == 10_000 else 4 * (stated * (1 - stated) / n) ** 0.5
        assert abs(share - stated) <= slack, name
