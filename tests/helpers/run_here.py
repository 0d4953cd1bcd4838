"""A whole sweep in this process, one node after the other: what the cluster adds is tested in test_run.py."""

from __future__ import annotations

from pathlib import Path

from engine.errors import ParetoscopeError
from engine.measure.machine import machine
from engine.run.plan import Plan
from engine.run.planner import make_plan
from engine.run.run import _Run
from engine.run.task import Task
from engine.run.worker import run_node
from engine.spec.read import read_sweep
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.rows import NodeRow
from engine.store.store import Store
from engine.trials.trial import Trial


class Here:
    """Runs nodes in this process, for `_Run.follow`."""

    cores = 1
    deaths = None

    def __init__(self, run: _Run) -> None:
        self.run = run

    @property
    def client(self) -> Here:
        """What waits are heard from: nothing waits here."""
        return self

    def subscribe_topic(self, *_: object) -> None:
        """No worker tells anything."""

    def collect(self, _cluster: object) -> None:
        run = self.run
        for key, node in run.plan.nodes.items():
            if key not in run.missing or not set(node.inputs) <= run.results.keys():
                run.missing.discard(key)
                continue
            names = tuple(run.plan.nodes[k].artifact or "" for k in node.inputs)
            run.missing.discard(key)
            try:
                seconds, run.results[key] = run_node(Task(node, names, run.plan.sweep.data, node.seed, run.artifacts))
                run.store.save_node(NodeRow(key, node.kind, node.work, seconds, run.results[key]))
            except ParetoscopeError as error:
                run.errors[key] = str(error)
            run._assemble_ready(run.plan.chains)


def swept(spec: Path, *overrides: str) -> tuple[Sweep, list[Trial], Plan]:
    sweep = read_sweep(spec, ("measure.latency=null", *overrides))
    store, artifacts = Store.open(), Artifacts.open()
    plan = make_plan(sweep, machine())
    run = _Run(plan, store, artifacts, lambda progress: None)
    run._collect = Here(run).collect  # type: ignore[method-assign]
    run.follow(Here(run))  # type: ignore[arg-type]
    return sweep, store.trials(sweep.id), plan
