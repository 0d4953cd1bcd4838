"""How long nodes took for each unit of their work."""

from __future__ import annotations

import sqlalchemy as sa

from engine.store.schema import nodes as _nodes

_LAST = 200


def rates(engine: sa.Engine) -> dict[str, float]:
    """Seconds per unit of work by node kind, the median of the last finished nodes of each."""
    found: dict[str, float] = {}
    with engine.connect() as connection:
        for kind in connection.scalars(sa.select(_nodes.c.kind).distinct()).all():
            query = sa.select(_nodes.c.seconds / _nodes.c.work).where(_nodes.c.kind == kind, _nodes.c.work > 0)
            values = sorted(connection.scalars(query.limit(_LAST)))
            if values:
                found[kind] = float(values[len(values) // 2])
    return found
