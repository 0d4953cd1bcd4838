"""What a run has with Dask: what others on the same scheduler do to it, and what is kept when the scheduler goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from engine.errors import SetupError
from engine.measure.machine import machine
from engine.run.planner import make_plan
from engine.run.run import _Run
from engine.run.submission import Submission
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store

SWEEP = parse_sweep({"name": "Shared", "model": {"source": "resnet8"}, "measure": {"latency": None}})


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with a worker in this process."""
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, resources={"cpu": 2}, dashboard_address="127.0.0.1:0"
    ) as local:
        yield local.scheduler_address


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Run]:
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path))
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield _Run(make_plan(SWEEP, machine()), store, Artifacts.open(), lambda progress: None)
    store._engine.dispose()


def test_what_has_ended_is_recorded_although_the_scheduler_goes_at_the_same_moment(address: str, run: _Run):
    first, second = list(run.plan.nodes)[:2]
    with closing(Client(address, set_as_default=False)) as client:
        done, gone = client.submit(lambda: (2.0, {"macs": 7})), client.submit(time.sleep, 5)
        done.result()
        # As Dask's client says it of all that it waits for.
        gone._state.cancel(reason="scheduler-connection-lost")
        with pytest.raises(SetupError, match="the Dask scheduler is gone"):
            run._take([(first, done), (second, gone)], Submission(client, 2))
    assert run.store.nodes([first])[first].result == {"macs": 7}
