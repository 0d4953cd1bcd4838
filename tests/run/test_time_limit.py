"""A node that hangs is ended after its time, like one that crashes or has no memory: its trial says so, and the sweep goes on."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from distributed import LocalCluster

from engine.errors import SetupError
from engine.measure.machine import machine
from engine.run.cluster import connect
from engine.run.forecast import node_s
from engine.run.planner import make_plan
from engine.run.run import execute
from engine.run.task import Task
from engine.run.time_limit import TimeLimit, limit_s
from engine.run.watched import NodeEnd
from engine.run.worker import run_node
from engine.spec.read import read_sweep
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.small_sweep import in_bits, write_small_sweep

SWEEP = parse_sweep(
    {
        "name": "late",
        "model": {"source": "resnet8"},
        "space": {"quantize": {"weight_bits": [8, 4], "activation_bits": 8}},
    }
)


def test_a_node_may_take_an_hour_or_twenty_times_its_forecast_or_what_was_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PARETOSCOPE_NODE_MINUTES", raising=False)
    node = next(n for n in make_plan(SWEEP, machine()).nodes.values() if n.kind == "export")
    assert limit_s(node, {}) == 3600
    assert limit_s(node, {"export": 400.0}) == 20 * node_s(node, {"export": 400.0}) == 8000
    monkeypatch.setenv("PARETOSCOPE_NODE_MINUTES", "1.5")
    assert limit_s(node, {"export": 400.0}) == 90
    for wrong in ("0", "-1", "soon", "nan"):
        monkeypatch.setenv("PARETOSCOPE_NODE_MINUTES", wrong)
        with pytest.raises(SetupError, match=f"PARETOSCOPE_NODE_MINUTES is '{wrong}'; give the minutes"):
            limit_s(node, {})


def turn(node: str, worker: str, waits: bool = False) -> dict[str, object]:
    """What a worker tells of a node."""
    return {"node": node, "worker": worker, "waits": waits}


class _Work:
    """What a time limit asks of what was handed over."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    def fail(self, keys: list[str], said: str) -> None:
        self.failed |= dict.fromkeys(keys, said)


def test_the_clock_begins_with_the_node_and_what_needs_it_ends_with_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARETOSCOPE_NODE_MINUTES", "1")
    now, ended, work = [0.0], list[str](), _Work()
    plan = make_plan(SWEEP, machine())
    first, second = [k for k, n in plan.nodes.items() if n.kind == "quantize"][:2]
    needs_first = [k for k, n in plan.nodes.items() if first in n.inputs]
    under_way = {first, second, *needs_first}
    cluster = SimpleNamespace(end_worker=ended.append)
    limit = TimeLimit(plan, {}, cluster, lambda: now[0])  # type: ignore[arg-type]
    now[0] = 1000.0
    limit.end_late(under_way, work)  # type: ignore[arg-type]
    # However long it waited: it had not begun.
    assert (ended, work.failed) == ([], {})
    limit.hear(turn(first, "tcp://one"))
    limit.hear(turn(second, "tcp://two"))
    now[0] = 1050.0
    # Begun again elsewhere, its time begins again; and what waits for others on its host has not begun.
    limit.hear(turn(second, "tcp://three", waits=True))
    assert not limit.ended_s
    limit.hear(turn(second, "tcp://three"))
    now[0] = 1061.0
    limit.end_late(under_way, work)  # type: ignore[arg-type]
    assert ended == ["tcp://one"]
    assert needs_first
    assert set(work.failed) == {first, *needs_first}
    assert work.failed[first].startswith("quantize: took longer than 1 min and was ended; --node-minutes")
    # Once is enough.
    limit.end_late(under_way, work)  # type: ignore[arg-type]
    assert ended == ["tcp://one"]


def test_what_ran_beside_a_late_node_is_run_again_and_its_time_begins_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARETOSCOPE_NODE_MINUTES", "1")
    now, ended, work = [0.0], list[str](), _Work()
    plan = make_plan(SWEEP, machine())
    first, second = [k for k, n in plan.nodes.items() if n.kind == "quantize"][:2]
    cluster = SimpleNamespace(end_worker=ended.append)
    limit = TimeLimit(plan, {}, cluster, lambda: now[0])  # type: ignore[arg-type]
    limit.hear(turn(first, "tcp://one"))
    now[0] = 5.0
    limit.hear(turn(second, "tcp://one"))
    now[0] = 61.0
    limit.end_late({first, second}, work)  # type: ignore[arg-type]
    # The next worker takes its time to come.
    now[0] = 66.0
    limit.end_late({second}, work)  # type: ignore[arg-type]
    assert second not in work.failed
    assert ended == ["tcp://one"]


def test_a_worker_without_a_nanny_is_let_go_of():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, resources={"cpu": 1}, dashboard_address="127.0.0.1:0"
        ) as local,
        connect(local.scheduler_address) as cluster,
    ):
        first, second = cluster.client.scheduler_info(n_workers=-1)["workers"]
        cluster.end_worker(first)
        assert list(cluster.client.scheduler_info(n_workers=-1)["workers"]) == [second]
        # One that has gone by itself meanwhile is no mistake.
        cluster.end_worker(first)


def test_a_hang_a_crash_and_too_little_memory_fail_their_own_trials_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    # Of the one node alone: on a loaded machine an honest one may take as long.
    hangs = {"weight_bits": 7}
    monkeypatch.setattr(
        "engine.run.time_limit.limit_s", lambda node, _: 3.0 if node.options.items() >= hangs.items() else 3600.0
    )
    spec = write_small_sweep(tmp_path)

    def faulty(task: Task, *_inputs: object) -> object:
        """A local function, so that it travels to the worker by value."""
        bits = task.node.options.get("weight_bits") if task.node.kind == "quantize" else None
        if bits in (7, 6):
            from engine.run.on_host import on_host

            with on_host(task.node):
                time.sleep(0.5)
                if bits == 6:
                    os.kill(os.getpid(), signal.SIGSEGV)
                # Native code that never comes back, and lets no other thread of Python run: nothing in the process can end it.
                ctypes.PyDLL(None).sleep(3600)
        if bits == 5:
            import resource

            before = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (2 << 40, before[1]))
            try:
                np.ones(4 << 40, np.uint8)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, before)
        return run_node(task)

    monkeypatch.setattr("engine.run.submission.run_node", faulty)
    sweep = read_sweep(spec, (in_bits(8, 7, 6, 5),))
    ends: list[NodeEnd] = []
    outcome = execute(sweep, Store.open(), Artifacts.open(), watcher=ends.append)
    errors = {t.label: str(t.error) for t in Store.open().trials(sweep.id) if t.state == "failed"}
    assert (outcome.state, outcome.trials_done, outcome.trials_failed) == ("done", 2, 3), errors
    hung, crashed, starved = (next(e for label, e in errors.items() if f"w{b}" in label) for b in (7, 6, 5))
    assert hung.startswith(
        "quantize: took longer than 0.05 min and was ended; --node-minutes or PARETOSCOPE_NODE_MINUTES"
    )
    assert "by signal 11 (SIGSEGV) at this step of" in crashed
    assert starved.startswith("quantize: out of memory at this step of ")
    assert "4.00 TiB" in starved
    # What was ended has run from its beginning to that; what needs it has never begun.
    late = [e for e in ends if "took longer" in str(e.error)]
    assert {e.node.kind for e in late} == {"quantize", "facts", "accuracy"}
    (ended,) = (e for e in late if e.node.kind == "quantize")
    assert ended.worker is not None
    assert 3.0 <= ended.ended_s - ended.began_s < 60.0
    assert {(e.worker, e.began_s, e.ended_s) for e in late if e is not ended} == {(None, None, None)}
    # Of one that killed its worker its last try is told, which it had alone.
    (died,) = (e for e in ends if "SIGSEGV" in str(e.error) and e.node.kind == "quantize")
    assert died.worker is not None
    assert 0 <= died.ended_s - died.began_s < 60.0
