"""Bundles: written whole and the same every time, checked by their own verify.py, unpacked without trust."""

from __future__ import annotations

import ast
import dataclasses
import json
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from engine.datasets.dataset import Dataset, Preprocessing, Split
from engine.errors import InputError, NotFoundError
from engine.export import bundle as bundles
from engine.export import verify_template, zips
from engine.export.bundle import export_bundle, verify_bundle, write_bundle
from engine.spec.steps import Distill, Finetune, Prune, Quantize, Recipe
from engine.spec.sweep import Sweep, expand_space, parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Accuracy, Energy, Interval, Latency, Machine, Projection, Trial

CLASSES = 4
RECIPE = Recipe(
    steps=(
        Prune(method="channel", ratio=0.5),
        Finetune(epochs=1, samples=2000),
        Quantize(weight_bits=8, activation_bits=8),
    )
)
MACHINE = Machine("abc", "Test CPU", 2, 4.0, ("avx2",), "Linux", {"onnxruntime": "1.32.0", "numpy": "2.4.6"})


def make_dataset(seed: int = 0, n: int = 700) -> Dataset:
    """Images of 3×5×6 whose class is the quarter that is brightest, with noise enough that a linear model errs at times."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, n)
    images = random.integers(0, 200, (n, 3, 5, 6))
    images[np.arange(n), 0, labels, :] += 50
    split = Split(images.astype(np.uint8), labels.astype(np.int64))
    part = split.head(10)
    preprocessing = Preprocessing(1 / 255, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    return Dataset("patches", "ab" * 32, ("top left", "b/c", "Größe", "d"), preprocessing, part, part, part, split)


def linear_model(path: Path, flip: bool = False, batch: int | str = "N", quantized: bool = False) -> Path:
    """Logit k = sum of row k of channel 0: right for most of `make_dataset`; `flip` swaps two classes."""
    weights = np.zeros((90, CLASSES), np.float32)
    for k in range(CLASSES):
        weights[6 * k : 6 * k + 6, k] = 1
    if flip:
        weights = weights[:, ::-1]
    nodes = [helper.make_node("Flatten", ["pixels"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["scores"])]
    constants = [numpy_helper.from_array(np.ascontiguousarray(weights), "w")]
    if quantized:
        nodes = [
            helper.make_node("QuantizeLinear", ["pixels", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["coarse"]),
            helper.make_node("Flatten", ["coarse"], ["flat"]),
            nodes[1],
        ]
        constants += [numpy_helper.from_array(np.float32(0.05), "s"), numpy_helper.from_array(np.uint8(128), "z")]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, 5, 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, CLASSES])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def measured_accuracy(model: Path, data: Dataset) -> float:
    settings = dataclasses.asdict(data.preprocessing)
    predicted = verify_template.predict(verify_template.open_model(model), data.test.inputs, settings)
    return float((predicted == data.test.labels).mean())


def make_trial(accuracy: float, n: int, recipe: Recipe = RECIPE, **changes: Any) -> Trial:
    return dataclasses.replace(
        Trial(
            id=recipe.id,
            recipe=recipe,
            state="done",
            accuracy=Accuracy(accuracy, accuracy - 0.02, accuracy + 0.02, n, 0.25),
            size_bytes=81_234,
            size_zipped_bytes=61_000,
            params=360,
            nonzero_params=24,
            macs=360,
            latency_ms=Latency(0.123, 0.2, 0.3),
            latency_ratio=Interval(0.75, 0.73, 0.77),
            projections={"host": Projection(None, Energy(1.5, 0.8, 2.5, "datasheet", "CPU power share of 7.5 W"))},
            machine=MACHINE,
            artifact="ab" * 32 + ".onnx",
            notes=("stm32h7a3-xcubeai: no row for this operator",),
        ),
        **changes,
    )


def make_sweep(**changes: Any) -> Sweep:
    return parse_sweep({"name": "first look", "model": {"source": "/home/someone/nets.py:build"}, **changes})


@dataclasses.dataclass
class World:
    """A measured trial with its model, data and baseline."""

    folder: Path
    model: Path
    data: Dataset
    trial: Trial
    baseline: Trial
    sweep: Sweep

    def write(self, name: str = "bundle.zip") -> Path:
        return write_bundle(self.folder / name, self.model, self.trial, self.sweep, self.data, self.baseline)


@pytest.fixture
def world(tmp_path: Path) -> World:
    data = make_dataset()
    model = linear_model(tmp_path / "m.onnx")
    accuracy = measured_accuracy(model, data)
    assert 0.6 < accuracy < 0.99, "the toy task must be neither trivial nor hopeless"
    n = len(data.test)
    baseline = make_trial(accuracy + 0.01, n, Recipe())
    return World(tmp_path, model, data, make_trial(accuracy, n), baseline, make_sweep())


def unzip(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def run_verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the person who gets the bundle would: from elsewhere, without this project on the path."""
    command = [sys.executable, "-W", "error", "-I", str(folder / "verify.py"), *arguments]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False)


def replace_part(source: Path, target: Path, **parts: bytes | None) -> Path:
    """A copy of a bundle with members replaced, added or (None) left out; dots in names are written as underscores."""
    changes = {name.replace("__", "/").replace("_", ".", 1): content for name, content in parts.items()}
    with zipfile.ZipFile(source) as old:
        members = {name: old.read(name) for name in old.namelist()} | changes
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            if content is not None:
                new.writestr(name, content)
    return target


def test_the_bundle_passes_its_own_check(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    assert sorted(p.name for p in folder.iterdir()) == sorted(bundles.PARTS)
    done = run_verify(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "passed: 5 checks" in done.stdout
    assert len(done.stdout.splitlines()) <= 8


def test_verify_py_needs_only_numpy_and_onnxruntime(world: World) -> None:
    source = (unzip(world.write(), world.folder / "out") / "verify.py").read_text()
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert names - sys.stdlib_module_names == {"numpy", "onnxruntime"}


def test_the_same_trial_gives_the_same_bytes(world: World) -> None:
    assert world.write("a.zip").read_bytes() == world.write("b.zip").read_bytes()


@pytest.mark.parametrize("batch", [1, 64])
def test_a_model_with_a_fixed_batch_is_exported_and_checked(world: World, batch: int) -> None:
    world.model = linear_model(world.folder / "fixed.onnx", batch=batch)
    assert verify_bundle(world.write(), max_p95_ms=1e6).ok


def test_preprocessing_in_the_bundle_is_the_one_of_the_engine(world: World) -> None:
    settings = json.loads((unzip(world.write(), world.folder / "out") / "preprocess.json").read_text())
    inputs = world.data.test.inputs
    np.testing.assert_array_equal(verify_template.preprocess(inputs, settings), world.data.preprocessing(inputs))
    assert settings["input"] == {"name": "pixels", "dtype": "float32", "layout": "NCHW", "shape": ["N", 3, 5, 6]}
    assert (settings["stored_dtype"], settings["output"]["name"]) == ("uint8", "scores")


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
    images = "import numpy; s = numpy.load('sample.npz'); images = s['inputs']\n"
    check = "\nassert (scores.argmax(1) == s['predictions']).all()"
    done = subprocess.run(
        [sys.executable, "-c", images + code + check], cwd=folder, capture_output=True, text=True, check=False
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
    report = verify_bundle(bundle, max_kb=0.1, max_drop=0.5)
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
    assert verify_bundle(world.write(), **limits).ok is ok


def test_a_drop_without_a_recorded_baseline_is_not_judged_good(world: World) -> None:
    bundle = write_bundle(world.folder / "b.zip", world.model, world.trial, world.sweep, world.data)
    assert verify_bundle(bundle).ok
    assert not verify_bundle(bundle, max_drop=50).ok


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_accuracy_on_the_callers_data_counts_towards_the_drop(world: World, layout: str) -> None:
    fresh = make_dataset(seed=1, n=300).test
    inputs = fresh.inputs if layout == "nchw" else fresh.inputs.transpose(0, 2, 3, 1)
    path = world.folder / "mine.npz"
    np.savez(path, x_test=inputs, y_test=fresh.labels)
    right = measured_accuracy(world.model, dataclasses.replace(world.data, test=fresh))
    report = verify_bundle(world.write(), data=path, max_drop=100)
    checks = {check.name: check for check in report.checks}
    assert checks["accuracy on your data"].found == f"{right:.2%} of 300"
    assert world.baseline.accuracy is not None
    assert checks["points lost"].found == f"{100 * (world.baseline.accuracy.value - right):.2f}"
    np.savez(path, x_test=inputs, y_test=(fresh.labels + 1) % CLASSES)
    assert not verify_bundle(world.write(), data=path, max_drop=20).ok


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 3, 5, 6), np.uint8)}, "no array 'x_test'"),
        ({"x_test": np.zeros((2, 9, 9), np.uint8), "y_test": np.zeros(2)}, "3×5×6"),
        ({"x_test": np.zeros((2, 3, 5, 6), np.uint8), "y_test": np.zeros(3)}, "3×5×6"),
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
    npz = bundles._npz(**sample)
    manifest["files"]["sample.npz"] = bundles.hashlib.sha256(npz).hexdigest()
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


def test_large_images_make_a_smaller_sample() -> None:
    big = Split(np.zeros((40, 3, 512, 1024), np.uint8), np.arange(40))
    sample = bundles.draw_sample(big)
    assert len(sample) == bundles.SAMPLE_BYTES // big.inputs[0].nbytes
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


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"__escaped_txt": b"x"}, "no part of a bundle"),
        ({"..__escaped_txt": b"x"}, "no part of a bundle"),
        ({"folder__model_onnx": b"x"}, "no part of a bundle"),
        ({"extra_py": b"x"}, "no part of a bundle"),
        ({"model_onnx": None}, "model.onnx missing"),
        ({"manifest_json": b"{"}, "manifest.json cannot be read"),
        ({"manifest_json": b"[]"}, "not a JSON object"),
        ({"manifest_json": b'{"format": 99}'}, "format 99"),
        ({"manifest_json": b'{"format": 2}'}, "lacks what is needed"),
        ({"preprocess_json": b"\xff"}, "preprocess.json cannot be read"),
        ({"model_onnx": b"junk"}, "cannot be loaded by onnxruntime"),
        ({"sample_npz": b"junk"}, "sample.npz is not a usable"),
    ],
)
def test_a_zip_that_is_no_sound_bundle_is_one_clear_line(
    world: World, parts: dict[str, bytes | None], message: str
) -> None:
    bad = replace_part(world.write(), world.folder / "bad.zip", **parts)
    with pytest.raises(InputError, match=message) as raised:
        verify_bundle(bad)
    assert "\n" not in str(raised.value)
    assert not [p for p in (world.folder, world.folder.parent) if (p / "escaped.txt").exists()]


def test_files_that_are_no_zip_are_one_clear_line(world: World) -> None:
    with pytest.raises(InputError, match="does not exist"):
        verify_bundle(world.folder / "none.zip")
    with pytest.raises(InputError, match="not a readable zip"):
        verify_bundle(world.folder)
    (world.folder / "text.zip").write_text("hello")
    with pytest.raises(InputError, match="not a readable zip"):
        verify_bundle(world.folder / "text.zip")
    whole = world.write().read_bytes()
    (world.folder / "half.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable zip"):
        verify_bundle(world.folder / "half.zip")


def test_a_flipped_byte_inside_the_zip_is_found(world: World) -> None:
    content = bytearray(world.write().read_bytes())
    content[len(content) // 2] ^= 0xFF
    (world.folder / "flipped.zip").write_bytes(content)
    with pytest.raises(InputError, match="not a readable zip"):
        verify_bundle(world.folder / "flipped.zip")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = replace_part(world.write(), world.folder / "bomb.zip", model_onnx=bytes(3 << 20))
    monkeypatch.setattr(zips, "RATIO_FREE_BYTES", 1 << 20)
    monkeypatch.setattr(zips, "MAX_RATIO", 10)
    monkeypatch.setattr(shutil, "copyfileobj", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(InputError, match="would unpack to 3 MB"):
        verify_bundle(bomb)
    monkeypatch.setattr(zips, "MAX_UNPACKED_BYTES", 1 << 20)
    monkeypatch.setattr(zips, "MAX_RATIO", 10_000)
    with pytest.raises(InputError, match="would unpack to 3 MB"):
        verify_bundle(bomb)


def test_parts_twice_and_links_are_refused(world: World) -> None:
    bundle = world.write()
    twice = shutil.copy(bundle, world.folder / "twice.zip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the duplicate that this test is about
        with zipfile.ZipFile(twice, "a") as archive:
            archive.writestr("card.md", "another")
    with pytest.raises(InputError, match="twice"):
        verify_bundle(twice)
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(world.folder / "link.zip", "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name == "labels.txt" else 0o100644) << 16
            archive.writestr(info, content)
    with pytest.raises(InputError, match="link"):
        verify_bundle(world.folder / "link.zip")


def test_code_in_the_zip_is_not_run(world: World) -> None:
    marker = world.folder / "ran"
    evil = f"open({str(marker)!r}, 'w')".encode()
    report = verify_bundle(replace_part(world.write(), world.folder / "evil.zip", verify_py=evil))
    assert not report.ok
    assert not marker.exists()


@pytest.fixture
def stored(world: World, home: Path) -> tuple[Store, Artifacts]:
    """The world's sweep as the runner leaves it: both trials and the model's file, in a store and an artifact folder."""
    data = world.folder / "patches.npz"
    split = world.data.test
    # Training images of its own: splits that share images are refused.
    np.savez(data, x_train=255 - split.inputs, y_train=split.labels, x_test=split.inputs, y_test=split.labels)
    preprocessing = world.data.preprocessing
    world.sweep = make_sweep(data={"source": str(data), "mean": preprocessing.mean, "std": preprocessing.std})
    store, artifacts = Store.open(), Artifacts.open()
    store.begin(world.sweep, [world.baseline, world.trial], 2, 2)
    store.end(world.sweep.id, "done")
    assert world.trial.artifact is not None
    artifacts.put(world.trial.artifact, Path(shutil.copy(world.model, world.folder / "copy.onnx")))
    return store, artifacts


def test_a_stored_trial_is_exported_and_passes(world: World, stored: tuple[Store, Artifacts]) -> None:
    target = world.folder / "stored.zip"
    assert export_bundle(*stored, "first look", world.trial.id[:6], target) == target
    report = verify_bundle(target, data=world.folder / "patches.npz", max_drop=1)
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
