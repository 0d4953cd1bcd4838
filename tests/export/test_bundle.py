"""Bundles: written whole and the same every time, checked by their own verify.py, unpacked without trust."""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from engine.compress import quantize
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import InputError, NotFoundError
from engine.export import bundle as bundles
from engine.export import predict_template
from engine.export.bundle import export_bundle, verify_bundle, write_bundle
from engine.export.recorded import SAMPLE_BYTES, draw_sample
from engine.export.verify_template import Limits
from engine.spec.recipe import Recipe
from engine.spec.sections import Model
from engine.spec.space import expand_space
from engine.spec.steps import Distill, Finetune, Prune, Quantize
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.bundles import (
    RECIPE,
    World,
    linear_model,
    make_sweep,
    make_trial,
    measured_accuracy,
    run_verify,
    unzip,
)


def test_the_bundle_passes_its_own_check(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    assert sorted(p.name for p in folder.iterdir()) == sorted(bundles.PARTS)
    done = run_verify(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "passed: 5 checks" in done.stdout
    assert len(done.stdout.splitlines()) <= 8


def test_verify_py_needs_only_numpy_and_onnxruntime(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    names = set()
    for node in (n for part in ("verify.py", "predict.py") for n in ast.walk(ast.parse((folder / part).read_text()))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    # Pillow where a picture is given, and only then.
    assert names - sys.stdlib_module_names == {"numpy", "onnxruntime", "predict", "PIL"}


def test_its_programs_are_python_3_9(world: World) -> None:
    """Boards keep old Pythons: no newer syntax, no `zip(strict=…)`. Tried by hand on 3.9.18 with onnxruntime 1.19.2."""
    folder = unzip(world.write(), world.folder / "out")
    for part in ("verify.py", "predict.py"):
        tree = ast.parse((folder / part).read_text(), feature_version=(3, 9))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not [c for c in calls if any(k.arg == "strict" for k in c.keywords)]


def test_the_same_trial_gives_the_same_bytes(world: World) -> None:
    assert world.write("a.zip").read_bytes() == world.write("b.zip").read_bytes()


@pytest.mark.parametrize("batch", [1, 64])
def test_a_model_with_a_fixed_batch_is_exported_and_checked(world: World, batch: int) -> None:
    world.model = linear_model(world.folder / "fixed.onnx", batch=batch)
    assert verify_bundle(world.write(), limits=Limits(max_p95_ms=1e6)).ok


def test_a_file_that_rounds_as_it_runs_answers_one_by_one_as_it_was_measured(world: World) -> None:
    images = world.data.preprocessing(world.data.test.inputs)
    world.model = world.folder / "dynamic.onnx"
    float_model = onnx.load(linear_model(world.folder / "float.onnx"))
    onnx.save(
        quantize.apply(Quantize(method="dynamic", weight_bits=3, weight_range="safe"), float_model, images), world.model
    )
    folder = unzip(world.write(), world.folder / "out")
    with np.load(folder / "sample.npz") as sample:
        inputs, predictions = sample["inputs"], sample["predictions"]
    session, settings = (
        predict_template.open_model(world.model),
        json.loads((folder / "preprocess.json").read_text()),
    )
    alone = [predict_template.outputs(session, inputs[i : i + 1], settings)[0] for i in range(len(inputs))]
    assert np.array_equal(predict_template.outputs(session, inputs, settings), alone)
    assert np.array_equal(np.argmax(alone, 1), predictions)
    assert not np.array_equal(predict_template.outputs(session, inputs, settings | {"alone": False}), alone)
    assert run_verify(folder).returncode == 0


def test_preprocessing_in_the_bundle_is_the_one_of_the_engine(world: World) -> None:
    settings = json.loads((unzip(world.write(), world.folder / "out") / "preprocess.json").read_text())
    inputs = world.data.test.inputs
    np.testing.assert_array_equal(predict_template.preprocess(inputs, settings), world.data.preprocessing(inputs))
    assert settings["input"] == {"name": "pixels", "dtype": "float32", "layout": "NCHW", "shape": ["N", 3, 5, 6]}
    assert (settings["stored_dtype"], settings["output"]["name"]) == ("uint8", "scores")


@pytest.mark.parametrize("shape", [(7,), (3, 9), (3, 5, 6)])
@pytest.mark.parametrize(("flip", "last"), [(False, False), (True, False), (False, True), (True, True)])
def test_inputs_of_every_rank_and_order_are_prepared_as_in_the_engine(
    shape: tuple[int, ...], flip: bool, last: bool
) -> None:
    inputs = np.random.default_rng(0).integers(0, 256, (4, *shape)).astype(np.uint8)
    per_channel = tuple(np.linspace(0.2, 0.7, shape[0]).tolist())
    for mean in ((0.5,), per_channel):
        preprocessing = Preprocessing(1 / 255, mean, mean, flip, last)
        found = predict_template.preprocess(inputs, json.loads(json.dumps(asdict(preprocessing))))
        np.testing.assert_array_equal(found, preprocessing(inputs))
        assert found.shape[1:] == preprocessing.shape(shape)
    by_hand = (inputs[0, ::-1] if flip else inputs[0]) / 255.0
    by_hand = (by_hand - np.reshape(mean, (-1, *[1] * (len(shape) - 1)))) / np.reshape(
        mean, (-1, *[1] * (len(shape) - 1))
    )
    np.testing.assert_allclose(found[0], np.moveaxis(by_hand, 0, -1) if last else by_hand, atol=1e-5)


def test_labels_are_one_per_line_in_class_order(world: World) -> None:
    text = (unzip(world.write(), world.folder / "out") / "labels.txt").read_text(encoding="utf-8")
    assert text.splitlines() == ["top left", "b/c", "Größe", "d"]


def test_the_card_carries_every_number_with_its_uncertainty(world: World) -> None:
    card = (unzip(world.write(), world.folder / "out") / "card.md").read_text(encoding="utf-8")
    a = world.trial.accuracy
    assert a is not None
    for expected in (
        f"{a.value:.2%} (95 % interval {a.low:.2%} to {a.high:.2%}, n = 700)",
        "-1.00 points against the baseline, mid-p 0.25",
        "81.2 kB",
        "median 0.123 ms, p95 0.200 ms, p99 0.300 ms",
        "0.75× (0.73× to 0.77×)",
        "| Energy on this host, estimated (datasheet) | 1.50 mJ (0.800 to 2.50); CPU power share of 7.5 W |",
        "Test CPU, 2 cores, Linux, onnxruntime 1.32.0",
        "numpy 2.4.6",
        "**deployed**",
        "Remove whole channels until 50 % of the parameters are gone",
        "stm32h7a3-xcubeai: no row for this operator",
        "patches",
    ):
        assert expected in card


def test_the_code_on_the_card_runs_on_the_bundle(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    code = (folder / "card.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    inputs = "import numpy; s = numpy.load('sample.npz'); inputs = s['inputs']\n"
    check = "\nassert (outputs.argmax(1) == s['predictions']).all()"
    done = subprocess.run(
        [sys.executable, "-c", inputs + code + check], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_folder_of_the_exporter_leaves_the_machine(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    for part in folder.iterdir():
        assert b"/home/someone" not in part.read_bytes()
        assert str(world.folder).encode() not in part.read_bytes()


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (Quantize(weight_bits=16, activation_bits=32),),
        (Prune(method="magnitude", ratio=0.9), Finetune(epochs=2, samples=100, learning_rate=0.01)),
        (
            Distill(student="ds_cnn", epochs=3),
            Prune(method="channel", ratio=0.25),
            Quantize(weight_bits=4, activation_bits=32),
        ),
        (Finetune(epochs=1), Finetune(epochs=2)),
        (
            Distill(student="ds_cnn"),
            Finetune(epochs=2),
            Quantize(weight_bits=8, activation_bits=8, calibration="minmax"),
        ),
    ],
)
def test_the_recipe_reads_back_as_a_spec_of_that_recipe(steps: tuple[Any, ...]) -> None:
    recipe = Recipe(steps=steps)
    sweep = parse_sweep(yaml.safe_load(bundles.recipe_yaml(recipe, make_sweep(seed=7))))
    assert sweep.all_recipes[-1] == recipe
    assert set(sweep.all_recipes) == {Recipe(), recipe}
    assert (sweep.seed, sweep.model.source) == (7, "nets.py:build")


def test_a_recipe_names_data_without_its_folders() -> None:
    data = {"source": "/home/ann/x.npy", "labels": "/home/ann/y.npy"}
    sweep = parse_sweep({"model": {"source": "nets.py:build"}, "data": data})
    found = yaml.safe_load(bundles.recipe_yaml(Recipe(), sweep))["data"]
    assert (found["source"], found["labels"]) == ("x.npy", "y.npy")


def test_every_recipe_of_a_grid_can_be_written_as_a_spec() -> None:
    space = {
        "distill": [None, {"student": "ds_cnn"}],
        "prune": [None, {"method": ["channel", "magnitude"], "ratio": [0.25, 0.5], "finetune_epochs": [0, 1]}],
        "quantize": [None, {"weight_bits": [8, 4], "activation_bits": 32}],
    }
    recipes = expand_space(space)
    for recipe in recipes:
        assert recipe in parse_sweep(yaml.safe_load(bundles.recipe_yaml(recipe, make_sweep()))).all_recipes
    assert len(recipes) > 40


def test_large_images_make_a_smaller_sample() -> None:
    big = Split(np.zeros((40, 3, 512, 1024), np.uint8), np.arange(40))
    sample = draw_sample(big)
    assert len(sample) == SAMPLE_BYTES // big.inputs[0].nbytes
    assert len(set(sample.labels)) == len(sample)


def test_a_file_that_was_not_measured_is_not_exported(world: World) -> None:
    world.model = linear_model(world.folder / "other.onnx", flip=True)
    with pytest.raises(InputError, match="not the file that was measured"):
        world.write()
    assert not (world.folder / "bundle.zip").exists()


def test_a_damaged_artifact_is_not_exported(world: World) -> None:
    world.model.write_bytes(world.model.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be exported"):
        world.write()


def test_only_measured_test_images_are_in_the_sample(world: World) -> None:
    world.sweep = make_sweep(measure={"test_samples": 50})
    first = dataclasses.replace(world.data, test=world.data.test.head(50))
    world.trial = make_trial(measured_accuracy(world.model, first), 50)
    folder = unzip(world.write(), world.folder / "out")
    with np.load(folder / "sample.npz") as arrays:
        np.testing.assert_array_equal(arrays["inputs"], world.data.test.inputs[:50])


def test_targets_that_cannot_be_written_are_one_clear_line(world: World) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write_bundle(world.folder, world.model, world.trial, world.sweep, world.data)
    with pytest.raises(InputError, match="does not exist"):
        world.write("no/such/place.zip")
    with pytest.raises(InputError, match="cannot be written"):
        write_bundle(Path("/proc/bundle.zip"), world.model, world.trial, world.sweep, world.data)


def test_a_failed_write_leaves_the_old_bundle_and_no_scraps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = world.write()
    before = bundle.read_bytes()

    def full_disk(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    world.trial = dataclasses.replace(world.trial, notes=("another",))
    with pytest.raises(InputError, match="No space left on device"):
        world.write()
    assert bundle.read_bytes() == before
    assert [p.name for p in world.folder.iterdir() if p.name.endswith(".part")] == []


def test_a_stored_trial_is_exported_and_passes(world: World, stored: tuple[Store, Artifacts]) -> None:
    target = world.folder / "stored.zip"
    assert export_bundle(*stored, "first look", world.trial.id[:6], target) == target
    report = verify_bundle(target, data=world.folder / "patches.npz", limits=Limits(max_drop=1))
    assert report.ok, report.lines
    assert [c.found for c in report.checks if c.name == "points lost"] == ["1.00"]


def test_trials_that_cannot_be_exported_are_one_clear_line(world: World, stored: tuple[Store, Artifacts]) -> None:
    store, artifacts = stored
    target = world.folder / "stored.zip"
    with pytest.raises(NotFoundError, match="nosuch"):
        export_bundle(store, artifacts, "latest", "nosuch", target)
    store.save_trial(world.sweep.id, Trial(world.trial.id, RECIPE, state="failed", error="no such layer"))
    with pytest.raises(InputError, match="no such layer"):
        export_bundle(store, artifacts, "first look", world.trial.id, target)
    store.save_trial(world.sweep.id, Trial(world.trial.id, RECIPE))
    with pytest.raises(InputError, match="it is pending"):
        export_bundle(store, artifacts, "first look", world.trial.id, target)
    assert not target.exists()


def test_a_recipe_keeps_the_options_that_its_network_was_built_with() -> None:
    model = Model(source="/home/me/net.py:build", options={"width": 32, "stem": [3, 5]})
    written = yaml.safe_load(bundles.recipe_yaml(Recipe(), make_sweep().model_copy(update={"model": model})))["model"]
    assert written == {"source": "net.py:build", "weights": None, "options": {"width": 32, "stem": [3, 5]}}
