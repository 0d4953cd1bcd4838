"""The two sides of a comparison of runs: a sweep of this home, the run of it before the last, a sweep of another home or of a backup of
one, or what `trials --json` printed. And what differs in what was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.errors import InputError, NotFoundError, SpecError
from engine.frontier.certainty import Find
from engine.spec.goals import Target
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.other_home import is_home, open_home
from engine.store.store import Store
from engine.trials.trial import Trial

BEFORE = "@before"
"""Behind the name of a sweep: its run before the last one."""


@dataclass(frozen=True)
class Side:
    """One run: its trials, and where the answers that they name are; `spec` None where it is not known, `when` where nobody knows."""

    name: str
    trials: tuple[Trial, ...]
    find: Find | None
    spec: Sweep | None
    when: str | None
    sweep: str | None = None

    @property
    def target(self) -> Target | None:
        """What the network is for."""
        return self.spec.target if self.spec else None


def side_of(ref: str, scratch: Path, like: str | None = None) -> Side:
    """The run that a reference names: `SWEEP`, `SWEEP@before`, `HOME:SWEEP`, `BACKUP.zip:SWEEP`, or a file of `trials --json`.

    A home or backup alone stands for the sweep of the id `like` in it. `scratch` is a folder for copies, needed as long as the side is.
    Raises NotFoundError or InputError.
    """
    path = Path(ref)
    if path.suffix == ".json" and path.is_file():
        return _of_file(path)
    if is_home(path):
        return _of_home(path, like, scratch)
    where, _, sweep = ref.rpartition(":")
    if where and is_home(Path(where)):
        return _of_home(Path(where), sweep, scratch)
    if where:
        raise NotFoundError(
            f"{where} is no home folder of Paretoscope and no backup of one; give HOME:SWEEP, BACKUP.zip:SWEEP or SWEEP"
        )
    if path.suffix in (".json", ".zip"):
        raise NotFoundError(
            f"{path} does not exist; give a file of `paretoscope trials SWEEP --json`, a backup, or a sweep"
        )
    store = Store.open()
    if ref.endswith(BEFORE):
        return earlier_side(store, ref.removesuffix(BEFORE))
    return stored_side(store, ref, Artifacts.open().local)


def stored_side(store: Store, ref: str, find: Find | None, where: str = "") -> Side:
    """A sweep of a store as it is now."""
    row = store.sweep(ref)
    kept = store.earlier.kept(row.id)
    when = f"since {_day(kept)}" if kept else _day(row.created)
    return Side(row.name + where, tuple(store.trials(row.id)), find, store.spec(row.id), when, row.id)


def earlier_side(store: Store, ref: str) -> Side:
    """The run of a sweep before its last one; NotFoundError where none was kept."""
    row = store.sweep(ref)
    trials = store.earlier.of(row.id)
    if not trials:
        raise NotFoundError(
            f"{row.id} has no earlier run here: one is kept when a sweep whose recipes are finished is measured anew, as after an update; "
            "name another sweep, a backup or a home to compare with"
        )
    kept = store.earlier.kept(row.id)
    return Side(
        f"{row.name}, the run before",
        tuple(trials),
        Artifacts.open().local,
        store.spec(row.id),
        kept and f"until {_day(kept)}",
        row.id,
    )


def _of_home(path: Path, ref: str | None, scratch: Path) -> Side:
    folder = scratch / f"home-{len(list(scratch.iterdir()))}"
    folder.mkdir()
    there = open_home(path, folder)
    return stored_side(there.store, ref or "latest", there.find, f" in {path.name}")


def _of_file(path: Path) -> Side:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        # The command also says what boards measured of a trial.
        known = Trial.__dataclass_fields__
        trials = tuple(Trial.from_json({k: v for k, v in record.items() if k in known}) for record in records)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(
            f"{path} is not what `paretoscope trials SWEEP --json` prints ({type(error).__name__}: {said})"
        ) from None
    # Answers have one name wherever they lie: those that are here, too, are read.
    return Side(path.name, trials, Artifacts.open().local, None, None)


def _day(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M UTC")


def what_differs(then: Side, now: Side) -> tuple[str, ...]:
    """What of the specs, the machines and the versions differs, a line each: `seed: 0 then, 1 now`."""
    lines = []
    if then.spec and now.spec:
        old, new = (_flat(s.model_dump(mode="json", exclude={"name", "recipes"})) for s in (then.spec, now.spec))
        keys = [k for k in dict.fromkeys((*old, *new)) if old.get(k) != new.get(k)]
        lines += [f"{k}: {_said(old.get(k))} then, {_said(new.get(k))} now" for k in keys]
    machines = [next((t.machine for t in reversed(s.trials) if t.machine), None) for s in (then, now)]
    if machines[0] and machines[1]:
        for name in ("cpu", "cores", "os"):
            first, second = (getattr(m, name) for m in machines)
            if first != second:
                lines.append(f"{name}: {first} then, {second} now")
        versions = [m.versions for m in machines if m]
        for name in sorted({*versions[0], *versions[1]}):
            if versions[0].get(name) != versions[1].get(name):
                lines.append(f"{name}: {versions[0].get(name, 'none')} then, {versions[1].get(name, 'none')} now")
    trained = any(
        s.step in ("distill", "finetune") or getattr(s, "method", "") == "qat"
        for t in now.trials
        for s in t.recipe.steps
    )
    if then.spec and now.spec and then.spec.seed != now.spec.seed and trained:
        lines.append(
            "Trained with another seed: that moves a recipe by itself, which the intervals, of the test samples alone, do not hold"
        )
    if not lines and then.spec and now.spec:
        lines.append(
            "Neither spec nor machine nor versions differ: the data, the network or the program itself may have changed"
        )
    return tuple(lines)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as one of dotted names; lists stay."""
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    return {k: v for key, part in value.items() for k, v in _flat(part, f"{name}.{key}" if name else str(key)).items()}


def _said(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 90 else f"{text[:88]} …"


def check_sides(then: Side, now: Side) -> None:
    """Raises SpecError where a side has nothing measured to compare."""
    for side in (then, now):
        if not any(t.state == "done" for t in side.trials):
            raise SpecError(f"{side.name} has no measured recipe, so there is nothing to compare")
