"""A cluster of the user's own, with real processes: what its workers lack is told first, own Python travels, one machine times."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from engine.errors import SetupError
from engine.run.on_host import on_host
from engine.run.plan import Node
from engine.run.run import execute
from engine.spec.sweep import Sweep, parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.dask_processes import DaskProcesses
from tests.helpers.tiny import BUILDER, images

_METRIC = """
from weighing import WEIGHT

def margin(outputs, targets):
    return WEIGHT * (outputs.argmax(1) == targets)
"""
_OTHER_MACHINE = "import os\nos.cpu_count = lambda: 77\n"


@dataclass(frozen=True)
class Elsewhere:
    """A scheduler's address, and the folder of everything."""

    address: str
    folder: Path


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """A scheduler and two workers, each in a folder and with a home of its own; the second seems to be another machine."""
    folder = tmp_path_factory.mktemp("cluster")
    with DaskProcesses(folder) as cluster:
        cluster.worker("one", resources="cpu=1 bench=1")
        cluster.worker("two", _OTHER_MACHINE, resources="cpu=1 bench=1")
        yield Elsewhere(cluster.address(2), folder)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, a metric and data, which is where the run is started, and nothing that workers look into."""
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    (tmp_path / "net.py").write_text(BUILDER)
    (tmp_path / "score.py").write_text(_METRIC)
    (tmp_path / "weighing.py").write_text("WEIGHT = 1.0\n")
    train, test = images(300, 0), images(100, 1)
    np.savez(tmp_path / "data.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep_of(place: Path, name: str, **changed: Any) -> Sweep:
    """Python by paths that only this process can follow; the data's leads there from everywhere."""
    spec: dict[str, Any] = {
        "name": name,
        "model": {"source": "net.py:build"},
        "data": {"source": str(place / "data.npz")},
        "metric": {"source": "score.py:margin", "higher_is_better": True},
        "space": {"quantize": [None, {"weight_bits": 8, "activation_bits": 8, "calibration_samples": 32}]},
        "measure": {"latency": {"time_limit_s": 0.2, "processes": 1}},
    }
    return parse_sweep(spec | changed)


def test_own_python_travels_and_one_of_two_machines_times(place: Path, elsewhere: Elsewhere):
    store, artifacts, notes = Store.open(), Artifacts.open(), []
    sweep = sweep_of(place, "travels")
    outcome = execute(sweep, store, artifacts, elsewhere.address, on_note=notes.append)
    trials = store.trials(sweep.id)
    assert (outcome.state, [t.error for t in trials]) == ("done", [None, None])
    # Of two machines that would time, one does, and the other is named with what to do.
    (note,) = notes
    assert re.fullmatch(
        r"note: latency is measured on 1 of 2 workers .*tcp://127\.0\.0\.1:\d+ .* resource `bench` .*", note
    )
    assert len({t.machine.fingerprint for t in trials}) == 1
    assert all(t.latency_ratio is not None or t.label == "baseline" for t in trials)
    # Neither worker has the files but by their content.
    sent = [p for name in ("one", "two") for p in (elsewhere.folder / name / "home").rglob("weighing.py")]
    assert {p.read_text() for p in sent} == {"WEIGHT = 1.0\n"}

    # Changed files are other files, also for processes that have imported the old ones.
    (place / "weighing.py").write_text("WEIGHT = 0.25\n")
    sweep = sweep_of(place, "travels again", measure={"latency": None})
    execute(sweep, store, artifacts, elsewhere.address)
    quarter = [t.score.value for t in store.trials(sweep.id)]
    assert quarter == pytest.approx([t.score.value / 4 for t in trials])
    assert min(quarter) > 0


def test_data_that_a_worker_lacks_or_has_otherwise_are_told_before_anything_is_recorded(
    place: Path, elsewhere: Elsewhere
):
    store, artifacts = Store.open(), Artifacts.open()
    with pytest.raises(SetupError, match=r"^worker tcp://\S+: .*data\.npz.* does not exist;.*same path on every host"):
        execute(sweep_of(place, "lacks", data={"source": "data.npz"}), store, artifacts, elsewhere.address)
    for name in ("one", "two"):
        train, test = images(300, 5), images(100, 6)
        np.savez(
            elsewhere.folder / name / "data.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1]
        )
    with pytest.raises(SetupError, match=r"^worker tcp://\S+: data data\.npz is not what the run was started with"):
        execute(sweep_of(place, "otherwise", data={"source": "data.npz"}), store, artifacts, elsewhere.address)
    assert not [row for row in store.sweeps() if not row.example]


def test_a_function_that_needs_a_library_which_a_worker_lacks_is_told_of(place: Path, elsewhere: Elsewhere):
    missed = f"import os\nif os.getcwd() != {str(place)!r}:\n    import no_such_library\n"
    (place / "score.py").write_text(missed + _METRIC)
    with pytest.raises(SetupError, match=r"^worker tcp://\S+: .*score\.py.*No module named 'no_such_library'"):
        execute(sweep_of(place, "library"), Store.open(), Artifacts.open(), elsewhere.address)


def _timed_alone(folder: str) -> tuple[float, float]:
    """Hold the host as a timing does; from when to when."""
    os.environ["PARETOSCOPE_HOST_LOCK"] = folder
    with on_host(Node("0" * 64, "latency", (), {}, 1.0, None)):
        began = time.monotonic()
        time.sleep(0.05)
        return began, time.monotonic()


def test_two_workers_of_one_host_never_time_at_once(elsewhere: Elsewhere):
    with Client(elsewhere.address, set_as_default=False) as client:
        workers = list(client.scheduler_info(n_workers=-1)["workers"])
        locks = str(elsewhere.folder / "locks")
        spans = [client.submit(_timed_alone, locks, workers=[w], pure=False) for _ in range(6) for w in workers]
        found = sorted(client.gather(spans))
        assert {client.who_has(spans)[s.key][0] for s in spans} == set(workers)
    assert (len(workers), len(found)) == (2, 12)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(found))
