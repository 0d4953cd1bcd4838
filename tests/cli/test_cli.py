"""The command line as a user meets it: a process, its exit code, one line on stderr, and nothing half-written."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer

from engine.cli import __main__ as cli
from engine.paths import log_path, spec_path
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.places import ROOT
from tests.helpers.tiny import write_problem


def paretoscope(*arguments: object, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.cli", *map(str, arguments)],
        cwd=home.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PARETOSCOPE_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home in which the tiny sweep has run, and the sweep's id."""
    folder = tmp_path_factory.mktemp("swept")
    done = paretoscope("run", write_problem(folder), "--json", home=folder / "home")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["state"] == "done"
    return folder / "home", outcome["sweep"]


def test_a_second_run_says_that_there_is_nothing_to_do(swept):
    home, _ = swept
    done = paretoscope("run", home.parent / "spec.yaml", home=home)
    assert done.returncode == 0
    assert "nothing to do, all 6 recipes are measured already" in done.stdout


def test_a_plan_says_what_a_search_will_do_and_that_it_is_a_mean(swept):
    home, _ = swept
    space = "space={quantize: [null, {weight_bits: [8, 6, 5, 4, 3, 2], activation_bits: 32}]}"
    command = (
        "plan",
        home.parent / "spec.yaml",
        "--set",
        space,
        "--set",
        "search.method=gp",
        "--set",
        "search.trials=3",
    )
    done = paretoscope(*command, home=home)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "by this run 3 recipes, which gp chooses as it goes, so this is the mean over all choices:" in said
    plan = json.loads(paretoscope(*command, "--json", home=home).stdout)
    assert (plan["search"], plan["is_estimate"], plan["run_recipes"], plan["recipes"]) == ("gp", True, 3, 7)
    assert 0 < plan["run_nodes"] < plan["missing_nodes"]


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
        assert trial["accuracy"].keys() == {"value", "low", "high", "n", "p_vs_baseline", "vs_baseline"}
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


def test_another_device_has_its_own_latency_and_energy(swept):
    home, sweep = swept
    arguments = ("front", sweep, "--device", "stm32h7a3-xcubeai", "--objectives", "accuracy,energy_mj", "--json")
    front = json.loads(paretoscope(*arguments, home=home).stdout)
    assert front
    assert all(t["recipe"][-1]["step"] == "quantize" for t in front), "only integer graphs have figures on this profile"
    assert all(t["energy_mj"]["source"] == "fitted" for t in front)


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


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert [w for w in words if w not in lines[0]] == [], lines[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model.source=resnet9", ("resnet9", "resnet8")),
        ("data.source=mnist", ("mnist",)),
        ("data.source=none.npz", ("none.npz", "does not exist")),
        ("space.pruning={}", ("pruning", "known steps")),
        ("space.prune={method: channel, ratio: 1.5}", ("space.prune.ratio", "1.5")),
        ("space.quantize={weight_bits: 0, activation_bits: 8}", ("weight_bits", "0")),
        ("space={distill: {student: lenet}}", ("lenet",)),
        ("measure.profiles=[toaster]", ("toaster", "stm32h7a3-xcubeai")),
        ("measure.held_back=1.5", ("held_back", "1.5")),
        ("replicates=0", ("replicates", "0")),
        ("search.method=luck", ("search.method", "'luck'", "'grid', 'random', 'nsga2', 'tpe' or 'gp'")),
        ("search.trials=0", ("search.trials", "0")),
        ("nonsense=1", ("nonsense",)),
    ],
)
def test_bad_specs_are_one_line_and_leave_nothing(tmp_path: Path, change: str, words: tuple[str, ...]):
    home = tmp_path / "home"
    spec = write_problem(tmp_path)
    refused(paretoscope("run", spec, "--set", change, home=home), *words)
    assert not list(home.glob("artifacts/**/*.*"))
    sweeps = json.loads(paretoscope("sweeps", "--json", home=home).stdout)
    assert [s for s in sweeps if not s["example"]] == []


def test_damaged_files_are_one_line(tmp_path: Path):
    home = tmp_path / "home"
    spec = write_problem(tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    refused(paretoscope("run", spec, "--set", "model.weights=w.safetensors", home=home), "w.safetensors", "cut short")
    (tmp_path / "net.onnx").write_bytes(b"\x08\x08\x12\x07pytorch" * 3)
    only_quantize = "space={quantize: [{weight_bits: 8, activation_bits: 8}]}"
    refused(
        paretoscope("run", spec, "--set", "model.source=net.onnx", "--set", only_quantize, home=home),
        "net.onnx",
        "again",
    )
    assert [s for s in json.loads(paretoscope("sweeps", "--json", home=home).stdout) if not s["example"]] == []
    (tmp_path / "data.npz").write_bytes((tmp_path / "data.npz").read_bytes()[:1000])
    refused(paretoscope("run", spec, home=home), "data.npz")


def test_a_place_that_cannot_be_used_is_one_line(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    refused(paretoscope("sweeps", home=blocked), str(blocked), "PARETOSCOPE_HOME")
    home = tmp_path / "home"
    refused(
        paretoscope("run", write_problem(tmp_path), "--scheduler", "tcp://127.0.0.1:9", home=home), "tcp://127.0.0.1:9"
    )
    refused(paretoscope("sweeps", home=home, PARETOSCOPE_STORE="nonsense"), "nonsense", "PARETOSCOPE_STORE")


def test_a_taken_port_is_one_line(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(
            paretoscope("app", "--port", port, home=tmp_path / "home"), f"port {port} is taken", f"--port {port + 1}"
        )


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("front",), ("front", "x", "--objectives", "beauty"), ("cancel", "none")]
)
def test_wrong_words_on_the_command_line_are_one_line(tmp_path: Path, arguments: tuple[str, ...]):
    refused(paretoscope(*arguments, home=tmp_path / "home"))


def test_cancel_stops_a_running_sweep_and_resume_goes_on(tmp_path: Path):
    home = tmp_path / "home"
    spec = write_problem(tmp_path, "  distill: [{student: resnet8, epochs: 400}]")
    runner = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "run", str(spec), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PARETOSCOPE_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 200
        while paretoscope("cancel", "tiny", home=home).returncode and time.monotonic() < deadline:
            time.sleep(0.5)
        output, _ = runner.communicate(timeout=100)
    finally:
        runner.kill()
    assert json.loads(output)["state"] == "cancelled"
    assert runner.returncode == 1
    assert json.loads(paretoscope("sweeps", "--json", home=home).stdout)[0]["state"] == "cancelled"
    refused(paretoscope("cancel", "tiny", home=home), "not running")


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


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    group = typer.main.get_command(cli.app)
    assert [name for name in group.commands if not re.search(rf"[` ]{name}\b", readme)] == []  # type: ignore[attr-defined]


def test_models_print_what_the_checkpoints_score(tmp_path: Path):
    from engine.datasets.dataset import load_fashion_mnist
    from engine.graph.graph import save_onnx
    from engine.measure.accuracy import predict
    from engine.models.export import export_onnx
    from engine.models.sources import load_network
    from engine.spec.sweep import Model

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


def test_every_device_that_is_known_can_be_looked_at_afterwards(swept):
    home, sweep = swept
    done = paretoscope("trials", sweep, "--device", "nvidia-l4", "--json", home=home)
    assert done.returncode == 0, done.stderr
    assert all(t["energy_mj"]["source"] == "datasheet" for t in json.loads(done.stdout) if t["state"] == "done")
    refused = paretoscope("trials", sweep, "--device", "toaster", home=home)
    assert refused.returncode == 2
    assert "'toaster' is not a device profile" in refused.stderr


def test_sweeps_of_before_can_be_looked_at_on_any_device(tmp_path: Path):
    done = paretoscope("front", "example-resnet8", "--device", "stm32l4r5-xcubeai", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    front = json.loads(done.stdout)
    assert front
    assert all(t["projections"]["stm32l4r5-xcubeai"]["latency_ms"]["value"] > 0 for t in front)


def test_a_scenario_adds_money_and_carbon_and_a_fleet(swept):
    home, sweep = swept
    shown = paretoscope(
        "front", sweep, "--scenario", "vehicle-camera", "--objectives", "accuracy,co2e_kg_per_million", home=home
    )
    assert shown.returncode == 0, shown.stderr
    listed = json.loads(paretoscope("trials", sweep, "--scenario", "vehicle-camera", "--json", home=home).stdout)
    priced = [t for t in listed if (p := t["projections"].get("jetson-orin-nano")) and p["per_million"]]
    assert priced
    view = paretoscope("fleet", sweep, priced[0]["id"], "--scenario", "vehicle-camera", "--json", home=home)
    assert view.returncode == 0, view.stderr
    assert json.loads(view.stdout)["trial"]["kwh"] > 0
    assert paretoscope("fleet", sweep, "ffff", "--scenario", "vehicle-camera", home=home).returncode == 2
    assert paretoscope("trials", sweep, "--scenario", "moon", home=home).returncode == 2


def test_scenarios_and_the_errors_of_profiles_are_listed(tmp_path: Path):
    scenarios = json.loads(paretoscope("scenarios", "--json", home=tmp_path).stdout)
    assert {"medical-imager", "vehicle-camera"} <= {s["name"] for s in scenarios}
    errors = json.loads(paretoscope("devices", "--errors", "--json", home=tmp_path).stdout)
    assert {"device_class", "quantity", "left_out", "values", "mape", "median", "coverage"} == set(errors[0])


def test_the_program_for_another_board_is_written_out(tmp_path: Path):
    done = paretoscope("profile-device", "--script", "-o", tmp_path / "profile_device.py", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "import onnxruntime" in (tmp_path / "profile_device.py").read_text()
