"""The sweep that ships in `data/example`, entered into every store, with its finished nodes.

The same recipes on the same model and data find all of them done but their latencies, which are another machine's.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from engine.paths import EXAMPLE
from engine.spec.canonical import canonical_json
from engine.spec.sweep import parse_sweep
from engine.store.rows import new_sweep, trial_row
from engine.store.schema import code_versions, nodes, sweeps, trials
from engine.trials.trial import Trial


def add_example(engine: sa.Engine) -> None:
    """Enter the shipped sweep, once, and again when an update of the program brings another one, or other keys."""
    path = EXAMPLE / "sweep.json"
    if not path.is_file():
        return
    shipped = json.loads(path.read_text())
    sweep = parse_sweep(shipped["spec"])
    with engine.begin() as connection:
        query = sa.select(sweeps).where(sa.or_(sweeps.c.example, sweeps.c.id == sweep.id))
        known = connection.execute(query).all()
        # A sweep of the user's own under the same id is theirs and stays.
        if any(not row.example or _is_this(connection, row, shipped) for row in known):
            return
        for row in known:
            connection.execute(trials.delete().where(trials.c.sweep_id == row.id))
        connection.execute(sweeps.delete().where(sweeps.c.example))
        # Who has read the one of before reads anew.
        revision = 1 + max((row.revision for row in known), default=0)
        row = new_sweep(sweep) | shipped["row"] | {"example": True, "state": "done", "revision": revision}
        connection.execute(sweeps.insert().values(**row))
        rows = [trial_row(sweep.id, i, Trial.from_json(t), revision) for i, t in enumerate(shipped["trials"])]
        connection.execute(trials.insert(), rows)
        _add_nodes(connection)


def _is_this(connection: sa.Connection, row: sa.Row[Any], shipped: dict[str, Any]) -> bool:
    """Whether the store's example is the shipped one, whatever was changed in it since: made at that time, its files under those keys."""
    baseline = sa.select(trials.c.record).where(trials.c.sweep_id == row.id, trials.c.position == 0)
    artifact = shipped["trials"][0]["artifact"] if shipped["trials"] else ""
    return bool(row.created == shipped["row"]["created"]) and (artifact or "") in (connection.scalar(baseline) or "")


def _add_nodes(connection: sa.Connection) -> None:
    """What the example's nodes returned, and by which code."""
    path = EXAMPLE / "nodes.json"
    if not path.is_file():
        return
    shipped = json.loads(path.read_text())
    known = set(connection.scalars(sa.select(nodes.c.key).where(nodes.c.key.in_([n["key"] for n in shipped["nodes"]]))))
    # No work: what they took elsewhere says nothing of how fast this machine is.
    rows = [
        {**n, "work": 0.0, "result": canonical_json(n["result"])} for n in shipped["nodes"] if n["key"] not in known
    ]
    if rows:
        connection.execute(nodes.insert(), rows)
    digests = canonical_json(shipped["code"])
    if connection.scalar(sa.select(code_versions.c.digests).where(code_versions.c.digests == digests)) is None:
        connection.execute(code_versions.insert().values(digests=digests, seen=shipped["made"]))
