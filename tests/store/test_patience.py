"""A runner outlasts a database that is away for a while, and says in one line what it cannot outlast."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from engine.errors import InputError, RunningError, SetupError
from engine.run.run import execute
from engine.spec.sweep import Sweep, parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.patience import is_away, patient
from engine.store.rows import NodeRow
from engine.store.running import this_run
from engine.store.schema import nodes
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.servers import new_schema

SWEEP = parse_sweep({"name": "Patience", "model": {"source": "resnet8"}})


def pending() -> list[Trial]:
    return [Trial(r.id, r) for r in SWEEP.all_recipes]


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def test_one_of_two_that_begin_at_once_runs_and_the_other_is_told(url: str):
    """Each reads that nobody runs it; one alone may go on."""
    stores, both = [Store(url), Store(url)], threading.Barrier(2)
    for _ in range(4):
        told: list[str] = []

        def begin(store: Store, told: list[str]) -> None:
            both.wait(60)
            try:
                patient(store).begin(SWEEP, pending(), 9, 0)
            except RunningError as error:
                told.append(str(error))

        threads = [threading.Thread(target=begin, args=(store, told)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == 1
        assert "is being run by process" in told[0]
        stores[0].end(SWEEP.id, "done")


def test_a_run_whose_beginning_is_written_but_not_answered_has_begun_and_is_not_told_to_wait_for_itself(url: str):
    store, other = Store(url), Store(url)
    lost: list[str] = []

    def gone(connection: sa.Connection) -> None:
        """The database writes and dies before it can say so."""
        if not lost:
            lost.append("once")
            connection.connection.dbapi_connection.commit()
            orig = sqlite3.OperationalError("database is locked")
            if store._engine.dialect.name == "postgresql":
                import psycopg

                orig = psycopg.OperationalError("server closed the connection unexpectedly")
            raise OperationalError("COMMIT", {}, orig)

    for state, seconds in (("new", 0.0), ("cancelled", 7.5)):
        sa.event.listen(store._engine, "commit", gone)
        run, before = this_run(), [Trial("0" * 64, SWEEP.all_recipes[0])]
        assert patient(store).begin(SWEEP, pending(), 9, 2, earlier_run=before, run=run) == seconds
        sa.event.remove(store._engine, "commit", gone)
        assert lost == ["once"], state
        lost.clear()
        row = store.sweep(SWEEP.id)
        assert (row.state, row.nodes_done, len(store.trials(SWEEP.id))) == ("running", 2, len(pending()))
        assert [t.id for t in store.earlier.of(SWEEP.id)] == [before[0].id]
        # To anybody else it is taken, another run of this process included.
        with pytest.raises(RunningError, match="is being run by process"):
            patient(other).begin(SWEEP, pending(), 9, 2, run=this_run())
        store.beat(SWEEP.id, 4, 7.5, None)
        store.end(SWEEP.id, "cancelled")


def test_a_file_that_another_holds_is_waited_for(tmp_path: Path):
    path = tmp_path / "store.db"
    store, clock = Store(f"sqlite:///{path}"), Clock()
    store.begin(SWEEP, pending(), 9, 0)
    sa.event.listen(store._engine, "checkout", lambda c, *_: c.execute("PRAGMA busy_timeout=0"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now > 3:
            other.execute("ROLLBACK") if other.in_transaction else None

    runner = patient(store, 10.0, clock, sleep)
    assert runner.beat(SWEEP.id, 4, 1.0, None) is False
    assert 3 < clock.now < 10
    assert store.sweep(SWEEP.id).nodes_done == 4
    other.execute("BEGIN IMMEDIATE")
    runner = patient(store, 10.0, clock, clock.sleep)
    with pytest.raises(
        SetupError, match=r"cannot be used after 1\d s: database is locked; .* `paretoscope resume`"
    ) as refused:
        runner.beat(SWEEP.id, 5, 1.0, None)
    assert "\n" not in str(refused.value)
    gone = clock.now
    # Once in vain is enough: the runner's last word does not wait as long again.
    with pytest.raises(SetupError):
        runner.end(SWEEP.id, "failed")
    assert clock.now == gone
    other.close()


def test_a_full_disk_is_told_at_once_and_what_was_written_stays(tmp_path: Path):
    store, clock = Store(f"sqlite:///{tmp_path / 'store.db'}"), Clock()
    store.begin(SWEEP, pending(), 9, 0)

    def small(connection: sqlite3.Connection, *_: object) -> None:
        """What SQLite says of a full disk it says of a database that may not grow."""
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    sa.event.listen(store._engine, "checkout", small)
    runner = patient(store, 10.0, clock, clock.sleep)
    with pytest.raises(SetupError, match="the store cannot be used: database or disk is full"):
        runner.save_code({"facts": "x" * 100_000})
    assert clock.now == 0
    assert store.sweep(SWEEP.id).state == "running"


def test_a_server_that_goes_and_comes_is_waited_for_and_one_that_refuses_is_not():
    import psycopg

    def said(error: psycopg.Error) -> OperationalError:
        return OperationalError("UPDATE", {}, error)

    assert is_away(said(psycopg.OperationalError("connection refused")))
    for away in (psycopg.errors.AdminShutdown, psycopg.errors.CannotConnectNow, psycopg.errors.CrashShutdown):
        assert is_away(said(away("gone")))
    for final in (psycopg.errors.DiskFull, psycopg.errors.UndefinedTable):
        assert not is_away(said(final("no")))


def test_a_run_waits_for_the_store_from_its_first_look_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before anything is planned: what is known of the sweep."""
    asked, with_added = list[str](), Store.with_added

    def locked_once(store: Store, sweep: Sweep) -> Sweep:
        asked.append(sweep.id)
        if len(asked) == 1:
            raise OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked"))
        return with_added(store, sweep)

    monkeypatch.setattr(Store, "with_added", locked_once)
    sweep = parse_sweep({"name": "Patience", "model": {"source": str(tmp_path / "gone.onnx")}})
    with pytest.raises(InputError, match=r"gone\.onnx"):
        execute(sweep, Store(f"sqlite:///{tmp_path / 'store.db'}"), Artifacts(str(tmp_path / "a"), tmp_path / "cache"))
    assert asked == [sweep.id] * 2


def test_of_two_runs_that_record_the_same_nodes_the_other_way_round_none_ends(postgres: str):
    """PostgreSQL ends one of two that wait for each other, and says so."""
    url = new_schema(postgres, f"t{uuid.uuid4().hex}")
    store, other = Store(url), sa.create_engine(Store(url)._engine.url, poolclass=sa.NullPool)
    rows = {key: NodeRow(key * 64, "facts", 1.0, 1.0, {"macs": 7}) for key in "ab"}
    insert = nodes.insert().values(kind="facts", work=1.0, seconds=1.0, result='{"macs":7}')
    ended: list[object] = []

    def save() -> None:
        try:
            ended.append(patient(store).save_nodes([rows["a"], rows["b"]]))
        except SetupError as error:
            ended.append(error)

    with other.connect() as connection:
        # The other one is found out late.
        connection.execute(sa.text("SET LOCAL deadlock_timeout = '60s'"))
        connection.execute(insert.values(key=rows["b"].key))
        saving = threading.Thread(target=save)
        saving.start()
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        while not connection.scalar(waiting):
            time.sleep(0.01)
        connection.execute(insert.values(key=rows["a"].key))
        connection.commit()
    saving.join(60)
    assert ended == [None]
    assert len(store.nodes(row.key for row in rows.values())) == 2
