"""What a run has with Dask: what others on the same scheduler do to it, and what is kept when the scheduler goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from engine.errors import SetupError
from engine.measure.machine import machine
from engine.run.outcome import Outcome
from engine.run.planner import make_plan
from engine.run.roles import Ask
from engine.run.run import _Run, execute
from engine.run.submission import Handed, Submission
from engine.run.watched import NodeEnd
from engine.spec.read import read_sweep
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.small_sweep import write_small_sweep

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


def test_runs_with_files_of_their_own_share_no_node_of_one_scheduler(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PARETOSCOPE_HOST_LOCK", str(tmp_path))
    sweep, outcomes = read_sweep(write_small_sweep(tmp_path)), list[Outcome]()
    stores = [Store(f"sqlite:///{tmp_path / f'{name}.db'}") for name in "ab"]
    files = [Artifacts(str(tmp_path / name), tmp_path / "cache") for name in "ab"]

    def second(end: NodeEnd) -> None:
        """Now the first run has the file of this node, and Dask the answer under its name."""
        if end.node.kind == "quantize":
            outcomes.append(execute(sweep, stores[1], files[1], address))

    outcomes.append(execute(sweep, stores[0], files[0], address, watcher=second))
    assert [(o.state, o.trials_done, o.trials_failed) for o in outcomes] == [("done", 2, 0)] * 2, [
        t.error for t in stores[1].trials(sweep.id)
    ]
    for store in stores:
        store._engine.dispose()


def test_what_has_ended_or_is_given_up_is_not_taken_back_when_its_worker_goes(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.run.submission.run_node", lambda *_: "done")
    nodes = {
        "quick": Handed("export-quick", None, (), Ask((("cpu", 1),)), 0),  # type: ignore[arg-type]
        "late": Handed("export-gone", None, (), Ask((("cpu", 1),), ("tcp://127.0.0.1:1",)), 0),  # type: ignore[arg-type]
    }
    with closing(Client(address, set_as_default=False)) as client:
        work = Submission(client, 2)
        work.add(nodes)
        work.feed(nodes.__getitem__)
        work._futures["quick"].result(timeout=60)
        # It waits to be recorded, and a crew that looks now leaves it alone.
        assert work.asked().keys() == {"late"}
        assert not work.asked()["late"].suits("tcp://other:1", {"cpu": 1})
        work.fail(["late"], "took longer")
        assert all(ask.suits("tcp://other:1", {}) for ask in work.asked().values())
        ended = dict(work.ended(60))
        while len(ended) < 2:
            ended |= work.ended(60)
        assert (ended["quick"].result(), str(ended["late"].exception())) == ("done", "took longer")


def test_what_another_run_gives_up_goes_on_for_this_one(address: str, monkeypatch: pytest.MonkeyPatch):
    def slow(*_: object) -> str:
        time.sleep(1)
        return "done"

    monkeypatch.setattr("engine.run.submission.run_node", slow)
    node = Handed("export-shared", None, (), Ask((("cpu", 1),)), 0)  # type: ignore[arg-type]
    with (
        closing(Client(address, set_as_default=False)) as one,
        closing(Client(address, set_as_default=False)) as two,
    ):
        theirs, ours = Submission(one, 2), Submission(two, 2)
        for work in (theirs, ours):
            work.add(["shared"])
            work.feed(lambda key: node)
        while two.run_on_scheduler(_wanted, node.name) < 2:
            time.sleep(0.01)
        assert theirs.cancel()
        assert _result(ours) == "done"

        # Dask tells every client which nodes are cancelled, also one whose wish for the same is still on its way.
        node, held = replace(node, name="export-another"), list[dict[str, object]]()
        theirs, ours, send = Submission(one, 2), Submission(two, 2), two._send_to_scheduler
        theirs.add(["shared"])
        theirs.feed(lambda key: node)
        monkeypatch.setattr(two, "_send_to_scheduler", held.append)
        ours.add(["shared"])
        ours.feed(lambda key: node)
        assert theirs.cancel()
        while two.futures[node.name].status != "cancelled":
            time.sleep(0.01)
        monkeypatch.setattr(two, "_send_to_scheduler", send)
        for message in held:
            send(message)
        assert _result(ours) == "done"


def _wanted(name: str, dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks[name].who_wants) if name in dask_scheduler.tasks else 0


def _result(work: Submission) -> object:
    for _ in range(30):
        for _key, future in work.ended(1):
            assert future.status == "finished", future.status
            return future.result()
    raise AssertionError("nothing has ended")
