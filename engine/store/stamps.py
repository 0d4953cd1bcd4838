"""Which record each trial of a sweep has, told without reading the records: whether what was made of them still holds.

A stamp is a trial's position, the revision it last changed in, and the digest of its record (`rows.digest_of`), all of them in one index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import sqlalchemy as sa

from engine.store.rows import digest_of
from engine.store.schema import trials

Stamp: TypeAlias = tuple[int, int, int]
"""Position, revision, digest."""
Total: TypeAlias = tuple[int, int, int, int, int]
"""How many trials, and four sums over their stamps, equal only where the stamps are (`total_of` in `engine/frontier/kept_columns.py`)."""

HALF = 2**31 - 1
"""A digest is added up in halves, since the sum of 100,000 whole ones is no number that databases have."""
PART = 2**20 - 1
"""So much of a digest is multiplied by the position, which tells whether two records have changed places."""
_AT_ONCE = 500


class Stamps:
    """The stamps of a store's trials; every method is one short transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        """Of the database that the store is in."""
        self._engine = engine

    def total(self, sweep_id: str) -> Total:
        """All stamps of a sweep in five numbers, which takes a third of the time that reading them takes."""
        digest = trials.c.digest
        low, high, part = digest.bitwise_and(HALF), digest // (HALF + 1), digest.bitwise_and(PART)
        sums = (trials.c.revision, low, high, part * trials.c.position)
        query = sa.select(sa.func.count(), *map(sa.func.sum, sums)).where(trials.c.sweep_id == sweep_id)
        with self._engine.connect() as connection:
            count, *found = (int(n or 0) for n in connection.execute(query).one())
        return count, found[0], found[1], found[2], found[3]

    def of(self, sweep_id: str) -> list[Stamp]:
        """Every stamp of a sweep, by position."""
        query = sa.select(trials.c.position, trials.c.revision, trials.c.digest)
        with self._engine.connect() as connection:
            found = connection.execute(query.where(trials.c.sweep_id == sweep_id).order_by(trials.c.position))
            # A row of the driver's own is a tuple, and 100,000 of them are made in half the time.
            return [(p, r, -1 if d is None else d) for p, r, d in found.cursor.fetchall()]

    def records(self, sweep_id: str, positions: Sequence[int] | None) -> Iterator[tuple[Stamp, str]]:
        """The records at some positions, at all for None, each with the stamp that it has: its digest is taken from the text itself."""
        query = sa.select(trials.c.position, trials.c.revision, trials.c.record).where(trials.c.sweep_id == sweep_id)
        if positions is None:
            parts = [query.order_by(trials.c.position)]
        else:
            starts = range(0, len(positions), _AT_ONCE)
            parts = [query.where(trials.c.position.in_(positions[i : i + _AT_ONCE])) for i in starts]
        with self._engine.connect() as connection:
            for part in parts:
                for position, revision, text in connection.execution_options(yield_per=_AT_ONCE).execute(part):
                    yield (position, revision, digest_of(text)), text
