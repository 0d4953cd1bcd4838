"""Columns that are kept in files are those of the records, whatever happened to either since; and a file spares reading them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from engine.frontier import kept_columns
from engine.frontier.columns import Trials
from engine.frontier.kept_columns import SweepColumns, total_of
from engine.frontier.stored_columns import Block
from engine.spec.sweep import parse_sweep
from engine.store.stamps import Stamps
from engine.store.store import Store
from engine.trials.evidence import Interval, Score
from engine.trials.measurements import Projection
from engine.trials.trial import Trial
from tests.helpers.columns import random_trials

SWEEP = parse_sweep({"name": "kept", "model": {"source": "resnet8"}})
SCORE = "score:F1:max:%"


def varied(seed: int, count: int = 40) -> list[Trial]:
    """Trials of every kind, with metrics of their own, boards and texts that no file name could hold."""
    draw, found = random.Random(seed), []
    for trial in random_trials(seed, count):
        made = trial
        if trial.state == "done" and draw.random() < 0.3:
            made = replace(made, score=Score(SCORE, draw.random(), 0.1, 0.9, 50, draw.choice([None, 0.3])))
        if trial.state == "done" and draw.random() < 0.3:
            board = Projection(Interval(draw.random(), 0.1, 2.0), None, source="measured")
            made = replace(
                made, projections={**made.projections, 'my "board" [1] | *': board}, finished_s=draw.random()
            )
        if trial.state == "failed":
            made = replace(made, error="Fehler: „Größe“ *[x]* \x07\n2")
        found.append(made)
    return found


def of_records(store: Store) -> Block:
    return Block.of(text for _, text in store.changed_records(SWEEP.id))


def assert_same(found: Trials, expected: Block, store: Store) -> None:
    """Every fact, every number bit for bit, and whole trials."""
    assert len(found) == len(expected)
    for name, column in expected.facts.items():
        assert found.fact(name).tolist() == column.tolist(), name
        assert [type(v) for v in found.fact(name)] == [type(v) for v in column], name
    devices = ("host", *expected.devices)
    assert set(found.devices) == set(devices)
    for (key, device), numbers in expected.numbers.items():
        there = found.numbers(key, device or "host")
        for part in ("value", "low", "high"):
            assert getattr(there, part).tobytes() == getattr(numbers, part).tobytes(), (key, device, part)
        assert there.estimated.tolist() == numbers.estimated.tolist()
    for device in devices:
        barred = expected.barred.get(device, np.zeros(len(expected), np.bool_))
        assert found.fits(device).tolist() == (~barred).tolist()
    if len(found):
        assert found[len(found) - 1] == store.trials(SWEEP.id)[-1]


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(kept_columns, "LEAST_KEPT", 4)
    return Store(f"sqlite:///{home / 'paretoscope.db'}")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions of the records that were read."""
    positions: list[int] = []
    records = Stamps.records

    def counted(self: Stamps, *args: object) -> Iterator[object]:
        for stamp, text in records(self, *args):  # type: ignore[arg-type]
            positions.append(stamp[0])
            yield stamp, text

    monkeypatch.setattr(Stamps, "records", counted)
    return positions


def files() -> list[Path]:
    from engine.paths import home_path

    return sorted(home_path().glob("columns/*/*/*.arrow"))


def begin(store: Store, trials: list[Trial]) -> None:
    store.begin(SWEEP, trials, 1, 1)
    store.end(SWEEP.id, "done")


def change(store: Store, draw: random.Random) -> None:
    """One of the things that happen to a sweep."""
    kind, now = draw.randrange(6), store.trials(SWEEP.id)
    if kind == 0:
        begin(store, varied(draw.randrange(99), draw.randrange(2, 60)))
    elif kind == 1:
        store.delete_sweep(SWEEP.id)
        begin(store, varied(draw.randrange(99), draw.randrange(2, 60)))
    elif kind == 2 and len(now) > 3:
        store.remove_added(SWEEP.id, draw.choice(now[1:]).recipe)
    else:
        others = {t.id: t for t in varied(draw.randrange(99), 60)}
        for trial in draw.sample(now, min(len(now), draw.randrange(1, 20))):
            store.save_trial(SWEEP.id, others.get(trial.id, trial))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_changes_the_columns_are_those_of_the_records(store: Store, seed: int):
    draw = random.Random(seed)
    begin(store, varied(seed))
    long_lived, written = SweepColumns(store, SWEEP.id), 0
    for step in range(12):
        expected = of_records(store)
        assert_same(long_lived.read(), expected, store)
        another = SweepColumns(store, SWEEP.id)
        assert_same(another.read(), expected, store)
        if draw.random() < 0.3:
            another.keep()
        if step % 3 == 2 and (there := files()):
            # Damage of every kind: what is no more as it was written is not believed.
            victim = draw.choice(there)
            content = bytearray(victim.read_bytes())
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            damaged = victim.with_name("damaged")
            damaged.write_bytes(content[: draw.choice([len(content), len(content) // 2, 0])])
            damaged.replace(victim)
        written += len(files())
        change(store, draw)
    assert written > 9


def test_a_second_process_reads_no_record_and_after_changes_only_those(store: Store, read: list[int]):
    trials = varied(1)
    begin(store, trials)
    SweepColumns(store, SWEEP.id).read()
    assert read == list(range(len(trials)))
    read.clear()
    again = SweepColumns(store, SWEEP.id)
    assert_same(again.read(), of_records(store), store)
    assert read == []
    for place in (3, 7, 20):
        store.save_trial(SWEEP.id, replace(trials[place], size_bytes=place))
    assert again.read().numbers("size_bytes").value[[3, 7, 20]].tolist() == [3, 7, 20]
    assert read == [3, 7, 20]


def test_new_rows_are_added_and_many_files_become_one(store: Store, read: list[int]):
    trials = varied(2, 60)
    begin(store, [Trial(t.id, t.recipe) for t in trials])
    watching, most = SweepColumns(store, SWEEP.id), 0
    watching.read()
    first = files()
    for number, trial in enumerate(trials):
        store.save_trial(SWEEP.id, trial)
        if number % 4 == 3:
            watching.read()
            most = max(most, len(files()))
            if number == 3:
                # What was there stays as it is.
                assert set(first) < set(files())
    assert 2 < most <= kept_columns._MOST_FILES + 1
    watching.keep()
    assert len(files()) == 1
    read.clear()
    assert_same(SweepColumns(store, SWEEP.id).read(), of_records(store), store)
    assert read == []


def test_a_store_that_was_put_back_and_went_on_otherwise_is_not_shown_as_it_was(store: Store, home: Path):
    trials = varied(3)
    begin(store, trials)
    database = home / "paretoscope.db"
    store._engine.dispose()
    shutil.copy(database, home / "kept.db")
    for size in (1, 2):
        store.save_trial(SWEEP.id, replace(trials[5], size_bytes=size))
    SweepColumns(store, SWEEP.id).keep()
    revision = store.revision(SWEEP.id)
    store._engine.dispose()
    shutil.copy(home / "kept.db", database)
    for size in (8, 9):
        store.save_trial(SWEEP.id, replace(trials[5], size_bytes=size))
    assert store.revision(SWEEP.id) == revision
    found = SweepColumns(store, SWEEP.id).read()
    assert found.numbers("size_bytes").value[5] == 9
    assert_same(found, of_records(store), store)


def test_records_that_change_places_are_noticed(store: Store):
    begin(store, varied(4))
    columns = SweepColumns(store, SWEEP.id)
    before = columns.read().ids
    with store._engine.begin() as connection:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            connection.execute(sa.text(f"UPDATE trials SET position = {new} WHERE position = {old}"))
    after = columns.read().ids
    assert after[2:4] == (before[3], before[2])
    assert_same(SweepColumns(store, SWEEP.id).read(), of_records(store), store)


def test_what_an_older_program_writes_beside_is_read_from_the_record(store: Store):
    trials = varied(5)
    begin(store, trials)
    SweepColumns(store, SWEEP.id).read()
    with store._engine.begin() as connection:
        text = store.changed_records(SWEEP.id)
        record = dict(text)[6].replace(f'"size_bytes":{trials[6].size_bytes}', '"size_bytes":7')
        change = sa.text("UPDATE trials SET record = :record, revision = 50 WHERE position = 6")
        connection.execute(change, {"record": record})
    for columns in (SweepColumns(store, SWEEP.id), SweepColumns(store, SWEEP.id)):
        assert_same(columns.read(), of_records(store), store)


@pytest.mark.parametrize("where", ["a file in the way", "no right to write"])
def test_without_a_place_for_files_the_records_are_read(store: Store, home: Path, monkeypatch, where: str):
    if where == "a file in the way":
        (home / "columns").write_text("")
    else:
        monkeypatch.setattr(Path, "mkdir", _refused)
    begin(store, varied(6))
    for _ in range(2):
        assert_same(SweepColumns(store, SWEEP.id).read(), of_records(store), store)
    store.columns.forget(SWEEP.id)
    store.columns.collect()
    assert store.columns.held() == (0, 0)


def _refused(*_args: object, **_named: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_another_version_of_the_code_makes_its_own(store: Store, read: list[int], monkeypatch: pytest.MonkeyPatch):
    begin(store, varied(7))
    SweepColumns(store, SWEEP.id).read()
    (old,) = files()
    read.clear()
    monkeypatch.setattr(kept_columns, "_version", lambda: "another")
    SweepColumns(store, SWEEP.id).read()
    assert len(read) == 40
    (new,) = files()
    assert new.name.startswith("another-")
    assert new != old


def test_a_copied_home_and_a_deleted_sweep(store: Store, home: Path, read: list[int], tmp_path: Path, monkeypatch):
    begin(store, varied(8))
    SweepColumns(store, SWEEP.id).read()
    store._engine.dispose()
    shutil.copytree(home, tmp_path / "copy")
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "copy"))
    copied = Store(f"sqlite:///{tmp_path / 'copy' / 'paretoscope.db'}")
    read.clear()
    assert_same(SweepColumns(copied, SWEEP.id).read(), of_records(copied), copied)
    assert read == []
    assert copied.columns.held()[0] == files()[0].stat().st_size
    # Removed by a program that knows nothing of the files.
    with copied._engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM sweeps"))
    everything, unneeded = copied.columns.held()
    assert everything == unneeded > 0
    copied.columns.collect()
    assert copied.columns.held() == (0, 0)
    monkeypatch.setenv("PARETOSCOPE_HOME", str(home))
    store.delete_sweep(SWEEP.id)
    assert files() == []


def test_an_unknown_or_small_sweep_has_no_file(store: Store):
    assert len(SweepColumns(store, "none").read()) == 0
    begin(store, varied(9, 3))
    columns = SweepColumns(store, SWEEP.id)
    columns.keep()
    assert_same(columns.read(), of_records(store), store)
    assert files() == []


def test_the_total_is_the_same_from_stamps_at_hand(store: Store):
    begin(store, varied(10))
    stamps: Callable[[], np.ndarray] = lambda: np.array(store.stamps.of(SWEEP.id), np.int64).reshape(-1, 3)  # noqa: E731
    assert store.stamps.total(SWEEP.id) == total_of(stamps())
    assert store.stamps.total("none") == total_of(stamps()[:0]) == (0, 0, 0, 0, 0)
