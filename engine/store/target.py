"""What a stored sweep's network is, and what it is for, read without the recipes of its spec, which may be 100,000."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from engine.errors import NotFoundError
from engine.spec.canonical import canonical_json
from engine.spec.goals import Target
from engine.store.rows import unknown_sweep
from engine.store.schema import sweeps
from engine.store.store import Store


def target_of(store: Store, sweep_id: str) -> Target | None:
    """The `target` of a sweep's spec, None where it states none; raises NotFoundError."""
    stated = _spec(store, sweep_id).get("target")
    return Target(**stated) if stated else None


def model_and_data_of(store: Store, sweep_id: str) -> str:
    """The `model` and `data` of a sweep's spec as one text, the same for sweeps of the same network on the same data; raises
    NotFoundError.
    """
    spec = _spec(store, sweep_id)
    return canonical_json({key: spec.get(key) for key in ("model", "data")})


def _spec(store: Store, sweep_id: str) -> dict[str, Any]:
    with store._engine.connect() as connection:
        text = connection.scalar(sa.select(sweeps.c.spec).where(sweeps.c.id == sweep_id))
    if text is None:
        raise NotFoundError(unknown_sweep(sweep_id))
    found: dict[str, Any] = json.loads(text)
    return found
