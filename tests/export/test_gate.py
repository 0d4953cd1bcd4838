"""A bundle as a gate: limits of every kind, against the baseline or another bundle, told to people and to build servers."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from engine.errors import InputError
from engine.export.bundle import verify_bundle
from engine.export.gate import gate, junit, markdown, ratio_in_turns
from engine.export.verify_template import Check, Limits
from engine.metrics import score_key
from engine.quality.scores import Quality
from engine.trials.evidence import Score
from tests.helpers.bundles import World, linear_model, make_dataset, make_sweep, measured_accuracy, replace_part
from tests.helpers.places import ROOT

RECALLS, BEFORE = (0.9, 0.7, 0.8, 0.6), (0.91, 0.75, 0.8, 0.6)


def with_recalls(world: World) -> World:
    """Recalls as a trial of four classes has them; the second class has lost five points."""
    for name, recalls in (("trial", RECALLS), ("baseline", BEFORE)):
        trial = getattr(world, name)
        quality = Quality(
            **{f.name: None for f in dataclasses.fields(Quality)} | {"class_recall": recalls, "intervals": {}}
        )
        setattr(world, name, dataclasses.replace(trial, quality=quality))
    return world


def found(world: World, data: Path | None = None, **limits: float) -> dict[str, Check]:
    return {check.name: check for check in verify_bundle(world.write(), data, Limits(**limits)).checks}


@pytest.mark.parametrize(("limit", "ok"), [(4.9, False), (5.0, True)])
def test_the_class_that_loses_most_is_named(world: World, limit: float, ok: bool) -> None:
    check = found(with_recalls(world), max_worst_class_drop=limit)["points lost by the worst class"]
    assert (check.ok, check.found) == (ok, f"5.00 ({world.data.classes[1]})")


def test_without_classes_recorded_the_limit_is_not_kept(world: World) -> None:
    assert not found(world, max_worst_class_drop=100)["points lost by the worst class"].ok


def test_the_worst_class_of_the_callers_data(world: World) -> None:
    """Against a count of one's own: the baseline's recalls less the share right of each class here."""
    fresh = make_dataset(seed=5, n=300).test
    path = world.folder / "fresh.npz"
    np.savez(path, x_test=fresh.inputs, y_test=fresh.labels)
    scores = np.stack([world.data.preprocessing(fresh.inputs)[:, 0, k].sum(1) for k in range(4)], 1)
    right = scores.argmax(1) == fresh.labels
    drops = [100 * (BEFORE[k] - right[fresh.labels == k].mean()) for k in range(4)]
    worst = int(np.argmax(drops))
    check = found(with_recalls(world), path, max_worst_class_drop=0)["points lost by the worst class"]
    assert check.found == f"{drops[worst]:.2f} ({world.data.classes[worst]})"


def test_the_metric_itself(world: World) -> None:
    value = world.trial.accuracy.value
    assert found(world, min_metric=value)["accuracy"].ok
    assert not found(world, min_metric=value + 0.001)["accuracy"].ok
    with pytest.raises(InputError, match=r"--max-metric: of accuracy, more is better; give --min-metric"):
        verify_bundle(world.write(), limits=Limits(max_metric=1))


def test_another_bundle_takes_the_baselines_place(world: World) -> None:
    right = world.write("right.zip")
    fresh = make_dataset(seed=7, n=400).test
    path = world.folder / "fresh.npz"
    np.savez(path, x_test=fresh.inputs, y_test=fresh.labels)
    ours = measured_accuracy(world.model, dataclasses.replace(world.data, test=fresh))
    flipped = linear_model(world.folder / "flipped.onnx", flip=True)
    theirs = measured_accuracy(flipped, dataclasses.replace(world.data, test=fresh))
    world.model = flipped
    world.trial = dataclasses.replace(
        world.trial, accuracy=dataclasses.replace(world.trial.accuracy, value=measured_accuracy(flipped, world.data))
    )
    wrong = world.write("wrong.zip")
    lost = {c.name: c for c in gate(wrong, Limits(max_drop=1), path, against=right).checks}["points lost"]
    assert (lost.ok, lost.found) == (False, f"{100 * (ours - theirs):.2f}")
    assert gate(right, Limits(max_drop=0), path, against=wrong).ok


def test_time_is_judged_by_the_ratio_and_milliseconds_where_the_other_was_measured(world: World) -> None:
    bundle = world.write()
    p95 = world.trial.latency_ms.p95
    report = gate(bundle, Limits(max_p95_ms=1e6), against=bundle, max_ratio=1e6)
    checks = {check.name: check for check in report.checks}
    assert report.ok
    assert f"{p95:.3f} of the other" in checks["p95 latency where the other was measured, ms"].found
    assert not gate(bundle, Limits(), against=bundle, max_ratio=1e-6).ok
    with pytest.raises(InputError, match="--against"):
        gate(bundle, Limits(), max_ratio=0.5)


def test_milliseconds_are_of_a_call_where_the_other_takes_another_batch(world: World) -> None:
    one = world.write("one.zip")
    world.model = linear_model(world.folder / "fixed.onnx", batch=64)
    (check,) = (c for c in gate(world.write("many.zip"), Limits(max_p95_ms=1e6), against=one).checks if "p95" in c.name)
    p95, then, ratio = (float(number) for number in re.findall(r"\d+\.\d+", check.found)[:3])
    assert then == pytest.approx(world.trial.latency_ms.p95, abs=1e-3)
    assert p95 == pytest.approx(then * ratio * 64, abs=then * 64 * 0.001 + 0.001)


def test_a_ratio_in_turns_is_deaf_to_what_slows_both() -> None:
    """A clock of its own: `a` takes half of `b`, and the machine becomes ten times slower halfway."""
    calls = iter(range(100_000))

    def taking(seconds: float) -> Any:
        return lambda: seconds * (10 if next(calls) > 200 else 1)

    value, low, high = ratio_in_turns(taking(0.5), taking(1.0))
    assert value == pytest.approx(0.5)
    assert low <= value <= high


def test_what_build_servers_read() -> None:
    checks = [Check("a <b>", True, "1", "1"), Check("c|d", False, "2", "at most 1")]
    suite = ET.fromstring(junit("net.zip", checks))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite] == ["a <b>", "c|d"]
    assert suite[1][0].tag == "failure"
    assert suite[1][0].get("message") == "2; expected at most 1"
    told = markdown("net.zip", checks).splitlines()
    assert told[0] == "### net.zip: 1 of 2 checks failed"
    assert told[-2:] == ["| ❌ | c\\|d | 2 | at most 1 |", ""]


def test_the_step_and_the_hook_of_the_documents_are_commands_that_there_are(world: World) -> None:
    """What they run is run here, on files of those names."""
    bundle, data = world.write("candidate.zip"), world.data.test
    for name in ("released.zip", "model.zip"):
        (world.folder / name).write_bytes(bundle.read_bytes())
    np.savez(world.folder / "test.npz", x_test=data.inputs, y_test=data.labels)
    section = (ROOT / "docs" / "gate.md").read_text()
    step, hook = (yaml.safe_load(block)[0] for block in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL))
    commands = [step["run"], f"{hook['hooks'][0]['entry']} model.zip"]
    assert re.search(hook["hooks"][0]["files"], "model.zip")
    for command in commands:
        program, *arguments = command.replace("--max-ratio 1.05", "--max-ratio 1000").split()
        assert program == "paretoscope"
        done = subprocess.run(
            [sys.executable, "-m", "engine.cli", *arguments], cwd=world.folder, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == (1 if "--max-drop 0.5 --max-kb" in command else 0), done.stdout + done.stderr
        assert done.stdout.splitlines()[-1].startswith(("passed", "FAILED: 1 of"))


def test_the_command_writes_them_and_ends_with_1_where_a_check_fails(world: World) -> None:
    bundle, xml, summary = world.write(), world.folder / "checks.xml", world.folder / "summary.md"
    command = [sys.executable, "-m", "engine.cli", "verify", str(bundle), "--max-kb", "0.001", "--junit", str(xml)]
    done = subprocess.run(
        [*command, "--summary", str(summary), "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    failed = [check["name"] for check in json.loads(done.stdout)["checks"] if not check["ok"]]
    assert failed == ["model.onnx, kB"]
    assert ET.parse(xml).getroot()[0].get("failures") == "1"
    assert "model.onnx, kB" in summary.read_text()


def judged_by_f1(world: World) -> World:
    """The same world where macro F1, half of it, is what the sweep asked for."""
    score = Score(score_key("Macro F1", "max", "%"), 0.5, 0.4, 0.6, 700)
    trial, baseline = (dataclasses.replace(t, score=score) for t in (world.trial, world.baseline))
    return dataclasses.replace(world, trial=trial, baseline=baseline, sweep=make_sweep(metric="macro_f1"))


def test_accuracy_of_the_callers_data_is_not_taken_for_another_metric(world: World) -> None:
    path = world.folder / "own.npz"
    np.savez(path, x_test=world.data.test.inputs, y_test=world.data.test.labels)
    bundle = judged_by_f1(world).write()
    assert "accuracy on your data" in {check.name for check in verify_bundle(bundle, path).checks}
    for limits in (Limits(max_drop=1), Limits(min_metric=0.6)):
        with pytest.raises(InputError, match="Macro F1, which limits are held against, cannot be counted here"):
            gate(bundle, limits, path)


@pytest.mark.parametrize("wrong", ["names", "from one", "no number"])
def test_labels_that_are_no_class_numbers_are_refused(world: World, wrong: str) -> None:
    labels = world.data.test.labels
    given = {"names": np.array(world.data.classes)[labels], "from one": labels + 1, "no number": labels / 0.5 * np.nan}
    np.savez(path := world.folder / "own.npz", x_test=world.data.test.inputs, y_test=given[wrong])
    with pytest.raises(InputError, match=r"y_test must hold (the numbers of classes, 0 to 3|numbers; found)"):
        verify_bundle(world.write(), path)


def test_bundles_that_cannot_be_compared_are_refused(world: World) -> None:
    bundle = world.write()
    with zipfile.ZipFile(bundle) as archive:
        older = json.loads(archive.read("manifest.json")) | {"format": 3}
    others = {
        "one is judged by Accuracy, the other by Macro F1": judged_by_f1(world),
        r"they know other classes \(top left.*; x, y": dataclasses.replace(
            world, data=dataclasses.replace(world.data, classes=("x", "y", "z", "q"))
        ),
        "they were measured on 700 and 650 samples": dataclasses.replace(
            world, trial=dataclasses.replace(world.trial, accuracy=dataclasses.replace(world.trial.accuracy, n=650))
        ),
    }
    for said, other in others.items():
        with pytest.raises(InputError, match=said):
            gate(bundle, Limits(max_drop=1), against=other.write("other.zip"))
    old = replace_part(bundle, world.folder / "old.zip", manifest_json=json.dumps(older).encode())
    with pytest.raises(InputError, match="the other has format 3, this program reads 4; export it again"):
        gate(bundle, Limits(max_drop=1), against=old)


def test_a_summary_that_cannot_be_written_is_no_failed_check(world: World, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "engine.cli",
        "verify",
        str(world.write()),
        "--summary",
        str(tmp_path / "no" / "s.md"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"the folder {tmp_path / 'no'} does not exist")
