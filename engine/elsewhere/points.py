"""Somebody else's numbers beside a sweep: a table, an Olive footprint or an Optuna study, as points marked `imported`.

A point is its name and its numbers. It has no file, no predictions and no interval, so it is on no frontier unless that is asked for, and
its times and energy are on the axis of the device that is named with them, never on that of the sweep's own machine: two machines' times on
one axis would compare the machines. `paretoscope add` measures a file on this one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.devices.profiles import HOST
from engine.elsewhere.csv_table import read_csv
from engine.elsewhere.headings import TIMES
from engine.elsewhere.olive import read_olive
from engine.elsewhere.optuna_study import is_study, read_study
from engine.elsewhere.rows import Found
from engine.errors import InputError, SpecError
from engine.spec.canonical import digest
from engine.spec.names import checked_name
from engine.spec.recipe import Recipe
from engine.spec.steps import Imported
from engine.store.store import Store
from engine.trials.stated import NOT_HERE, Stated
from engine.trials.trial import Trial

MOST_POINTS = 1_000
"""More than this would hide what was measured."""


@dataclass(frozen=True)
class ImportedPoints:
    """What was imported into which sweep, the names of points that were replaced, and what in the source was left out."""

    sweep: str
    points: tuple[Trial, ...]
    replaced: tuple[str, ...]
    left_out: tuple[str, ...]


def import_points(
    store: Store,
    sweep_ref: str,
    source: str,
    device: str | None = None,
    ignore: Sequence[str] = (),
    study: str | None = None,
    values: str | None = None,
) -> ImportedPoints:
    """Keep the points of a source with a sweep; those of the same names are replaced.

    Raises InputError, before anything is kept, for whatever is not clear about any of them.
    """
    row = store.sweep(sweep_ref)
    found = _read(source, ignore, study, values)
    timed = [key for key in TIMES if any(key in r.values for r in found.rows)]
    where = _device(device, timed, found.source)
    labels = {t.label: t.id for t in store.trials(row.id)}
    names = Counter(r.name for r in found.rows)
    points = []
    for i, one in enumerate(found.rows, 1):
        place = f"{found.source}, row {i}"
        checked_name(one.name, place)
        if names[one.name] > 1:
            raise InputError(f"{place}: {names[one.name]} points are called {one.name!r}; give each a name of its own")
        if one.name in labels:
            raise InputError(
                f"{place}: {row.id} has a trial called {one.name!r} already ({labels[one.name]}); give another name"
            )
        if not one.values:
            raise InputError(f"{place}: {one.name!r} has no number; leave the row out")
        stated = Stated(dict(one.values), where if set(timed) & set(one.values) else None, found.source)
        step = Imported(name=one.name, sha256=digest([found.source, one.name, dict(one.values), stated.device]))
        recipe = Recipe(steps=(step,))
        notes = (f"{NOT_HERE}: stated by {found.source}, without intervals", *one.notes)
        points.append(Trial(recipe.id, recipe, state="done", provenance="imported", stated=stated, notes=notes))
    if not points:
        raise InputError(f"{found.source} has no point; give one row for each")
    if len(points) > MOST_POINTS:
        raise InputError(
            f"{found.source} has {len(points):,} points; {MOST_POINTS:,} are the most, keep those that matter"
        )
    return ImportedPoints(row.id, tuple(points), tuple(store.points.keep(row.id, points)), found.left_out)


def _read(source: str, ignore: Sequence[str], study: str | None, values: str | None) -> Found:
    """By what the source is called."""
    of_study, suffix = is_study(source), Path(source).suffix
    for name, given in (("--study", study), ("--values", values)):
        if given is not None and not of_study:
            raise SpecError(f"{name} is for Optuna studies, but {source} is none")
    if ignore and suffix != ".csv":
        raise SpecError(f"--ignore is for CSV files, but {source} is none")
    if of_study:
        return read_study(source, study, values)
    if suffix == ".csv":
        return read_csv(Path(source), ignore)
    if suffix == ".json":
        return read_olive(Path(source))
    raise SpecError(
        f"{source} is not known by its ending; give a .csv table, Olive's footprint.json, or an Optuna storage (.db, .log)"
    )


def _device(device: str | None, timed: Sequence[str], source: str) -> str | None:
    """Where the source's times hold."""
    if device == HOST.name:
        raise SpecError(
            "--device: host is where this sweep measures, and nothing else is on that axis; name the device that measured, or measure the "
            "files here with `paretoscope add`"
        )
    if timed and device is None:
        raise SpecError(
            f"{source} has {' and '.join(timed)}; say on which device with --device, a profile's name or one of your own"
        )
    return checked_name(device, "--device") if device is not None else None
