"""A sweep and a node as the database has them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from engine.errors import NotFoundError, RunningError, SetupError
from engine.spec.canonical import canonical_json
from engine.spec.sweep import Sweep
from engine.store.clock import now_s
from engine.store.running import shown, still_there
from engine.store.schema import sweeps
from engine.trials.trial import Trial

HEARTBEAT_LIMIT_S = 30.0
"""A running sweep whose runner, on another host, has been silent for longer by the store's clock is shown as interrupted."""
State = Literal["running", "done", "cancelled", "failed", "interrupted"]


@dataclass(frozen=True)
class SweepRow:
    """A sweep as lists show it. `trials` counts measured recipes of `recipes`; times in seconds.

    `keep_old_code`: its last run took nodes that an earlier version of the code had finished. `under_way`: what its
    runner said last that it is doing, as `engine/run/under_way.py` writes it; None where nothing runs.
    """

    id: str
    name: str
    state: State
    trials: int
    recipes: int
    created: str
    nodes_done: int
    nodes_total: int
    elapsed_s: float
    remaining_s: float | None
    error: str | None
    example: bool
    revision: int
    runner: str | None
    keep_old_code: bool
    under_way: str | None = None


@dataclass(frozen=True)
class NodeRow:
    """What a finished node returned; `work` is its forecast unit (see `engine/run/plan.py`).

    `seconds`: how long it took times the cores that it had, about what one core would take; of a measurement of time how long it took.
    """

    key: str
    kind: str
    work: float
    seconds: float
    result: dict[str, Any]


def read_trial(text: str) -> Trial:
    """A trial from its record in the database."""
    return Trial.from_json(json.loads(text))


def unknown_sweep(sweep_id: str) -> str:
    """One line for a sweep that is not there."""
    return f"there is no sweep {sweep_id!r}; `paretoscope sweeps` lists them"


def read_sweep_row(connection: sa.Connection, sweep_id: str) -> Any:
    """The row of a sweep as `state_of` judges it: with the store's `now`; None for a sweep that is not there."""
    now = now_s(connection.dialect.name).label("now")
    return connection.execute(sa.select(sweeps, now).where(sweeps.c.id == sweep_id)).mappings().first()


def must_be_free(row: Any) -> None:
    """Raise SetupError where nobody may run a sweep, RunningError where somebody does."""
    name = row["id"]
    if row["example"]:
        raise SetupError(f"{name} ships with Paretoscope and is finished; give your sweep another name to run it")
    if state_of(row) == "running":
        raise RunningError(f"{name} is being run by {row['runner']}; wait for it, or `paretoscope cancel {name}`")


def must_exist(rows: int, sweep_id: str) -> None:
    """Raise NotFoundError where a change of a sweep met no row."""
    if not rows:
        raise NotFoundError(unknown_sweep(sweep_id))


def new_sweep(sweep: Sweep) -> dict[str, Any]:
    """The row of a sweep that no runner has begun yet."""
    return {
        "id": sweep.id,
        "name": sweep.name,
        # Not canonical: the order of `space` is the order of the steps.
        "spec": json.dumps(sweep.model_dump(mode="json")),
        "state": "running",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipes": 0,
        "nodes_total": 0,
        "nodes_done": 0,
        "elapsed_s": 0.0,
        "remaining_s": None,
        "heartbeat": 0.0,
        "runner": None,
        "process": None,
        "cancel_requested": False,
        "error": None,
        "example": False,
        "keep_old_code": False,
        "under_way": None,
        "revision": 1,
    }


def begun(
    sweep: Sweep,
    run: str,
    recipes: int,
    nodes_total: int,
    nodes_done: int,
    keep_old_code: bool,
    now: sa.ColumnElement[float],
) -> dict[str, Any]:
    """What of a sweep's row changes as a run of it begins; `run` as of `running.this_run`, `now` of the store's clock."""
    return {
        "state": "running",
        "runner": shown(),
        "process": run,
        "heartbeat": now,
        "cancel_requested": False,
        "error": None,
        "recipes": recipes,
        "nodes_total": nodes_total,
        "nodes_done": nodes_done,
        "remaining_s": None,
        "keep_old_code": keep_old_code,
        "under_way": None,
        # Of the same sweep files may have been added.
        **({"spec": new_sweep(sweep)["spec"]} if sweep.added else {}),
    }


def trial_row(sweep_id: str, position: int, trial: Trial, revision: int) -> dict[str, Any]:
    """The row of a trial; `position` is its place in the plan."""
    return {"sweep_id": sweep_id, "id": trial.id, "position": position, **trial_values(trial), "revision": revision}


def trial_values(trial: Trial) -> dict[str, Any]:
    """What of a trial's row changes with the trial."""
    record = canonical_json(trial.to_json())
    return {"state": trial.state, "record": record, "digest": digest_of(record)}


def digest_of(record: str) -> int:
    """62 bits of a record's BLAKE2b, as a number that every database adds up: what was made of a record is known to be of this one."""
    return int.from_bytes(hashlib.blake2b(record.encode(), digest_size=8).digest()) >> 2


def state_of(row: Any) -> State:
    """The state of a sweep’s row, a runner that has ended, or fell silent where it cannot be seen, counted in.

    The row has the store's `now`, as `read_sweep_row` gives it.
    """
    state: State = row["state"]
    if state != "running":
        return state
    runs = still_there(row["process"])
    if runs is None:
        # One of the future is from before the store's clock was put back: whoever lives gives another in seconds.
        runs = abs(row["now"] - row["heartbeat"]) <= HEARTBEAT_LIMIT_S
    return "running" if runs else "interrupted"


def sweep_row(row: Any) -> SweepRow:
    """A row of the database as a `SweepRow`."""
    names = SweepRow.__dataclass_fields__
    return SweepRow(**{**{k: v for k, v in row.items() if k in names}, "state": state_of(row)})
