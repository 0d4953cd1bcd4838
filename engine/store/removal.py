"""Forgetting a sweep, or a file that was added to one."""

from __future__ import annotations

import json

import sqlalchemy as sa

from engine.errors import NotFoundError, SpecError
from engine.spec.recipe import Recipe
from engine.store import boards, earlier, notes, points, views
from engine.store.rows import read_sweep_row, state_of, unknown_sweep
from engine.store.schema import sweeps, trials


def delete_sweep(engine: sa.Engine, sweep_id: str) -> None:
    """Forget a sweep, its trials, their notes, and the views of it.

    Its nodes and their files stay: they may be another sweep's, and the same spec finds them again.
    Raises NotFoundError for a sweep that is not there, SpecError for one that runs, and for the shipped examples, which would be
    back with the next start.
    """
    with engine.begin() as connection:
        row = read_sweep_row(connection, sweep_id)
        if row is None:
            raise NotFoundError(unknown_sweep(sweep_id))
        if row["example"]:
            raise SpecError(f"{sweep_id} ships with Paretoscope and cannot be deleted")
        if state_of(row) == "running":
            raise SpecError(f"{sweep_id} is running; cancel it first (`paretoscope cancel {sweep_id}`)")
        for table in (trials, notes.table, boards.table, points.table, earlier.table, views.table):
            connection.execute(table.delete().where(table.c.sweep_id == sweep_id))
        connection.execute(sweeps.delete().where(sweeps.c.id == sweep_id))


def remove_added(engine: sa.Engine, sweep_id: str, recipe: Recipe) -> None:
    """Take the recipe of an added file out of the stored spec, and forget its trial with all that is said of it.

    Its nodes and the file stay in the store of artifacts: another sweep may have them, and added again it is there at once. Raises
    NotFoundError for a sweep that is not there, SpecError for one that runs.
    """
    with engine.begin() as connection:
        row = read_sweep_row(connection, sweep_id)
        if row is None:
            raise NotFoundError(unknown_sweep(sweep_id))
        if state_of(row) == "running":
            raise SpecError(f"{sweep_id} is running; cancel it first (`paretoscope cancel {sweep_id}`)")
        spec = json.loads(row["spec"])
        steps = recipe.to_json()
        spec["recipes"] = [listed for listed in spec["recipes"] if listed != steps]
        for table in (notes.table, boards.table):
            connection.execute(table.delete().where(table.c.sweep_id == sweep_id, table.c.trial_id == recipe.id))
        gone = connection.execute(
            trials.delete().where(trials.c.sweep_id == sweep_id, trials.c.id == recipe.id)
        ).rowcount
        connection.execute(
            sweeps.update()
            .where(sweeps.c.id == sweep_id)
            .values(spec=json.dumps(spec), recipes=row["recipes"] - gone, revision=row["revision"] + 1)
        )
