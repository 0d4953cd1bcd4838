"""A backup taken in the middle of a run, restored elsewhere: that home goes on by itself and comes to the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.run.outcome import Progress
from engine.run.run import execute
from engine.spec.read import read_sweep
from engine.store.artifacts import Artifacts
from engine.store.backup import back_up, restore
from engine.store.store import Store
from tests.helpers.small_sweep import in_bits, write_small_sweep


def test_a_backup_of_a_running_sweep_goes_on_where_it_is_restored(place: Path, monkeypatch: pytest.MonkeyPatch):
    sweep, taken = read_sweep(write_small_sweep(place), (in_bits(8, 4),)), place / "home.zip"

    def on_progress(progress: Progress) -> None:
        if not taken.exists():
            back_up(taken)

    assert execute(sweep, Store.open(), Artifacts.open(), on_progress=on_progress).state == "done"
    whole = {t.label: (t.accuracy, t.size_bytes, t.artifact) for t in Store.open().trials(sweep.id)}

    # As if the run still went on here: to the backup that is nobody's.
    restore(taken, place / "restored")
    monkeypatch.setenv("PARETOSCOPE_HOME", str(place / "restored"))
    store, artifacts = Store.open(), Artifacts.open()
    row = store.sweep(sweep.id)
    assert row.state == "interrupted"
    before = row.nodes_total - len(store.nodes(_keys(store, row.id)))
    outcome = execute(sweep, store, artifacts)
    assert (outcome.state, outcome.nodes_run) == ("done", before)
    assert {t.label: (t.accuracy, t.size_bytes, t.artifact) for t in store.trials(sweep.id)} == whole
    for file in artifacts.stored():
        artifacts.local(file.name)


def _keys(store: Store, sweep_id: str) -> list[str]:
    from engine.measure.machine import machine
    from engine.run.planner import make_plan

    return list(make_plan(store.spec(sweep_id), machine()).nodes)
