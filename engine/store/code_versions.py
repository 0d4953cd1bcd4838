"""The versions of the code that nodes were made by, so that finished nodes of an earlier one can be found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

from engine.spec.canonical import canonical_json
from engine.store.schema import code_versions as _code

MOST_VERSIONS = 5
"""So many earlier versions are looked through."""


def save(engine: sa.Engine, digests: Mapping[str, str]) -> None:
    """Note a version, by the digest of each kind of node, as used now."""
    text, now = canonical_json(dict(digests)), datetime.now(UTC).isoformat()
    with engine.begin() as connection:
        known = connection.execute(_code.update().where(_code.c.digests == text).values(seen=now))
        if not known.rowcount:
            connection.execute(_code.insert().values(digests=text, seen=now))


def others(engine: sa.Engine, digests: Mapping[str, str]) -> list[dict[str, str]]:
    """Other versions than this one, the last one first, at most `MOST_VERSIONS`."""
    query = sa.select(_code.c.digests).where(_code.c.digests != canonical_json(dict(digests)))
    with engine.connect() as connection:
        found = connection.scalars(query.order_by(_code.c.seen.desc()).limit(MOST_VERSIONS)).all()
    return [json.loads(text) for text in found]
