"""What a stored sweep's network is for, read without the recipes of its spec, which may be 100,000."""

from __future__ import annotations

import json

import sqlalchemy as sa

from engine.errors import NotFoundError
from engine.spec.goals import Target
from engine.store.rows import unknown_sweep
from engine.store.schema import sweeps
from engine.store.store import Store


def target_of(store: Store, sweep_id: str) -> Target | None:
    """The `target` of a sweep's spec, None where it states none; raises NotFoundError."""
    with store._engine.connect() as connection:
        text = connection.scalar(sa.select(sweeps.c.spec).where(sweeps.c.id == sweep_id))
    if text is None:
        raise NotFoundError(unknown_sweep(sweep_id))
    stated = json.loads(text).get("target")
    return Target(**stated) if stated else None
