"""The sweep that ships in `data/example`, entered into every store."""

from __future__ import annotations

import json

import sqlalchemy as sa

from engine.paths import EXAMPLE
from engine.spec.sweep import parse_sweep
from engine.store.rows import new_sweep, trial_row
from engine.store.schema import sweeps, trials
from engine.trials.trial import Trial


def add_example(engine: sa.Engine) -> None:
    """Enter the shipped sweep, once, and again when an update of the program brings another one."""
    path = EXAMPLE / "sweep.json"
    if not path.is_file():
        return
    shipped = json.loads(path.read_text())
    sweep = parse_sweep(shipped["spec"])
    with engine.begin() as connection:
        query = sa.select(sweeps.c.example, sweeps.c.created).where(sa.or_(sweeps.c.example, sweeps.c.id == sweep.id))
        known = connection.execute(query).all()
        # A sweep of the user's own under the same id is theirs and stays.
        if any(not is_example or created == shipped["row"]["created"] for is_example, created in known):
            return
        connection.execute(sweeps.delete().where(sweeps.c.example))
        row = new_sweep(sweep) | shipped["row"] | {"example": True, "state": "done"}
        connection.execute(sweeps.insert().values(**row))
        rows = [trial_row(sweep.id, i, Trial.from_json(t), 1) for i, t in enumerate(shipped["trials"])]
        connection.execute(trials.insert(), rows)
