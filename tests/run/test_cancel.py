"""Cancelling reaches what a worker is in the middle of, and what that has started."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psutil
import pytest
from distributed import Client, LocalCluster

from engine.cores import Pool, width
from engine.errors import CancelledError
from engine.measure.fresh_process import run_module
from engine.run.on_host import on_host
from engine.run.plan import Node
from engine.run.run import execute
from engine.run.task import Task
from engine.run.worker import run_node
from engine.spec.read import read_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.small_sweep import write_small_sweep

LONG_S = 600.0


def test_a_worker_in_the_middle_of_a_step_and_its_measuring_process_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pids = tmp_path / "pids"

    def long(task: Task, *_inputs: object) -> object:
        """A local function, so that it travels to the worker by value."""
        if task.node.kind == "quantize":
            pids.write_text(f"{os.getpid()}")
            # As a latency is measured; the module waits for what never comes.
            run_module("tests.helpers.never_ends", {"pids": str(pids)}, timeout_s=LONG_S)
        return run_node(task)

    monkeypatch.setattr("engine.run.submission.run_node", long)
    sweep = read_sweep(write_small_sweep(tmp_path))
    store, ended = Store.open(), []
    runner = threading.Thread(target=lambda: ended.append(execute(sweep, store, Artifacts.open())))
    runner.start()
    deadline = time.monotonic() + 200
    while runner.is_alive() and len(_said(pids)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    processes = [psutil.Process(pid) for pid in _said(pids)]
    assert len(processes) == 2
    asked = time.monotonic()
    store.request_cancel(sweep.id)
    runner.join(LONG_S / 2)
    assert time.monotonic() - asked < LONG_S / 2
    assert ended[0].state == store.sweep(sweep.id).state == "cancelled"
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []
    assert [p.name for p in tmp_path.glob("*paretoscope-scratch*")] == []


def _said(pids: Path) -> list[int]:
    return [int(text) for text in pids.read_text().split()] if pids.exists() else []


def test_a_step_ends_between_two_batches_where_nobody_waits_for_it():
    with Pool(1).task(1) as task:
        assert width() == 1
        task.unwanted = lambda: True
        with pytest.raises(CancelledError, match="not wanted any more"):
            width()


def test_a_worker_of_a_shared_cluster_hears_that_a_node_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARETOSCOPE_HOST_LOCK", str(tmp_path))
    begun, ended = str(tmp_path / "begun"), str(tmp_path / "ended")
    node = Node("k" * 64, "finetune", (), {}, 1.0, ".safetensors")

    def train() -> None:
        """A local function, so that it travels to the worker by value."""
        try:
            with on_host(node):
                Path(begun).touch()
                for _ in range(6000):
                    width()
                    time.sleep(0.01)
        except CancelledError as error:
            Path(ended).write_text(str(error))
            raise

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, resources={"cpu": 1}, dashboard_address="127.0.0.1:0"
        ) as local,
        Client(local) as client,
    ):
        future = client.submit(train, key=node.task_name(), resources={"cpu": 1})
        _wait_for(Path(begun))
        client.cancel([future])
        _wait_for(Path(ended))
    assert Path(ended).read_text() == "this step is not wanted any more"


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 50
    while not (path.exists() and (path.name == "begun" or path.read_text())):
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.01)
