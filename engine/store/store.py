"""Sweeps, nodes and trials in SQLite or PostgreSQL. The runner writes; the browser and the command line read.

sweeps    one row per spec: state, progress, heartbeat of its runner, revision (grows with every change, for caches)
nodes     what a finished node returned and how long it took; shared by all sweeps
trials    one row per recipe of a sweep, the whole record as JSON, and the sweep's revision when it last changed
notes     pins and notes on trials (`notes.py`)
views, earlier_trials  views of Explore under a name; the run before the last of a sweep
boards, points  what was measured elsewhere: of its files (`boards.py`), of others (`points.py`)
code_versions  the digests of the code that nodes were made by, and when that was last
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import NotFoundError, SetupError
from engine.paths import home
from engine.spec.canonical import canonical_json
from engine.spec.recipe import Recipe
from engine.spec.sweep import Sweep, parse_sweep
from engine.store import (
    boards,
    code_versions,
    column_files,
    earlier,
    notes,
    patience,
    points,
    rates,
    removal,
    running,
    stamps,
    views,
)  # fmt: skip
from engine.store.clock import now_s
from engine.store.connection import connect, without_password
from engine.store.example import add_examples
from engine.store.migrations.upgrade import migrate
from engine.store.rows import (
    NodeRow,
    State,
    SweepRow,
    begun,
    must_be_free,
    must_exist,
    new_sweep,
    read_sweep_row,
    read_trial,
    sweep_row,
    trial_row,
    trial_values,
    unknown_sweep,
)
from engine.store.schema import nodes as _nodes
from engine.store.schema import sweeps as _sweeps
from engine.store.schema import trials as _trials
from engine.trials.trial import Trial

_AT_ONCE = 500


class Store:
    """The database. Safe to open in several processes; every method is one short transaction."""

    def __init__(self, url: str) -> None:
        """Open and, when needed, migrate the database at an SQLAlchemy URL; SetupError when it cannot be used."""
        try:
            engine = self._engine = connect(url)
            migrate(engine)
            self.notes, self.boards = notes.Notes(engine), boards.Boards(engine)
            self.points, self.stamps, self.views = points.Points(engine), stamps.Stamps(engine), views.Views(engine)
            self._now = now_s(engine.dialect.name)
            self.columns, self.earlier = column_files.Columns(engine), earlier.Earlier(engine)
        except ImportError as error:
            raise SetupError(
                f"the store {without_password(url)} needs a driver that is not installed ({error}); for PostgreSQL: "
                "pip install 'paretoscope[postgres]'"
            ) from None
        except (SQLAlchemyError, ValueError) as error:
            reason = patience.reason(error) if isinstance(error, SQLAlchemyError) else str(error)
            raise SetupError(
                f"the store {without_password(url)} cannot be opened: {reason}; check PARETOSCOPE_STORE"
            ) from None

    @classmethod
    def open(cls) -> Store:
        """The store of this home, or the one that `PARETOSCOPE_STORE` names, with the shipped examples in it."""
        url = os.environ.get("PARETOSCOPE_STORE") or f"sqlite:///{home() / 'paretoscope.db'}"
        store = cls(url)
        add_examples(store._engine)
        return store

    def sweeps(self) -> list[SweepRow]:
        """Every sweep, newest first; the shipped examples are last, by their names."""
        done = (
            sa.select(_trials.c.sweep_id, sa.func.count().label("trials"))
            .where(_trials.c.state == "done")
            .group_by(_trials.c.sweep_id)
            .subquery()
        )
        query = (
            sa.select(_sweeps, sa.func.coalesce(done.c.trials, 0).label("trials"), self._now.label("now"))
            .outerjoin(done, done.c.sweep_id == _sweeps.c.id)
            .order_by(_sweeps.c.example, sa.case((_sweeps.c.example, ""), else_=_sweeps.c.created).desc(), _sweeps.c.id)
        )
        with self._engine.connect() as connection:
            return [sweep_row(row) for row in connection.execute(query).mappings()]

    def sweep(self, ref: str) -> SweepRow:
        """A sweep by id, by name (the newest of that name), by a unique start of its id, or `latest`; else NotFoundError."""
        rows = self.sweeps()
        if ref == "latest" and rows:
            return rows[0]
        exact = [r for r in rows if r.id == ref] or [r for r in rows if r.name == ref]
        if exact:
            return exact[0]
        found = [r for r in rows if ref and r.id.startswith(ref)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(r.id for r in (found or rows)[:5]) or "none yet"
        problem = f"{ref!r} could be several sweeps" if found else f"there is no sweep {ref!r}"
        raise NotFoundError(f"{problem}; `paretoscope sweeps` lists them ({known})")

    def spec(self, sweep_id: str) -> Sweep:
        """The spec that the sweep was made from."""
        with self._engine.connect() as connection:
            text = connection.scalar(sa.select(_sweeps.c.spec).where(_sweeps.c.id == sweep_id))
        if text is None:
            raise NotFoundError(unknown_sweep(sweep_id))
        return parse_sweep(json.loads(text))

    def with_added(self, sweep: Sweep) -> Sweep:
        """A spec with the files that were added to its sweep, which whoever wrote the spec need not know of."""
        with self._engine.connect() as connection:
            text = connection.scalar(sa.select(_sweeps.c.spec).where(_sweeps.c.id == sweep.id))
        return sweep if text is None else sweep.with_added(parse_sweep(json.loads(text)).added)

    def trials(self, sweep_id: str) -> list[Trial]:
        """Every recipe of a sweep with what has been measured of it so far, the baseline first."""
        return list(self.changed_trials(sweep_id).values())

    def changed_trials(self, sweep_id: str, since: int = -1) -> dict[int, Trial]:
        """The trials that changed after a revision of the sweep, by their position in it, in that order."""
        return {position: read_trial(text) for position, text in self.changed_records(sweep_id, since)}

    def changed_records(self, sweep_id: str, since: int = -1) -> Iterator[tuple[int, str]]:
        """As `changed_trials`, but the records as they are stored: position and the JSON of `Trial.to_json`."""
        query = (
            sa.select(_trials.c.position, _trials.c.record)
            .where(_trials.c.sweep_id == sweep_id, _trials.c.revision > since)
            .order_by(_trials.c.position)
        )
        with self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=_AT_ONCE).execute(query):
                yield row.position, row.record

    def trials_by_id(self, sweep_id: str, ids: Sequence[str]) -> dict[str, Trial]:
        """Some trials of a sweep by their ids; raises NotFoundError for one that is not there (any more)."""
        found: dict[str, Trial] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(ids), _AT_ONCE):
                mine = _trials.c.sweep_id == sweep_id
                query = sa.select(_trials.c.id, _trials.c.record).where(
                    mine, _trials.c.id.in_(ids[start : start + _AT_ONCE])
                )
                found |= {name: read_trial(text) for name, text in connection.execute(query)}
        if missing := [i for i in ids if i not in found]:
            raise NotFoundError(f"{sweep_id} has no trial {missing[0]} any more; reload the page")
        return found

    def trial(self, sweep_id: str, trial_id: str) -> Trial:
        """One trial by its id or a unique start of it, or NotFoundError."""
        with self._engine.connect() as connection:
            ids = connection.scalars(
                sa.select(_trials.c.id).where(
                    _trials.c.sweep_id == sweep_id, _trials.c.id.startswith(trial_id, autoescape=True)
                )
            ).all()
        # To SQLite `LIKE` an A is an a.
        found = [i for i in ids if i == trial_id] or [i for i in ids if trial_id and i.startswith(trial_id)]
        if len(found) != 1:
            raise NotFoundError(
                f"{'several trials begin' if found else 'no trial of ' + sweep_id + ' begins'} with {trial_id!r}; "
                f"`paretoscope trials {sweep_id}` lists them"
            )
        return self.trials_by_id(sweep_id, found)[found[0]]

    def failed(self, sweep_id: str) -> frozenset[str]:
        """The ids of the recipes that could not be made."""
        return self.in_state(sweep_id, "failed")

    def in_state(self, sweep_id: str, state: str) -> frozenset[str]:
        """The ids of the recipes whose trials are `pending`, `done`, `failed` or `stopped`."""
        query = sa.select(_trials.c.id).where(_trials.c.sweep_id == sweep_id, _trials.c.state == state)
        with self._engine.connect() as connection:
            return frozenset(connection.scalars(query))

    def revision(self, sweep_id: str) -> int:
        """A number that grows whenever a trial or the state changes: the key for caches; 0 for an unknown sweep."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(_sweeps.c.revision).where(_sweeps.c.id == sweep_id)) or 0

    def request_cancel(self, sweep_id: str) -> None:
        """Ask the runner to stop; finished nodes stay."""
        self._update(sweep_id, cancel_requested=True)

    def delete_sweep(self, sweep_id: str) -> None:
        """Forget a sweep, its trials and their notes; see `removal.py`."""
        removal.delete_sweep(self._engine, sweep_id)
        self.columns.forget(sweep_id)

    def remove_added(self, sweep_id: str, recipe: Recipe) -> None:
        """Forget a file that was added to a sweep; see `removal.py`."""
        removal.remove_added(self._engine, sweep_id, recipe)

    def patient(self) -> Store:
        """This store for a runner, which waits for a database that is away for a while (`patience.py`)."""
        return patience.patient(self)

    # What only the runner calls.

    def begin(
        self,
        sweep: Sweep,
        trials: Iterable[Trial],
        nodes_total: int,
        nodes_done: int,
        keep_old_code: bool = False,
        earlier_run: Sequence[Trial] = (),
        run: str | None = None,
    ) -> float:
        """Enter a sweep as running, its trials as pending; the seconds that earlier runs of it took. `earlier_run`, if any, is kept.

        `run`: what `running.this_run` said. Begun twice by the same, it has begun once: the first time may have been written although its
        answer was lost. Raises RunningError when another runner is at it.
        """
        run = run or running.this_run()
        with self._engine.begin() as connection:
            old = read_sweep_row(connection, sweep.id)
            if old is None:
                connection.execute(_sweeps.insert().values(**new_sweep(sweep)))
            elif old["process"] == run:
                return float(old["elapsed_s"])
            else:
                must_be_free(old)
            records = list(trials)
            before = 1 if old is None else int(old["revision"])
            revision = before + (old is not None)
            changed = connection.execute(
                _sweeps.update()
                # Of two that begin at once one comes too late, and looks again.
                .where(_sweeps.c.id == sweep.id, _sweeps.c.revision == before)
                .values(
                    **begun(sweep, run, len(records), nodes_total, nodes_done, keep_old_code, self._now),
                    revision=revision,
                )
            )
            if not changed.rowcount:
                raise patience.ChangedMeanwhileError
            if earlier_run:
                earlier.keep(connection, sweep.id, earlier_run)
            connection.execute(_trials.delete().where(_trials.c.sweep_id == sweep.id))
            connection.execute(_trials.insert(), [trial_row(sweep.id, i, t, revision) for i, t in enumerate(records)])
        return 0.0 if old is None else float(old["elapsed_s"])

    def beat(
        self, sweep_id: str, nodes_done: int, elapsed_s: float, remaining_s: float | None, under_way: str | None = None
    ) -> bool:
        """Record progress and the runner's heartbeat; True when the user has asked to cancel."""
        progress = {"nodes_done": nodes_done, "elapsed_s": elapsed_s, "remaining_s": remaining_s}
        self._update(sweep_id, heartbeat=self._now, under_way=under_way, **progress)
        with self._engine.connect() as connection:
            return bool(connection.scalar(sa.select(_sweeps.c.cancel_requested).where(_sweeps.c.id == sweep_id)))

    def save_trial(self, sweep_id: str, trial: Trial) -> None:
        """Write a trial's record over its pending one."""
        self.save_trials(sweep_id, [trial])

    def save_trials(self, sweep_id: str, trials: Sequence[Trial]) -> None:
        """As `save_trial`, of several in one transaction."""
        mine = _sweeps.c.id == sweep_id
        rows = [{"trial": t.id, **trial_values(t)} for t in trials]
        if not rows:
            return
        with self._engine.begin() as connection:
            changed = connection.execute(_sweeps.update().where(mine).values(revision=_sweeps.c.revision + 1))
            must_exist(changed.rowcount, sweep_id)
            now = sa.select(_sweeps.c.revision).where(mine).scalar_subquery()
            query = _trials.update().where(_trials.c.sweep_id == sweep_id, _trials.c.id == sa.bindparam("trial"))
            connection.execute(query.values(revision=now), rows)

    def end(self, sweep_id: str, state: State, error: str | None = None) -> None:
        """The runner's last word on a sweep."""
        nothing = {"remaining_s": None, "under_way": None}
        self._update(sweep_id, state=state, error=error, revision=_sweeps.c.revision + 1, **nothing)

    def nodes(self, keys: Iterable[str]) -> dict[str, NodeRow]:
        """Those of the named nodes that are finished."""
        wanted = list(keys)
        found: dict[str, NodeRow] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(wanted), _AT_ONCE):
                query = sa.select(_nodes).where(_nodes.c.key.in_(wanted[start : start + _AT_ONCE]))
                for row in connection.execute(query).mappings():
                    found[row["key"]] = NodeRow(**{**row, "result": json.loads(row["result"])})
        return found

    def save_node(self, node: NodeRow) -> None:
        """Record a finished node; the same key always carries the same result, so a second write is none."""
        self.save_nodes([node])

    def save_nodes(self, nodes: Sequence[NodeRow]) -> None:
        """As `save_node`, of several in one transaction."""
        for start in range(0, len(nodes), _AT_ONCE):
            # In one order, so that no two runs wait for each other.
            rows = {n.key: n for n in sorted(nodes[start : start + _AT_ONCE], key=lambda n: n.key)}
            with self._engine.begin() as connection:
                known = set(connection.scalars(sa.select(_nodes.c.key).where(_nodes.c.key.in_(rows))))
                new = [{**n.__dict__, "result": canonical_json(n.result)} for k, n in rows.items() if k not in known]
                if new:
                    connection.execute(_nodes.insert(), new)

    def save_code(self, digests: Mapping[str, str]) -> None:
        """Note the version of the code, by the digest of each kind of node, that a run makes its nodes by."""
        code_versions.save(self._engine, digests)

    def earlier_code(self, digests: Mapping[str, str]) -> list[dict[str, str]]:
        """Other versions than this one that nodes were made by, the last one first."""
        return code_versions.others(self._engine, digests)

    def rates(self) -> dict[str, float]:
        """Seconds per unit of work by node kind, the median of the last 200 finished nodes of each; for forecasts."""
        return rates.rates(self._engine)

    def _update(self, sweep_id: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            changed = connection.execute(_sweeps.update().where(_sweeps.c.id == sweep_id).values(**values))
        must_exist(changed.rowcount, sweep_id)
