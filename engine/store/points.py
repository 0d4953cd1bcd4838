"""Imported points: numbers that somebody else measured, beside a sweep's trials and never among them, so that runs leave them alone."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from engine.errors import NotFoundError
from engine.spec.canonical import canonical_json
from engine.store.rows import read_trial
from engine.store.schema import sweeps
from engine.trials.trial import Trial

meta = sa.MetaData()
table = sa.Table(
    "points",
    meta,
    sa.Column("sweep_id", sa.String, primary_key=True),
    sa.Column("trial_id", sa.String, primary_key=True),
    sa.Column("position", sa.Integer),
    sa.Column("record", sa.String),
)


class Points:
    """The imported points of a store; every method is one short transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        """Of the database that the store is in."""
        self._engine = engine

    def of(self, sweep_id: str) -> list[Trial]:
        """Those of a sweep, in the order in which they came; each is a trial whose provenance is `imported`."""
        with self._engine.connect() as connection:
            return _all(connection, sweep_id)

    def keep(self, sweep_id: str, points: Sequence[Trial]) -> list[str]:
        """Keep points; those of the same names go, and their names are returned."""
        with self._engine.begin() as connection:
            known = _all(connection, sweep_id)
            names = {p.label for p in points}
            gone = [p for p in known if p.label in names]
            _delete(connection, sweep_id, gone)
            first = connection.scalar(sa.select(sa.func.max(table.c.position)).where(table.c.sweep_id == sweep_id))
            rows = [
                {"sweep_id": sweep_id, "trial_id": p.id, "position": i, "record": canonical_json(p.to_json())}
                for i, p in enumerate(points, 0 if first is None else int(first) + 1)
            ]
            connection.execute(table.insert(), rows)
            _changed(connection, sweep_id)
        return [p.label for p in gone]

    def remove(self, sweep_id: str, name: str) -> int:
        """Forget the point of that name, or all that came from the source of that name; how many. NotFoundError where there is neither."""
        with self._engine.begin() as connection:
            known = _all(connection, sweep_id)
            gone = [p for p in known if p.label == name] or [p for p in known if p.stated and p.stated.source == name]
            if not gone:
                names = ", ".join([p.label for p in known][:5]) or "none yet"
                raise NotFoundError(
                    f"{sweep_id} has no imported point, nor a source of any, called {name!r}; known: {names}"
                )
            _delete(connection, sweep_id, gone)
            _changed(connection, sweep_id)
        return len(gone)


def _all(connection: sa.Connection, sweep_id: str) -> list[Trial]:
    query = sa.select(table.c.record).where(table.c.sweep_id == sweep_id).order_by(table.c.position)
    return [read_trial(text) for text in connection.scalars(query)]


def _delete(connection: sa.Connection, sweep_id: str, points: Sequence[Trial]) -> None:
    ids = [p.id for p in points]
    connection.execute(table.delete().where(table.c.sweep_id == sweep_id, table.c.trial_id.in_(ids)))


def _changed(connection: sa.Connection, sweep_id: str) -> None:
    """Who has read the sweep reads it anew."""
    connection.execute(sweeps.update().where(sweeps.c.id == sweep_id).values(revision=sweeps.c.revision + 1))
