"""The sweeps that ship in `data/`, entered into every store, with their finished nodes.

The same recipes on the same model and data find all of them done but their latencies, which are another machine's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from engine.paths import EXAMPLES
from engine.spec.canonical import canonical_json
from engine.spec.sweep import Sweep, parse_sweep
from engine.store.rows import new_sweep, trial_row
from engine.store.schema import code_versions, nodes, sweeps, trials
from engine.trials.trial import Trial

Shipped = dict[str, Any]
_TRIES = 10


def add_examples(engine: sa.Engine) -> None:
    """Enter the shipped sweeps, once, and again when an update of the program brings others, or other keys."""
    found = {sweep.id: (sweep, shipped, folder) for folder, sweep, shipped in _shipped()}
    if not found:
        return
    for left in reversed(range(_TRIES)):
        try:
            _enter_those(found, engine)
            return
        except sa.exc.IntegrityError:
            # Another command that began at the same moment has entered them since they were looked for: look again.
            if not left:
                raise


def _enter_those(found: Mapping[str, tuple[Sweep, Shipped, Path]], engine: sa.Engine) -> None:
    with engine.begin() as connection:
        query = sa.select(sweeps).where(sa.or_(sweeps.c.example, sweeps.c.id.in_(found)))
        known = connection.execute(query).all()
        # A sweep of the user's own under the same id is theirs and stays.
        there = {row.id for row in known if not row.example}
        there |= {row.id for row in known if row.id in found and _is_this(connection, row, found[row.id][1])}
        old = [row for row in known if row.id not in there]
        for row in old:
            connection.execute(trials.delete().where(trials.c.sweep_id == row.id))
            connection.execute(sweeps.delete().where(sweeps.c.id == row.id))
        # Who has read those of before reads anew.
        revision = 1 + max((row.revision for row in old), default=0)
        for sweep, shipped, folder in (found[i] for i in found if i not in there):
            _enter(connection, sweep, shipped, revision)
            _add_nodes(connection, folder)


def example_folder(sweep_id: str) -> Path | None:
    """Where the shipped sweep of this id lies; None for any other."""
    return next((folder for folder, sweep, _ in _shipped() if sweep.id == sweep_id), None)


def _shipped() -> list[tuple[Path, Sweep, Shipped]]:
    found = []
    for folder in EXAMPLES:
        path = folder / "sweep.json"
        if path.is_file():
            shipped = json.loads(path.read_text())
            found.append((folder, parse_sweep(shipped["spec"]), shipped))
    return found


def _enter(connection: sa.Connection, sweep: Sweep, shipped: Shipped, revision: int) -> None:
    row = new_sweep(sweep) | shipped["row"] | {"example": True, "state": "done", "revision": revision}
    connection.execute(sweeps.insert().values(**row))
    rows = [trial_row(sweep.id, i, Trial.from_json(t), revision) for i, t in enumerate(shipped["trials"])]
    if rows:
        connection.execute(trials.insert(), rows)


def _is_this(connection: sa.Connection, row: sa.Row[Any], shipped: Shipped) -> bool:
    """Whether the store's example is the shipped one, whatever was changed in it since: made at that time, its files under those keys."""
    baseline = sa.select(trials.c.record).where(trials.c.sweep_id == row.id, trials.c.position == 0)
    artifact = shipped["trials"][0]["artifact"] if shipped["trials"] else ""
    return bool(row.created == shipped["row"]["created"]) and (artifact or "") in (connection.scalar(baseline) or "")


def _add_nodes(connection: sa.Connection, folder: Path) -> None:
    """What an example's nodes returned, and by which code."""
    path = folder / "nodes.json"
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
