"""What `paretoscope verify` and the verify.py of a bundle find."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engine.errors import InputError
from engine.export import board_template, verify_template
from engine.export.bundle import verify_bundle, write_bundle
from engine.export.verify_template import Limits
from engine.export.zips import npz_bytes
from tests.helpers.bundles import (
    CLASSES,
    World,
    linear_model,
    make_dataset,
    make_trial,
    measured_accuracy,
    replace_part,
    run_verify,
    unzip,
)


def test_an_altered_model_fails(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    model = onnx.load(str(folder / "model.onnx"))
    model.doc_string = "one harmless byte"
    onnx.save(model, str(folder / "model.onnx"))
    done = run_verify(folder)
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL ")]
    assert len(failed) == 1
    assert "model.onnx SHA-256" in failed[0]


def test_a_model_that_answers_otherwise_fails_even_with_a_matching_checksum(world: World) -> None:
    bundle = world.write()
    other = linear_model(world.folder / "other.onnx", flip=True)
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    manifest["files"]["model.onnx"] = verify_template.sha256(other)
    forged = replace_part(
        bundle, world.folder / "forged.zip", model_onnx=other.read_bytes(), manifest_json=json.dumps(manifest).encode()
    )
    report = verify_bundle(forged)
    passed = {check.name: check.ok for check in report.checks}
    assert not report.ok
    assert passed["model.onnx SHA-256"]
    assert not passed["predictions as recorded"]
    assert not passed["right on the sample"]
    assert run_verify(unzip(forged, world.folder / "out")).returncode == 1


def test_a_recorded_accuracy_that_the_sample_refutes_fails(world: World) -> None:
    bundle = world.write()
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    manifest["expected"]["accuracy"]["value"] = 0.9999
    report = verify_bundle(
        replace_part(bundle, world.folder / "boast.zip", manifest_json=json.dumps(manifest).encode())
    )
    assert [check.name for check in report.checks if not check.ok] == ["fits recorded accuracy"]


def test_an_altered_card_fails(world: World) -> None:
    report = verify_bundle(replace_part(world.write(), world.folder / "b.zip", card_md=b"the best model ever"))
    assert [(c.name, c.found) for c in report.checks if not c.ok] == [("other files' SHA-256", "card.md altered")]


def test_verify_and_verify_py_say_the_same(world: World) -> None:
    bundle = world.write()
    arguments = ("--max-kb", "0.1", "--max-drop", "0.5")
    done = run_verify(unzip(bundle, world.folder / "out"), *arguments)
    report = verify_bundle(bundle, limits=Limits(max_kb=0.1, max_drop=0.5))
    assert done.returncode == 1
    assert done.stdout.splitlines() == list(report.lines)
    assert json.loads(json.dumps(report.to_json()))["ok"] is False


@pytest.mark.parametrize(
    ("limits", "ok"),
    [
        ({"max_drop": 1.0}, True),
        ({"max_drop": 0.99}, False),
        ({"max_drop": -1}, False),
        ({"max_kb": 1000}, True),
        ({"max_kb": 0.5}, False),
        ({"max_p95_ms": 10_000}, True),
        ({"max_p95_ms": 1e-6}, False),
    ],
)
def test_limits_decide(world: World, limits: dict[str, float], ok: bool) -> None:
    assert verify_bundle(world.write(), limits=Limits(**limits)).ok is ok


def test_a_drop_without_a_recorded_baseline_is_not_judged_good(world: World) -> None:
    bundle = write_bundle(world.folder / "b.zip", world.model, world.trial, world.sweep, world.data)
    assert verify_bundle(bundle).ok
    assert not verify_bundle(bundle, limits=Limits(max_drop=50)).ok


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_accuracy_on_the_callers_data_counts_towards_the_drop(world: World, layout: str) -> None:
    fresh = make_dataset(seed=1, n=300).test
    inputs = fresh.inputs if layout == "nchw" else fresh.inputs.transpose(0, 2, 3, 1)
    path = world.folder / "mine.npz"
    np.savez(path, x_test=inputs, y_test=fresh.labels)
    right = measured_accuracy(world.model, dataclasses.replace(world.data, test=fresh))
    report = verify_bundle(world.write(), data=path, limits=Limits(max_drop=100))
    checks = {check.name: check for check in report.checks}
    assert checks["accuracy on your data"].found == f"{right:.2%} of 300"
    assert world.baseline.accuracy is not None
    assert checks["points lost"].found == f"{100 * (world.baseline.accuracy.value - right):.2f}"
    np.savez(path, x_test=inputs, y_test=(fresh.labels + 1) % CLASSES)
    assert not verify_bundle(world.write(), data=path, limits=Limits(max_drop=20)).ok


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 3, 5, 6), np.uint8)}, "no array 'x_test'"),
        ({"x_test": np.zeros((2, 9, 9), np.uint8), "y_test": np.zeros(2)}, "3×5×6"),
        ({"x_test": np.zeros((2, 3, 5, 6), np.uint8), "y_test": np.zeros(3)}, "y_test has 3 labels for 2 inputs"),
        ({"x_test": np.zeros((2, 3, 5, 6), np.float32), "y_test": np.zeros(2)}, "float32"),
        ({"x_test": np.array([{"a": 1}], object), "y_test": np.zeros(1)}, "not a usable .npz"),
    ],
)
def test_unusable_data_is_one_clear_line(world: World, arrays: dict[str, Any], message: str) -> None:
    path = world.folder / "mine.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message) as raised:
        verify_bundle(world.write(), data=path)
    assert "\n" not in str(raised.value)


def test_missing_or_damaged_data_is_one_clear_line(world: World) -> None:
    bundle = world.write()
    with pytest.raises(InputError, match="does not exist"):
        verify_bundle(bundle, data=world.folder / "none.npz")
    (world.folder / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(InputError, match=r"bad\.npz is not a usable"):
        verify_bundle(bundle, data=world.folder / "bad.npz")


def flip_predictions(bundle: Path, target: Path, count: int, arithmetic: str) -> Path:
    """A bundle whose record says otherwise of `count` images that the model gets wrong, with checksums made to fit."""
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        with archive.open("sample.npz") as file, np.load(file) as arrays:
            sample = dict(arrays)
    wrong = np.flatnonzero(sample["predictions"] != sample["labels"])[:count]
    assert len(wrong) == count
    # To a third class, so that the count of right answers stays and only the flips are judged.
    third = [next(k for k in range(CLASSES) if k not in (sample["labels"][i], sample["predictions"][i])) for i in wrong]
    sample["predictions"][wrong] = third
    manifest["arithmetic"] = arithmetic
    npz = npz_bytes(sample)
    manifest["files"]["sample.npz"] = hashlib.sha256(npz).hexdigest()
    return replace_part(bundle, target, sample_npz=npz, manifest_json=json.dumps(manifest).encode())


@pytest.mark.parametrize(("arithmetic", "allowed"), [("float", 1), ("int8", 10)])
def test_as_many_flips_pass_as_another_cpu_may_cause(world: World, arithmetic: str, allowed: int) -> None:
    bundle = world.write()
    assert verify_bundle(flip_predictions(bundle, world.folder / "few.zip", allowed, arithmetic)).ok
    report = verify_bundle(flip_predictions(bundle, world.folder / "more.zip", allowed + 1, arithmetic))
    assert [check.name for check in report.checks if not check.ok] == ["predictions as recorded"]


@pytest.mark.parametrize(("quantized", "arithmetic"), [(False, "float"), (True, "int8")])
def test_arithmetic_is_read_off_the_graph(world: World, quantized: bool, arithmetic: str) -> None:
    world.model = linear_model(world.folder / "q.onnx", quantized=quantized)
    world.trial = make_trial(measured_accuracy(world.model, world.data), len(world.data.test))
    manifest = json.loads((unzip(world.write(), world.folder / "out") / "manifest.json").read_text())
    assert manifest["arithmetic"] == arithmetic
    assert manifest["expected"]["size_bytes"] == 81_234


@pytest.mark.parametrize("batch", ["N", 3])
def test_json_has_the_latency_here_and_finds_its_own_changes(world: World, batch: int | str) -> None:
    world.model = linear_model(world.folder / "net.onnx", batch=batch)
    folder = unzip(world.write(), world.folder / "out")
    done = run_verify(folder, "--json", "--max-kb", "0.1")
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    latency = found["latency_ms"]
    assert latency["low"] <= latency["p50"] <= latency["high"] <= latency["p99"]
    assert latency["p50"] <= latency["p95"] <= latency["p99"]
    assert (latency["batch"], latency["calls"] >= 200) == (1 if batch == "N" else batch, True)
    assert found["sha256"] == hashlib.sha256(world.model.read_bytes()).hexdigest()
    assert (found["trial"], found["ok"]) == (world.trial.id, False)
    assert [c["name"] for c in found["checks"] if not c["ok"]] == ["model.onnx, kB"]
    assert found["machine"]["cpu"]
    assert found["digest"] == board_template.digest(found)
    assert found["digest"] != board_template.digest(found | {"trial": "another"})


@pytest.mark.parametrize(("layout", "remedy"), [(3, "export it again"), (99, "update paretoscope"), ("x", "update")])
def test_a_bundle_of_another_layout_says_which_of_both_is_older(world: World, layout: object, remedy: str) -> None:
    whole = world.write()
    with zipfile.ZipFile(whole) as archive:
        manifest = json.loads(archive.read("manifest.json")) | {"format": layout}
    other = replace_part(whole, world.folder / "other.zip", manifest_json=json.dumps(manifest).encode())
    with pytest.raises(InputError, match=rf"has format {layout!r}, this program reads 4; {remedy}"):
        verify_bundle(other)
