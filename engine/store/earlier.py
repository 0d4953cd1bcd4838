"""The run before the last of a sweep, kept when a run is about to measure anew what that one had finished: by another version of the code,
of a runtime or of the data. So it can be told afterwards what changed. One earlier run is kept of each sweep, its trials whole; of their
files `gc` leaves the answers to the test samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from engine.spec.canonical import canonical_json
from engine.store.rows import read_trial
from engine.trials.trial import Trial

meta = sa.MetaData()
table = sa.Table(
    "earlier_trials",
    meta,
    sa.Column("sweep_id", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("position", sa.Integer),
    sa.Column("record", sa.String),
    sa.Column("kept", sa.String),
)


def keep(connection: sa.Connection, sweep_id: str, trials: Sequence[Trial]) -> None:
    """Keep these as the earlier run of a sweep, in place of the one that was kept, together with what else the connection is about."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rows = [
        {"sweep_id": sweep_id, "id": t.id, "position": i, "record": canonical_json(t.to_json()), "kept": now}
        for i, t in enumerate(trials)
    ]
    connection.execute(table.delete().where(table.c.sweep_id == sweep_id))
    if rows:
        connection.execute(table.insert(), rows)


class Earlier:
    """The earlier runs of a store's sweeps."""

    def __init__(self, engine: sa.Engine) -> None:
        """Of the store with this engine."""
        self._engine = engine

    def keep(self, sweep_id: str, trials: Sequence[Trial]) -> None:
        """Keep these as the earlier run of a sweep, in place of the one that was kept."""
        with self._engine.begin() as connection:
            keep(connection, sweep_id, trials)

    def of(self, sweep_id: str) -> list[Trial]:
        """The trials of the earlier run of a sweep in the order of its plan, empty where none was kept."""
        query = sa.select(table.c.record).where(table.c.sweep_id == sweep_id).order_by(table.c.position)
        with self._engine.connect() as connection:
            return [read_trial(text) for text in connection.scalars(query)]

    def kept(self, sweep_id: str) -> str | None:
        """Until when the earlier run was the last one, as ISO text; None where none was kept."""
        query = sa.select(table.c.kept).where(table.c.sweep_id == sweep_id).limit(1)
        with self._engine.connect() as connection:
            found: str | None = connection.scalar(query)
        return found
