"""Who joins a run is asked what it is until it answers, and has no label, so no step, before it has shown that it fits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

from engine.datasets.load import dataset_checksum
from engine.errors import DatasetError
from engine.measure.machine import machine
from engine.run import introductions
from engine.run.asked import Asked, Labels, found_here, introduced
from engine.run.crew import Crew
from engine.run.plan import Node
from engine.run.roles import Ask, Member, roles_of
from engine.spec.sections import Data
from tests.helpers.tiny import images

FACTS = Node("1", "facts", (), {}, 1.0, None)


@pytest.fixture
def labels(tmp_path: Path) -> Labels:
    """Those of a run on data of its own."""
    train, test = images(60, 0), images(30, 1)
    np.savez(tmp_path / "data.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    data = Data(source=str(tmp_path / "data.npz"))
    said = introduced()
    asked = Asked(data, dataset_checksum(data), (), (), None)
    return Labels(asked, said.machine.fingerprint, said.sums, said.device)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Of a cluster of one worker, which is looked at often."""
    monkeypatch.setattr(introductions, "LOOK_S", 0.05)
    monkeypatch.setattr(introductions, "_LEAST_PAUSE_S", 0.05)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, resources={"cpu": 1}, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as found,
    ):
        yield found


def crew_of(client: Client, notes: list[str]) -> Crew:
    (first,) = client.scheduler_info(n_workers=-1)["workers"]
    known = Member(first, {"cpu": 1}, machine(), "exact")
    return Crew(client.scheduler.address, [known], roles_of([known]), notes.append)


def until(crew: Crew, happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happens() and time.monotonic() < deadline:
        crew._hear()
        time.sleep(0.02)
    assert happens()


def stated(client: Client) -> list[dict[str, float]]:
    return [w["resources"] for w in client.scheduler_info(n_workers=-1)["workers"].values()]


def test_one_that_fails_to_answer_is_asked_again_and_then_works(client: Client, labels: Labels, monkeypatch: Any):
    fails = iter([OSError("reset by peer"), RuntimeError("Timed out during handshake")])
    run = client.run

    def unsteady(*arguments: Any, **options: Any) -> Any:
        for error in fails:
            raise error
        return run(*arguments, **options)

    monkeypatch.setattr(client, "run", unsteady)
    notes: list[str] = []
    crew = crew_of(client, notes)
    crew.follow(client, labels)
    until(crew, lambda: all(r.get(labels.fit) for r in stated(client)))
    needed = {"cpu": 1.0} | labels.needed(FACTS)
    assert client.submit(lambda: "done", resources=needed, pure=False).result(timeout=60) == "done"
    # Also for a timing, on this machine.
    needed |= labels.needed(Node("2", "latency", (), {}, 1.0, None))
    assert client.submit(lambda: "timed", resources=needed, pure=False).result(timeout=60) == "timed"
    assert notes == []
    client.close()
    until(crew, lambda: not [t for t in threading.enumerate() if t.name == "paretoscope-crew"])


def test_one_of_another_version_gets_no_step_and_is_told_of_once(client: Client, labels: Labels, monkeypatch: Any):
    monkeypatch.setattr(introductions, "_UNFIT_PAUSE_S", 0.05)
    monkeypatch.setattr(introductions, "revision", lambda: {"version": "9.9.9", "code": "", "libraries": {}})
    notes: list[str] = []
    crew = crew_of(client, notes)
    crew.follow(client, labels)
    until(crew, lambda: notes)
    for _ in range(20):
        crew._hear()
        time.sleep(0.02)
    (note,) = notes
    assert "given no steps of this run until it can do them: has Paretoscope" in note
    assert "the run is of 9.9.9; install 9.9.9 there" in note
    assert not any(r.get(labels.fit) for r in stated(client))
    # Once it fits it is seen without a restart, and does what waits, whoever waits for that.
    waits = client.submit(lambda: "done", resources={"cpu": 1.0} | labels.needed(FACTS), pure=False)
    monkeypatch.undo()
    until(crew, lambda: any("can do steps of this run now" in note for note in notes))
    assert waits.result(timeout=60) == "done"


def test_a_step_that_a_worker_could_not_do_goes_to_others_and_the_worker_is_left_alone(client: Client, labels: Labels):
    notes: list[str] = []
    crew = crew_of(client, notes)
    (here,) = crew._there
    full, plenty = OSError(28, "No space left on device"), labels.of(introduced())
    full.paretoscope_worker = here  # type: ignore[attr-defined]
    ask = Ask(tuple({"cpu": 1.0, **labels.needed(FACTS)}.items()))
    crew.follow(client, labels)
    until(crew, lambda: all(r.get(labels.fit) for r in stated(client)))
    # Alone it is not to blame for what nobody else could do.
    assert not crew.excuses(FACTS, ask, full)
    crew.see(crew._there | {"tcp://other:1": {"cpu": 1} | plenty})
    crew._hear()
    assert crew.excuses(FACTS, ask, full)
    assert notes == [
        f"note: worker {here} is given no steps of this run until it can do them: [Errno 28] No space left on device"
    ]
    until(crew, lambda: not any(r.get(labels.fit) for r in stated(client)))
    # What is the step's own fault, or fails wherever it is tried, is.
    assert not crew.excuses(FACTS, ask, DatasetError("wrong"))
    other = OSError(28, "No space left on device")
    other.paretoscope_worker = "tcp://other:1"  # type: ignore[attr-defined]
    assert not crew.excuses(FACTS, ask, other)


def test_labels_are_of_what_a_run_needs_and_of_what_a_worker_is(labels: Labels, monkeypatch: pytest.MonkeyPatch):
    said = introduced()
    node = Node("1", "latency", (), {}, 1.0, None)
    assert set(labels.needed(node)) < set(labels.of(said))
    unlike = Labels(labels.asked, "another machine", labels.sums, labels.device)
    given = unlike.of(said)
    assert any(given[name] < amount for name, amount in unlike.needed(node).items())
    assert all(given[name] >= amount for name, amount in unlike.needed(FACTS).items())
    # Other data are another label: a worker that has those of one run need not have those of another.
    assert Labels(Asked(labels.asked.data, "0" * 64, (), (), None), "m", "s", "cpu").fit != labels.fit
    assert found_here(labels.asked).lacks is None
    monkeypatch.setattr("engine.run.asked.tempfile.TemporaryFile", _full)
    assert "cannot write a temporary file ([Errno 28] No space left" in str(found_here(labels.asked).lacks)


def _full() -> None:
    raise OSError(28, "No space left on device")
