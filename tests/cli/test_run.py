"""Running, cancelling and going on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.command_line import paretoscope, refused
from tests.helpers.places import ROOT
from tests.helpers.tiny import write_problem


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


def test_the_end_of_a_run_says_how_far_off_the_target_is(swept):
    home, _ = swept
    command = ("run", home.parent / "spec.yaml", "--set", "target={limits: {size_bytes: 1000}}")
    done = paretoscope(*command, home=home)
    assert done.returncode == 0, done.stderr
    said = "No measured recipe keeps file size ≤ 1.00 kB; the nearest is"
    assert said in " ".join(done.stdout.split())
    assert json.loads(paretoscope(*command, "--json", home=home).stdout)["missed"]["sentence"].startswith(said)


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


def test_what_a_network_prints_does_not_mix_with_the_json(tmp_path: Path):
    spec = write_problem(tmp_path)
    network = tmp_path / "net.py"
    loud = (
        "class Loud(nn.Module):\n    def forward(self, x):\n        print('forward!')\n        return x\n\ndef build("
    )
    network.write_text(
        network.read_text().replace("def build(", loud).replace("nn.Conv2d(1, 16", "Loud(), nn.Conv2d(1, 16", 1)
    )
    options = ("--set", "space={}", "--set", "measure.latency=null", "--json")
    done = paretoscope("run", spec, *options, home=tmp_path / "home")
    assert json.loads(done.stdout)["state"] == "done"
    assert "forward!" in done.stderr
