"""A whole run on a cluster whose workers come and go, with real processes: another version joins, the last right worker leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.run.outcome import Outcome
from engine.run.run import execute
from engine.spec.read import read_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.dask_processes import DaskProcesses
from tests.helpers.small_sweep import write_small_sweep

_OLDER = "import engine\nengine.__version__ = '0.0.9'\n"
# Whatever happens, nobody waits for longer.
_PATIENCE_S = 90.0
_METRIC = """
import time
from pathlib import Path

def right(outputs, targets):
    folder, deadline = Path(__file__).parent, time.monotonic() + {patience}
    (Path({place!r}) / "begun").touch()
    while not (Path({place!r}) / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return (outputs.argmax(1) == targets).astype(float)
"""


def until(happens: Callable[[], object], run: threading.Thread) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not happens() and run.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert happens(), run


def test_another_version_that_joins_fails_nothing_and_the_last_right_worker_may_leave_and_another_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv("PARETOSCOPE_HOME", str(place / "home"))
    (place / "score.py").write_text(_METRIC.format(patience=_PATIENCE_S, place=str(place)))
    spec = write_small_sweep(place, f"metric: {{source: {place}/score.py:right, higher_is_better: true}}\n")
    monkeypatch.chdir(place)
    sweep, store = read_sweep(spec, (f"data.source={place}/data.npz", f"model.source={place}/net.onnx")), Store.open()
    assert np.load(place / "data.npz")["x_test"].size
    notes: list[str] = []
    ended: list[Outcome | BaseException] = []

    def run_it(address: str) -> None:
        try:
            ended.append(execute(sweep, store, Artifacts.open(), address, on_note=notes.append))
        except BaseException as error:
            ended.append(error)

    cluster = tmp_path / "cluster"
    cluster.mkdir()
    with DaskProcesses(cluster) as hosts:
        hosts.worker("one")
        run = threading.Thread(target=run_it, args=(hosts.address(1),), daemon=True)
        run.start()
        until((place / "begun").exists, run)
        hosts.worker("older", _OLDER)
        until(lambda: notes, run)
        hosts.kill("one")
        hosts.worker("three")
        (place / "go").touch()
        run.join(_PATIENCE_S)
        assert not run.is_alive()
    (outcome,) = ended
    assert isinstance(outcome, Outcome), outcome
    assert (outcome.state, outcome.trials_done, outcome.trials_failed) == ("done", 2, 0)
    (told,) = [note for note in notes if "given no steps" in note]
    assert "has Paretoscope 0.0.9, but the run is of" in told
    assert told.startswith("note: worker tcp://127.0.0.1:")
