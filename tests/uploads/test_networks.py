"""Networks as pages ask them: the answers of the same code here, and one line for what asks for everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.errors import StepError
from engine.explain import compare, network
from engine.explain.playground import answer
from engine.export.opened import HowToAsk, Opened, of_trial
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.uploads import bounds, keep, networks
from engine.uploads.kept_process import KeptProcesses
from engine.uploads.networks import NetworkFile
from tests.helpers.hostile_networks import endless, huge

MODULE = "engine.uploads.network_process"
HOW = HowToAsk({"untouched": True}, (), {"graph_optimisation": "all", "provider": "CPU"})


def how_of(trial):
    """How the page asks a trial of the shipped example."""
    store = Store.open()
    row = next(r for r in store.sweeps() if r.example)
    return of_trial(trial, store.spec(row.id), load_fashion_mnist())


@pytest.fixture
def kept(monkeypatch):
    """Puts processes with these limits in the place of those for uploads."""
    made = []

    def put(**limits):
        made.append(KeptProcesses(MODULE, replace(bounds.OPENING, **limits)))
        monkeypatch.setitem(networks.PROCESSES, True, made[-1])
        return made[-1]

    yield put
    for processes in made:
        processes.close()


@pytest.fixture
def sound(home):
    """A trial of the shipped example and its file."""
    store = Store.open()
    trial = store.trials(next(r for r in store.sweeps() if r.example).id)[1]
    return trial, Artifacts.open().local(trial.artifact)


def test_answers_are_those_of_the_same_code_here(kept, sound):
    kept()
    trial, path = sound
    file, data = NetworkFile(path, trial.label, True), load_fashion_mnist()
    how = how_of(trial)
    found = file.answer(data.test.inputs[:1], how)
    here = answer(Opened(path, how), data.test.inputs[:1], False)
    assert found.top == here.top
    assert found.milliseconds > 0
    assert (found.batch, found.values) == (here.batch, here.values)
    assert file.layers() == compare.layers_of_file(path)
    for fold in (True, False):
        assert file.graph(fold) == network.graph_of_file(path, fold)


def test_a_network_that_never_ends_is_one_line_and_the_next_is_answered(kept, sound, tmp_path):
    data, processes = load_fashion_mnist(), kept(wall_s=2)
    hostile, (trial, path) = NetworkFile(endless(tmp_path / "e.onnx"), "int8", True), sound
    wanted = "the network of int8 takes more than 2 s, the most that an uploaded network is given on a page"
    with pytest.raises(StepError, match=wanted):
        hostile.answer(data.test.inputs[:1], HOW)
    assert processes.waiting == 0
    kept()
    assert NetworkFile(path, trial.label, True).layers()


def test_what_overstepped_is_not_tried_again_at_once(kept, monkeypatch, tmp_path):
    kept(wall_s=1)
    hostile = NetworkFile(endless(tmp_path / "e.onnx"), "int8", True)
    with pytest.raises(StepError, match="more than 1 s"):
        hostile.layers()
    monkeypatch.setattr("engine.uploads.kept_process._Process", None)  # which could not be called
    with pytest.raises(StepError, match="more than 1 s"):
        hostile.layers()


@pytest.mark.parametrize("numbers", [10**12, 10**9])
def test_a_network_that_asks_for_huge_memory_is_one_line(kept, sound, tmp_path, numbers):
    data, processes = load_fashion_mnist(), kept(memory_bytes=1 << 30)
    hostile, (trial, path) = NetworkFile(huge(tmp_path / "h.onnx", numbers), "int8", True), sound
    with pytest.raises(StepError, match=r"takes more than 1\.1 GB of memory, the most that an uploaded network"):
        hostile.answer(data.test.inputs[:1], HOW)
    assert NetworkFile(path, trial.label, True).layers()
    assert processes.waiting == 1


def test_a_damaged_file_and_a_wrong_shape_are_told_by_the_trials_name(kept, sound, tmp_path):
    processes = kept()
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(StepError, match=r"^the file of int8 is not an ONNX file"):
        NetworkFile(tmp_path / "m.onnx", "int8", True).layers()
    with pytest.raises(StepError, match=r"^the file of int8 cannot run on these inputs: .*Got: 9 Expected: 28"):
        NetworkFile(sound[1], "int8", True).answer(np.zeros((1, 1, 9, 9), np.uint8), how_of(sound[0]))
    assert processes.waiting == 1


def test_a_process_that_was_ended_meanwhile_is_replaced_without_a_word(kept, sound):
    processes, (trial, path) = kept(), sound
    file = NetworkFile(path, trial.label, True)
    first = file.layers()
    waiting = [child for child in psutil.Process().children() if MODULE in child.cmdline()]
    assert waiting
    for child in waiting:
        child.kill()
    psutil.wait_procs(waiting, timeout=20)
    assert file.layers() == first
    assert processes.waiting == 1


def test_an_upload_is_known_by_its_path_also_when_it_is_gone(home):
    sha = "a" * 64
    assert keep.names_upload(f"/elsewhere/uploads/{sha}/model.onnx")
    assert not keep.names_upload("resnet8")
    assert not keep.names_upload(str(Path("/srv/models") / sha / "model.onnx"))
