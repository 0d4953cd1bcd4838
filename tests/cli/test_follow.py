"""Who runs a sweep that runs already follows it to its end, and takes it over where its runner is gone."""

import threading
import time
from pathlib import Path

import pytest

from engine.cli import _follow
from engine.cli._follow import followed
from engine.run.outcome import Progress
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.ended import ended_process

SWEEP = parse_sweep({"name": "two at once", "model": {"source": "resnet8"}})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(_follow, "_POLL_S", 0.02)
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    store.begin(SWEEP, [Trial(r.id, r) for r in SWEEP.all_recipes], 9, 2)
    return store


@pytest.mark.parametrize("state", ["done", "cancelled", "failed"])
def test_it_is_followed_to_its_end(store: Store, state: str, capsys: pytest.CaptureFixture[str]):
    shown: list[Progress] = []

    def progress(now: Progress) -> None:
        shown.append(now)
        if len(shown) == 1:
            store.beat(SWEEP.id, 7, 3.0, 1.5)
        elif len(shown) == 3:
            store.end(SWEEP.id, state)  # type: ignore[arg-type]

    outcome = followed(store, SWEEP.id, progress)
    assert outcome is not None
    assert (outcome.state, outcome.nodes_run) == (state, 0)
    assert [(p.nodes_done, p.nodes_total) for p in shown] == [(2, 9), (7, 9), (7, 9)]
    assert f"{SWEEP.id} is being run by process" in capsys.readouterr().err


def test_one_whose_runner_goes_away_is_taken_over(store: Store):
    gone = ended_process()
    threading.Timer(0.2, lambda: store._update(SWEEP.id, process=gone)).start()
    began = time.monotonic()
    assert followed(store, SWEEP.id, lambda progress: None) is None
    assert time.monotonic() - began >= 0.2
    # Its turn is free: what follows is a run like any other.
    store.begin(SWEEP, [Trial(r.id, r) for r in SWEEP.all_recipes], 9, 7)


def test_what_nobody_runs_or_knows_is_not_followed(store: Store, capsys: pytest.CaptureFixture[str]):
    store.end(SWEEP.id, "done")
    assert followed(store, SWEEP.id, lambda progress: None) is None
    assert followed(store, "never-seen", lambda progress: None) is None
    assert capsys.readouterr().err == ""
