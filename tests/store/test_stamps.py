"""Stamps say which record each trial has, the same on every database, and the digest of old records is made up for."""

from __future__ import annotations

import sqlalchemy as sa

from engine.frontier.kept_columns import SweepColumns, total_of
from engine.store.rows import digest_of
from engine.store.store import Store
from tests.store.test_store import SWEEP, measured, pending


def test_stamps_are_those_of_the_records(store: Store):
    import numpy as np

    store.begin(SWEEP, pending(), 9, 0)
    store.save_trial(SWEEP.id, measured(1))
    stamps = store.stamps.of(SWEEP.id)
    records = dict(store.changed_records(SWEEP.id))
    assert stamps == [(0, 1, digest_of(records[0])), (1, 2, digest_of(records[1]))]
    assert list(store.stamps.records(SWEEP.id, None)) == [(s, records[s[0]]) for s in stamps]
    assert list(store.stamps.records(SWEEP.id, [1])) == [(stamps[1], records[1])]
    assert store.stamps.total(SWEEP.id) == total_of(np.array(stamps, np.int64))
    assert store.stamps.total("none") == (0, 0, 0, 0, 0)
    assert list(SweepColumns(store, SWEEP.id).read()) == store.trials(SWEEP.id)


def test_trials_of_before_get_their_digests(url: str, store: Store):
    store.begin(SWEEP, [measured(0), measured(1)], 9, 0)
    before = store.stamps.of(SWEEP.id)
    store._engine.dispose()
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP INDEX trials_digests"))
        connection.execute(sa.text("ALTER TABLE trials DROP COLUMN digest"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0008'"))
    again = Store(url)
    assert again.stamps.of(SWEEP.id) == before
    assert "trials_digests" in {i["name"] for i in sa.inspect(engine).get_indexes("trials")}
