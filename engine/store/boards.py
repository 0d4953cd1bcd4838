"""What users' own boards measured of a sweep's files: one row for each trial and board, replaced when the same board comes again."""

from __future__ import annotations

import json

import sqlalchemy as sa

from engine.errors import NotFoundError
from engine.spec.canonical import canonical_json
from engine.store.schema import sweeps
from engine.trials.boards import BoardRun

meta = sa.MetaData()
table = sa.Table(
    "boards",
    meta,
    sa.Column("sweep_id", sa.String, primary_key=True),
    sa.Column("trial_id", sa.String, primary_key=True),
    sa.Column("board", sa.String, primary_key=True),
    sa.Column("record", sa.String),
)


class Boards:
    """The board measurements of a store; every method is one short transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        """Of the database that the store is in."""
        self._engine = engine

    def of(self, sweep_id: str) -> list[BoardRun]:
        """All of a sweep, by board and trial."""
        query = sa.select(table.c.record).where(table.c.sweep_id == sweep_id).order_by(table.c.board, table.c.trial_id)
        with self._engine.connect() as connection:
            return [BoardRun.from_json(json.loads(text)) for text in connection.scalars(query)]

    def keep(self, sweep_id: str, run: BoardRun) -> BoardRun | None:
        """Keep a measurement; the one of the same trial and board that it takes the place of, if there was one."""
        mine = (table.c.sweep_id == sweep_id) & (table.c.trial_id == run.trial) & (table.c.board == run.board)
        with self._engine.begin() as connection:
            before = connection.scalar(sa.select(table.c.record).where(mine))
            connection.execute(table.delete().where(mine))
            row = {"sweep_id": sweep_id, "trial_id": run.trial, "board": run.board}
            connection.execute(table.insert().values(**row, record=canonical_json(run.to_json())))
            _changed(connection, sweep_id)
        return None if before is None else BoardRun.from_json(json.loads(before))

    def remove(self, sweep_id: str, board: str) -> int:
        """Forget all that a board measured of a sweep; of how many trials that was. NotFoundError for a board that is not there."""
        mine = (table.c.sweep_id == sweep_id) & (table.c.board == board)
        with self._engine.begin() as connection:
            gone = connection.execute(table.delete().where(mine)).rowcount
            _changed(connection, sweep_id)
        if not gone:
            known = ", ".join(dict.fromkeys(run.board for run in self.of(sweep_id))) or "none yet"
            raise NotFoundError(f"no board {board!r} has measured anything of {sweep_id}; known: {known}")
        return gone


def _changed(connection: sa.Connection, sweep_id: str) -> None:
    """Who has read the sweep reads it anew."""
    connection.execute(sweeps.update().where(sweeps.c.id == sweep_id).values(revision=sweeps.c.revision + 1))
