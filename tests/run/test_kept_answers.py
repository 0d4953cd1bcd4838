"""A worker that dies takes no finished node with it: what the run has recorded is worked on once, whatever waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from engine.measure.machine import machine
from engine.run.kept_answers import drop, keep, place_of
from engine.run.planner import make_plan
from engine.run.run import execute
from engine.run.task import Task
from engine.spec.read import read_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.small_sweep import in_bits, write_small_sweep


def test_what_is_finished_when_a_worker_dies_is_not_worked_on_again(place: Path, monkeypatch: pytest.MonkeyPatch):
    log, killed, measured = place / "worked.log", place / "killed", set[str]()

    def counted(task: Task, *inputs: object) -> object:
        """A local function, so that it travels to the worker by value. What works is told from what only answers."""
        from engine.run import worker

        work = vars(worker).setdefault("unwrapped", dict(worker._WORK))[task.node.kind]

        def told(mine: Task, output: Path) -> object:
            with log.open("a") as lines:
                lines.write(f"{mine.node.key}\n")
            if mine.node.key in measured and not killed.exists():
                # Until the run has recorded what came before.
                time.sleep(3)
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return work(mine, output)

        worker._WORK[task.node.kind] = told
        return worker.run_node(task)

    monkeypatch.setattr("engine.run.submission.run_node", counted)
    monkeypatch.setattr("engine.run.cluster.machine", lambda: replace(machine(), cores=2))
    sweep = read_sweep(write_small_sweep(place), (in_bits(8, 7, 6, 5, 4), "measure.latency=null"))
    plan = make_plan(sweep, machine())
    measured.update(chain.accuracy for chain in plan.chains[1:])
    store = Store.open()
    outcome = execute(sweep, store, Artifacts.open())
    assert (outcome.state, outcome.trials_failed) == ("done", 0)
    assert killed.exists()
    worked = Counter(log.read_text().split())
    twice = {key for key, times in worked.items() if times > 1}
    needed = {chain.model for chain in plan.chains if chain.accuracy in twice or chain.facts in twice}
    kinds = Counter(row.kind for key, row in store.nodes(worked).items() if key in twice)
    # What ran is tried again; not the step whose file it measures, which Dask lost with the worker and the run had recorded.
    assert 1 <= kinds["accuracy"] <= kinds.total() <= 2
    assert twice.isdisjoint(needed)
    assert set(worked.values()) == {1, 2}


def test_a_scheduler_keeps_answers_of_one_run_until_that_ends():
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as local,
        closing(Client(local, set_as_default=False)) as client,
    ):
        keep(client, "run-1", {"a": (2.5, {"macs": 7, "layers": [1, 2]})})
        keep(client, "run-2", {"a": (1.0, {})})
        assert client.get_metadata(["run-1", "a"]) == [2.5, {"macs": 7, "layers": [1, 2]}]
        drop(client, "run-1")
        assert client.get_metadata(["run-1"]) is None
        assert client.get_metadata(["run-2", "a"]) == [1.0, {}]


def test_a_scheduler_that_is_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as local,
        closing(Client(local, set_as_default=False)) as client,
    ):
        keep(client, "run", {"a": (1.0, {})})
        with monkeypatch.context() as gone:
            # As a client has it that tries to reach it again.
            gone.setattr(client, "status", "connecting")
            gone.setattr(client, "sync", lambda *_, **options: pytest.fail(f"called with {options}"))
            keep(client, "run", {"b": (1.0, {})})
            drop(client, "run")
        assert client.get_metadata(["run"]) == {"a": [1.0, {}]}


_KILLED = """
import os, signal, sys
from distributed import Client
from engine.run.kept_answers import keep, place_of

client = Client(sys.argv[1])
place = place_of(client)
keep(client, place, {"a": (1.0, {})})
client.submit(bytes, 10**6, key="held").result()
assert list(client.get_metadata([place, "a"])) == [1.0, {}]
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_runner_that_is_killed_leaves_nothing_in_a_scheduler_that_lives_on():
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
        ) as local,
        closing(Client(local, set_as_default=False)) as client,
    ):
        ours, held = place_of(client), client.submit(bytes, 10, key="ours")
        keep(client, ours, {"a": (2.0, {})})
        program = [sys.executable, "-c", _KILLED, local.scheduler_address]
        done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        scheduler = local.scheduler
        places = lambda: [name for name in scheduler.task_metadata if name.startswith("paretoscope-")]  # noqa: E731
        deadline = time.monotonic() + 30
        while (len(places()) > 1 or "held" in scheduler.tasks) and time.monotonic() < deadline:
            time.sleep(0.05)
        # And of one that lives all stays.
        assert places() == [ours]
        assert list(client.get_metadata([ours, "a"])) == [2.0, {}]
        assert (held.result(), set(scheduler.tasks)) == (bytes(10), {"ours"})
