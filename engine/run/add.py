"""Puts an ONNX file that was made elsewhere on a finished sweep's frontier, measured like every recipe.

How it flows: the file's bytes go into the artifact store under their own SHA-256; a recipe of the one step `imported`, which names that
digest, is appended to the spec that the store keeps of the sweep; an ordinary run of that spec, told to work on this recipe alone, makes
its nodes and assembles its trial (`run.py`, `assemble.py`; nothing of them is here again). A sweep's id does not count such recipes
(`Sweep.id`), and every run takes those that the store knows of (`Store.with_added`). So the sweep stays the one that it was, its own spec
file run again keeps the trial, resume makes it again after an upgrade without the user's file, and deleting the sweep forgets it.

The recipe holds no path: a file that has moved would then be lost with the next change of code, and the same file from two folders would be
two trials.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.datasets.load import load_dataset
from engine.errors import NotFoundError, SpecError
from engine.models.made_elsewhere import bytes_of, check_made
from engine.run.addition import Addition
from engine.run.outcome import Outcome, Progress
from engine.run.run import execute
from engine.spec.recipe import Recipe
from engine.spec.steps import Imported
from engine.spec.validation import validated
from engine.store.artifacts import Artifacts
from engine.store.rows import SweepRow
from engine.store.store import Store
from engine.trials.trial import Trial


@dataclass(frozen=True)
class Added:
    """The trial of an added file; `outcome` is the run that measured it, None where it was there already."""

    sweep: str
    trial: Trial
    outcome: Outcome | None


def add_file(
    store: Store,
    artifacts: Artifacts,
    sweep_ref: str,
    path: Path,
    name: str,
    scheduler: str | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    keep_old_code: bool = False,
) -> Added:
    """Measure a file as a trial of a finished sweep; one that is there already is not measured again.

    Raises InputError, before anything is recorded, for an unknown sweep or one that is not finished, a name that is taken, and a file that
    cannot be used or does not go with the sweep's data.
    """
    row = store.sweep(sweep_ref)
    sweep = store.spec(row.id)
    _check_state(row)
    content = bytes_of(path)
    step: Imported = validated(Imported, {"name": name, "sha256": hashlib.sha256(content).hexdigest()}, "--name")
    recipe = Recipe(steps=(step,))
    if there := _there(store.trials(row.id), step, row.id):
        return Added(row.id, there, None)
    with tempfile.TemporaryDirectory(prefix="paretoscope-") as folder:
        file = Path(folder) / "made.onnx"
        file.write_bytes(content)
        latency = sweep.measure.latency
        check_made(
            file, load_dataset(sweep.data), latency.filled(None).batch if latency else None, str(path), sweep.model
        )
        outcome = execute(
            sweep.with_added([recipe]),
            store,
            artifacts,
            scheduler,
            on_progress,
            keep_old_code or row.keep_old_code,
            Addition(recipe, file),
        )
    return Added(row.id, store.trial(row.id, recipe.id), outcome)


def remove_file(store: Store, sweep_ref: str, name: str) -> Trial:
    """Take a file that was added out of its sweep again, by the name of its trial, which is returned.

    Raises InputError for an unknown sweep, one that runs, or a name that no added file has.
    """
    row = store.sweep(sweep_ref)
    added = [t for t in store.trials(row.id) if t.recipe.imported]
    found = next((t for t in added if t.label == name), None)
    if found is None:
        known = ", ".join(t.label for t in added[:8]) or "none yet"
        raise NotFoundError(f"no file called {name!r} was added to {row.id}; those that were: {known}")
    store.remove_added(row.id, found.recipe)
    return found


def _check_state(row: SweepRow) -> None:
    if row.example:
        raise SpecError(
            f"{row.id} ships with Paretoscope and was measured on another machine; run its spec under a name of your own, then add to that"
        )
    if row.state == "running":
        raise SpecError(f"{row.id} is running; add to it when it is done, or `paretoscope cancel {row.id}`")
    if row.state != "done":
        raise SpecError(f"{row.id} is {row.state}; finish it first with `paretoscope resume {row.id}`")


def _there(trials: list[Trial], step: Imported, sweep: str) -> Trial | None:
    """The trial of the same file, under whatever name, if it is measured; raises SpecError where another trial has the name."""
    for trial in trials:
        other = trial.recipe.imported
        if other and other.sha256 == step.sha256 and trial.state == "done":
            return trial
    for trial in trials:
        if trial.label == step.name and trial.recipe != Recipe(steps=(step,)):
            what = "another file" if trial.recipe.imported else "a recipe"
            raise SpecError(f"{sweep} has {what} called {step.name!r} already, trial {trial.id}; give another --name")
    return None
