"""The sweep that ships in `data/example`, entered into every store, with its finished nodes.

The same recipes on the same model and data find all of them done but their latencies, which are another machine's.
"""

from __future__ import annotations

import json

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
        query = sa.select(sweeps.c.id, sweeps.c.example, sweeps.c.created, sweeps.c.revision).where(
            sa.or_(sweeps.c.example, sweeps.c.id == sweep.id)
        )
        known = connection.execute(query).all()
        # A sweep of the user's own under the same id is theirs and stays.
        wanted = (shipped["row"]["created"], shipped["row"]["revision"])
        if any(not row.example or (row.created, row.revision) == wanted for row in known):
            return
        for row in known:
            connection.execute(trials.delete().where(trials.c.sweep_id == row.id))
        connection.execute(sweeps.delete().where(sweeps.c.example))
        row = new_sweep(sweep) | shipped["row"] | {"example": True, "state": "done"}
        connection.execute(sweeps.insert().values(**row))
        rows = [trial_row(sweep.id, i, Trial.from_json(t), wanted[1]) for i, t in enumerate(shipped["trials"])]
        connection.execute(trials.insert(), rows)
        _add_nodes(connection)


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
