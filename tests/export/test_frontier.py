"""A frontier on a board: one zip, one measure.py, one JSON, which goes back to every trial; what does not run there is told."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.elsewhere.board_report import take_back
from engine.errors import InputError
from engine.export.bundle import verify_bundle
from engine.export.frontier import export_frontier
from engine.export.verify_template import sha256
from engine.spec.recipe import Recipe
from engine.spec.steps import Quantize
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.boards import board_texts
from engine.trials.trial import Trial
from tests.helpers.bundles import World, linear_model, make_trial, measured_accuracy, unzip

Swept = tuple[Store, Artifacts, str, list[Trial]]


@pytest.fixture
def frontier(world: World, stored: tuple[Store, Artifacts]) -> Swept:
    """A sweep whose frontier is a baseline, the same file again, one in int8 and one with a fixed batch."""
    store, artifacts = stored
    n, found = len(world.data.test), [world.baseline, world.trial]
    for bits, model in (
        (8, linear_model(world.folder / "int8.onnx", quantized=True)),
        (7, linear_model(world.folder / "four.onnx", batch=4)),
    ):
        recipe = Recipe(steps=(Quantize(weight_bits=bits, activation_bits=8),))
        name = f"{bits:x}" * 64 + ".onnx"
        found.append(make_trial(measured_accuracy(model, world.data), n, recipe, artifact=name))
        artifacts.put(name, Path(shutil.copy(model, world.folder / "copy.onnx")))
    store.begin(world.sweep, found, len(found), len(found))
    store.end(world.sweep.id, "done")
    return store, artifacts, world.sweep.id, found


def unpacked(frontier: Swept, folder: Path) -> Path:
    store, artifacts, sweep, trials = frontier
    export_frontier(store, artifacts, sweep, trials, folder / "frontier.zip")
    return unzip(folder / "frontier.zip", folder / "board")


def measure(board: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As on the board: from elsewhere, without this project on the path."""
    command = [sys.executable, "-W", "error", "-I", str(board / "measure.py"), "--seconds", "0.05", *arguments]
    return subprocess.run(command, cwd=board.parent, capture_output=True, text=True, check=False)


def replaced(board: Path, trial: str, model: onnx.ModelProto) -> None:
    """Another file in a trial's place, as if it had been exported."""
    path = board / "models" / f"{trial}.onnx"
    onnx.save(model, str(path))
    manifest = json.loads((board / "manifest.json").read_text())
    manifest["files"][f"models/{trial}.onnx"] = sha256(path)
    (board / "manifest.json").write_text(json.dumps(manifest))


def changed(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], opset: int = 17) -> onnx.ModelProto:
    """A graph that takes what the linear model takes."""
    graph = helper.make_graph(
        nodes, "other",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, 5, 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def endless() -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(n, k, []) for n, k in (("i", TensorProto.INT64), ("c", TensorProto.BOOL))]
    nodes = [helper.make_node("Identity", ["c"], ["again"]), helper.make_node("Identity", ["x"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y"))
    body = helper.make_graph(
        nodes, "body", [*values, x], [helper.make_tensor_value_info("again", TensorProto.BOOL, []), y]
    )
    return changed([helper.make_node("Loop", ["", "go", "pixels"], ["scores"], body=body)], {"go": np.array(True)})


def test_it_is_measured_with_one_command_and_goes_back_to_every_trial(frontier: Swept, tmp_path: Path) -> None:
    store, artifacts, sweep, trials = frontier
    board = unpacked(frontier, tmp_path)
    assert sorted(p.name for p in board.iterdir()) == ["manifest.json", "measure.py", "models", "sample.npz"]
    done = measure(board)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "4 of 4 models ran" in done.stdout
    taken = take_back(store, artifacts, sweep, board / "results.json", "pi", "host")
    told = sorted((found.run.trial, found.run.failed, before) for found, before in taken.kept)
    assert told == sorted((trial.id, (), None) for trial in trials)
    by_trial = {found.run.trial: found.run for found, _ in taken.kept}
    assert by_trial[trials[0].id].ratio is None
    assert by_trial[trials[3].id].batch == 4
    base = by_trial[trials[0].id].latency_ms.value
    for trial in trials[1:]:
        run = by_trial[trial.id]
        assert run.ratio is not None
        assert run.ratio.low <= run.ratio.value <= run.ratio.high
        # Milliseconds are of a call, the ratio is of a sample.
        assert run.latency_ms.value == pytest.approx(run.ratio.value * base * run.batch)
        assert run.latency_ms.value <= run.p95 <= run.p99
        assert any("in turns with it" in text for text in board_texts(taken.kept[1][0]))
    assert store.boards.of(sweep) == sorted(by_trial.values(), key=lambda run: run.trial)
    assert (taken.failed, taken.alone, taken.moved is not None) == ((), {}, True)


def test_the_same_sweep_gives_the_same_bytes_and_the_files_that_were_measured(frontier: Swept, tmp_path: Path) -> None:
    store, artifacts, sweep, trials = frontier
    for name in ("a.zip", "b.zip"):
        export_frontier(store, artifacts, sweep, trials[1:], tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    board = unzip(tmp_path / "a.zip", tmp_path / "board")
    for trial in trials:
        assert (board / "models" / f"{trial.id}.onnx").read_bytes() == artifacts.local(trial.artifact).read_bytes()


def test_measure_py_is_python_3_9_and_needs_only_numpy_and_onnxruntime(frontier: Swept, tmp_path: Path) -> None:
    tree = ast.parse((unpacked(frontier, tmp_path) / "measure.py").read_text(), feature_version=(3, 9))
    names, defined = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call):
            assert not any(k.arg == "strict" for k in node.keywords)
    assert names - sys.stdlib_module_names == {"numpy", "onnxruntime", "PIL"}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.append(node.name)
        elif isinstance(node, ast.Assign):
            defined += [target.id for target in node.targets if isinstance(target, ast.Name)]
    # Its parts were written apart: no name of one may hide another's. `Array` is the same in each.
    twice = {name for name in defined if defined.count(name) > 1}
    assert twice <= {"Array"}


def test_models_that_fail_there_are_told_and_the_others_measured(frontier: Swept, tmp_path: Path) -> None:
    store, artifacts, sweep, trials = frontier
    board = unpacked(frontier, tmp_path)
    sizes = {"size": np.array([1 << 22, 1 << 22], np.int64)}
    replaced(board, trials[1].id, changed([helper.make_node("FutureOp", ["pixels"], ["scores"])], {}, opset=999))
    replaced(board, trials[2].id, changed([helper.make_node("ConstantOfShape", ["size"], ["scores"])], sizes))
    done = measure(board)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "2 of 4 models ran" in done.stdout
    taken = take_back(store, artifacts, sweep, board / "results.json", None, None)
    assert {found.run.trial for found, _ in taken.kept} == {trials[0].id, trials[3].id}
    reasons = {one.trial: one.reason for one in taken.failed}
    assert set(reasons) == {trials[1].id, trials[2].id}
    assert "support for domain ai.onnx is till opset" in reasons[trials[1].id]
    assert "alloc" in reasons[trials[2].id]
    assert not [reason for reason in reasons.values() if "\n" in reason]


def test_without_the_baseline_each_is_timed_alone(frontier: Swept, tmp_path: Path) -> None:
    store, artifacts, sweep, trials = frontier
    board = unpacked(frontier, tmp_path)
    replaced(board, trials[0].id, changed([helper.make_node("FutureOp", ["pixels"], ["scores"])], {}, opset=999))
    assert measure(board, trials[2].id).returncode == 1
    taken = take_back(store, artifacts, sweep, board / "results.json", None, None)
    ((found, _),) = taken.kept
    assert (found.run.trial, found.run.ratio, found.run.calls > 0) == (trials[2].id, None, True)
    assert ([one.trial for one in taken.failed], taken.moved) == ([trials[0].id], None)


def test_a_process_that_hangs_or_dies_is_a_reason(
    frontier: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, trial = unpacked(frontier, tmp_path), frontier[3][1].id
    replaced(board, trial, endless())
    spec = importlib.util.spec_from_file_location("measure", board / "measure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "measure", module)
    spec.loader.exec_module(module)
    assert "was not done after 2 s" in module.apart(trial, "", 0.1, 2)["error"]
    found: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: found.append(module.apart(trial, "", 0.1, 300)))
    asking.start()
    while not (started := [c for c in psutil.Process().children() if "--one" in c.cmdline()]):
        time.sleep(0.05)
    started[0].kill()
    asking.join()
    assert found == [{"error": "its process was ended by signal 9 (SIGKILL, most often for want of memory)"}]


def test_what_is_not_as_it_was_exported_is_named_and_nothing_is_measured(frontier: Swept, tmp_path: Path) -> None:
    trials = frontier[3]
    board = unpacked(frontier, tmp_path)
    cut, gone = (board / "models" / f"{trial.id}.onnx" for trial in trials[1:3])
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    (board / "models" / "guest.onnx").write_bytes(b"x")
    with (board / "measure.py").open("a") as file:
        file.write("# mine\n")
    done = measure(board)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    for words in (f"models/{gone.name}: missing", f"measure.py, models/{cut.name}: altered", "guest.onnx: not of this"):
        assert words in done.stderr
    assert not (board / "results.json").exists()
    with pytest.raises(InputError, match=r"unpack it on the board and run measure\.py"):
        verify_bundle(tmp_path / "frontier.zip")


def test_what_cannot_be_exported_is_one_clear_line(frontier: Swept, tmp_path: Path) -> None:
    store, artifacts, sweep, trials = frontier
    with pytest.raises(InputError, match="no model beside the baseline"):
        export_frontier(store, artifacts, sweep, trials[:1], tmp_path / "f.zip")
    with pytest.raises(InputError, match="is a folder"):
        export_frontier(store, artifacts, sweep, trials, tmp_path)
    store.save_trial(sweep, dataclasses.replace(trials[2], state="failed", error="no such layer"))
    with pytest.raises(InputError, match="no such layer"):
        export_frontier(store, artifacts, sweep, trials, tmp_path / "f.zip")
    assert not (tmp_path / "f.zip").exists()
