"""Executes a plan on a Dask client: progress, cancel, resume. Finished nodes are in the store at once, so nothing is lost.

The runner is the only writer of its sweep. Computing goes to the workers; here results are recorded and trials assembled.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from distributed import Future, KilledWorker

from engine.errors import CancelledError
from engine.frontier.kept_columns import SweepColumns
from engine.measure.machine import machine
from engine.run.addition import Addition
from engine.run.assemble import assemble, reported_labels
from engine.run.check_inputs import check_inputs
from engine.run.cluster import Cluster, check_artifacts, connect
from engine.run.code_digest import code_digests
from engine.run.confirm import with_confirmation
from engine.run.failures import Pulse, WorkerDeaths, reason
from engine.run.forecast import forecast_s
from engine.run.frugal_schedule import ended_of
from engine.run.interrupt import interruptible
from engine.run.missing import looked_up
from engine.run.old_code import left_by_old_code, with_old_code
from engine.run.outcome import Outcome, Progress
from engine.run.plan import EXCLUSIVE, Chain, Plan
from engine.run.planner import make_plan
from engine.run.readiness import prepared
from engine.run.schedule import schedule_of
from engine.run.submission import Handed, Submission, priority
from engine.run.task import Task
from engine.run.time_limit import TimeLimit
from engine.run.training_device import kind_of, training_device
from engine.run.under_way import to_keep, under_way
from engine.run.waits import Waits, listen
from engine.run.watched import Watched, Watcher
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.rows import NodeRow
from engine.store.running import this_run
from engine.store.store import Store
from engine.trials.measurements import Machine
from engine.trials.trial import Trial

_POLL_S, _SELDOM_S = 1.0, 3.0


def execute(
    sweep: Sweep,
    store: Store,
    artifacts: Artifacts,
    scheduler: str | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    keep_old_code: bool = False,
    addition: Addition | None = None,
    watcher: Watcher | None = None,
    on_note: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run all that is missing of a sweep. A second call does no work; a call after a crash goes on where it was.

    `keep_old_code`: nodes that an earlier version of the code has finished are taken as they are (`old_code`). `addition`: a file to add to
    a finished sweep (`add.py`), which is then all that is run. `watcher` is told of each node that ends, `on_note` what is to be known of
    the workers.

    Raises InputError for a bad model, dataset or scheduler, or artifacts that cannot be kept, before anything is recorded.
    """
    artifacts.check()
    store = store.patient()
    sweep = store.with_added(sweep)
    only = addition.recipe.id if addition else None
    # Trials need the labels in any case, and a dataset that cannot be read is better told of now than by every node.
    reported_labels(sweep.data, sweep.measure)
    check_inputs(sweep)

    def run_for(where: Machine, device: str) -> _Run:
        plan = make_plan(sweep, where, device=device)
        plan = with_old_code(plan, left_by_old_code(plan, where, store, artifacts)) if keep_old_code else plan
        if addition:
            addition.admit(plan, store, artifacts)
        return _Run(plan, store, artifacts, on_progress, keep_old_code, only, watcher)

    if scheduler is None:
        return run_for(machine(), kind_of(training_device())).follow(None)
    with connect(scheduler) as cluster:
        check_artifacts(cluster, artifacts)
        cluster = prepared(cluster, sweep, on_note)
        return run_for(cluster.machine, cluster.device).follow(cluster)


class _Run:
    """One run of one sweep: what is finished, what failed, and the clock.

    `left` are the nodes that are not finished, `missing` those of them that this run has taken on, `under_way` those that the cluster has.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        artifacts: Artifacts,
        on_progress: Callable[[Progress], None],
        keep_old_code: bool = False,
        only: str | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.keep_old_code, self.watcher = keep_old_code, watcher
        self.watched: Watched | None = None
        self.plan, self.store, self.artifacts, self.on_progress = plan, store, artifacts, on_progress
        self.under_way, self.nodes_run = set[str](), 0
        self.errors: dict[str, str] = {}
        self.trials: dict[str, Trial] = {}
        self.started, self.earlier_s = time.monotonic(), 0.0
        self.finished_s: dict[str, float | None] = {}
        self.rates = store.rates()
        self.latest, self.waits, self.cores, self.wanted = "", Waits(), 1, list[str]()
        self.deaths: WorkerDeaths | None = None
        # Dask blames every node that a dead worker held, whichever killed it: each is tried once more, alone.
        self.suspects, self.alone = set[str](), set[str]()
        self.place = {key: i for i, key in enumerate(plan.nodes)}
        # What a recipe waits for, and who waits for a node: a sweep of many thousand recipes is not looked through for each node.
        self.needs = {c.recipe.id: plan.awaited(c) for c in plan.chains}
        self.waiting = plan.waiting(self.needs)
        self.recipe_of = plan.first_recipes
        self.only = only
        self._look()

    def _look(self) -> None:
        """See what is finished, and plan the rest."""
        plan, store, artifacts = self.plan, self.store, self.artifacts
        rows, missing = looked_up(plan, store, artifacts)
        self.left = set(missing)
        self.results = {row.key: row.result for row in rows}
        self.ended = ended_of(plan, store, artifacts, rows, self.results, self.errors, self.rates)
        self.schedule = schedule_of(plan, self.needs, missing, store.failed(plan.sweep.id), self.only, self.ended)
        self.missing = set(self.schedule.planned)

    def follow(self, cluster: Cluster | None) -> Outcome:
        """Submit what is missing, to workers of this host for None, and record what comes back until nothing is left."""
        with contextlib.ExitStack() as afterwards:
            return self._follow(cluster, afterwards)

    def _follow(self, cluster: Cluster | None, afterwards: contextlib.ExitStack) -> Outcome:
        earlier = {t.id: t for t in self.store.trials(self.plan.sweep.id)}
        others = [] if self.only else to_keep(self.plan, earlier, self.left)
        # What an earlier run has measured was finished then, although it is put together again now.
        self.finished_s = {t.id: t.finished_s for t in earlier.values() if t.state == "done"}
        # What a search has stopped stays so; and what could not be made is not tried again beside the one recipe, and still says why.
        settled = ("stopped", "failed") if self.only else ("stopped",)
        self.trials = {i: t for i, t in earlier.items() if t.state in settled and i != self.only}
        pending = [self.trials.get(c.recipe.id, Trial(c.recipe.id, c.recipe)) for c in self.plan.chains]
        self.store.save_code(code_digests())
        self.earlier_s = self.store.begin(
            self.plan.sweep, pending, self.plan.unique, len(self.results), self.keep_old_code, others, this_run()
        )
        try:
            with interruptible():
                # Nobody knew of a new sweep until now: `gc` may have removed what it counts on.
                if not earlier and self.results:
                    self._look()
                for key in self.results:
                    if name := self.plan.nodes[key].artifact:
                        self.artifacts.keep(name)
                self._assemble_ready(self.plan.chains)
                if self.left:
                    self._collect(cluster or afterwards.enter_context(connect(None)))
        except (CancelledError, KeyboardInterrupt):
            return self._end("cancelled")
        except BaseException as error:
            self.store.end(self.plan.sweep.id, "failed", f"{type(error).__name__}: {error}")
            raise
        failed = bool(self.trials) and all(t.state == "failed" for t in self.trials.values())
        return self._end("failed" if failed else "done")

    def _end(self, state: Literal["done", "cancelled", "failed"]) -> Outcome:
        errors = [t.error for t in self.trials.values() if t.error]
        self._beat(cancellable=False)
        self.store.end(self.plan.sweep.id, state, errors[0] if state == "failed" and errors else None)
        # What only makes pages faster undoes no run.
        with contextlib.suppress(Exception):
            SweepColumns(self.store, self.plan.sweep.id).keep()
        done, stopped, bad = (sum(t.state == s for t in self.trials.values()) for s in ("done", "stopped", "failed"))
        left = len(self.plan.chains) - len(self.trials)
        waited_s, found = self.waits.seconds(), self.schedule.found
        return Outcome(state, self.nodes_run, done, bad, left, self._elapsed(), waited_s, stopped, found)

    def _collect(self, cluster: Cluster) -> None:
        self.cores, self.deaths = cluster.cores, cluster.deaths
        work, limit = Submission(cluster.client, cluster.slots), TimeLimit(self.plan, self.rates, cluster)
        listen(cluster.client, self.waits.hear, limit.hear)
        self.wanted = cluster.crew.wanted if cluster.crew else []
        self.watched = Watched(cluster.client, self.watcher, self.waits, limit) if self.watcher else None
        next_beat, lives = 0.0, Pulse(cluster.lives)
        try:
            while self._time_left() > 0:
                lives.check()
                while keys := self._next(cluster):
                    new = [k for k in keys if k in self.missing and k not in self.under_way and not work.name(k)]
                    self.under_way.update(new)
                    work.add(sorted(new, key=self.place.__getitem__))
                cluster.look(self.plan.nodes, work)
                work.feed(lambda key: self._handed(cluster, key, work))
                limit.end_late(self.under_way, work)
                if not self.missing:
                    break
                self._take(work.ended(_POLL_S), work)
                if time.monotonic() >= next_beat:
                    now = time.monotonic()
                    self._beat()
                    # What is to come of a large plan takes a while to add up.
                    next_beat = now + max(_POLL_S, min(_SELDOM_S, 20 * (time.monotonic() - now)))
        finally:
            if work.cancel():
                cluster.abandon()

    def _take(self, ended: Sequence[tuple[str, Future[Any]]], work: Submission) -> None:
        """Record nodes that have ended, all that have at once, and the trials that are finished by that."""
        rows: list[NodeRow] = []
        recorded: list[str] = []
        try:
            for key, future in ended:
                if key not in self.alone and isinstance(future.exception(), KilledWorker):
                    self._suspect(key, work)
                else:
                    recorded.append(key)
                    rows += self._record(key, future)
        finally:
            # Whatever ends the run meanwhile: a scheduler that is gone, a cancel.
            self.store.save_nodes(rows)
        work.recorded({row.key: (row.seconds, row.result) for row in rows})
        self._assemble_ready(dict.fromkeys(chain for key in recorded for chain in self.waiting.get(key, ())))

    def _next(self, cluster: Cluster) -> frozenset[str]:
        """Nodes to submit now, taken on by that; none as long as the run has enough to do, or nothing more."""
        if self.suspects:
            return self._next_suspect()
        # On other hosts nobody is disturbed by what this process computes.
        timing = self._timing if cluster.is_here else lambda: False
        keys = self.schedule.more(self.under_way, self.trials, cluster.slots, timing)
        self._keep(*self.schedule.newly_stopped())
        self.missing |= keys & self.left
        return keys

    def _suspect(self, key: str, work: Submission) -> None:
        self.suspects.add(key)
        self.under_way.discard(key)
        work.forget(key)

    def _next_suspect(self) -> frozenset[str]:
        """The first of the suspects, as soon as nothing else is under way: inputs come before what needs them."""
        if self.under_way:
            return frozenset()
        key = min(self.suspects, key=self.place.__getitem__)
        self.suspects.discard(key)
        self.alone.add(key)
        return frozenset((key,))

    def _timing(self) -> bool:
        """Whether something is being timed, or waits for nothing but the cores."""
        timed = (self.plan.nodes[k] for k in self.under_way if self.plan.nodes[k].kind in EXCLUSIVE)
        return any(self.left.isdisjoint(node.inputs) for node in timed)

    def _handed(self, cluster: Cluster, key: str, work: Submission) -> Handed | None:
        """A node as Dask is to have it, which keeps to what it waits for and, by priority, to the order of the plan."""
        node, sweep = self.plan.nodes[key], self.plan.sweep
        if any(k in self.suspects for k in node.inputs):
            self._suspect(key, work)
            return None
        names = tuple(self.plan.nodes[k].artifact or "" for k in node.inputs)
        return Handed(
            self._name(key, work),
            Task(node, names, sweep.data, node.seed, self.artifacts, cluster.away, work.run),
            tuple(work.name(k) or self._name(k, work) for k in node.inputs if k in self.under_way or work.name(k)),
            cluster.ask(node),
            priority(node, self.place[key]),
        )

    def _name(self, key: str, work: Submission) -> str:
        return self.plan.nodes[key].task_name(self.artifacts.url, key in self.alone, work.taken_back[key])

    def _record(self, key: str, future: Future[Any]) -> list[NodeRow]:
        node = self.plan.nodes[key]
        self.missing.discard(key)
        self.left.discard(key)
        self.under_way.discard(key)
        self.nodes_run += 1
        recipe, seconds = self.recipe_of[key], None
        if future.status == "finished":
            seconds, self.results[key] = future.result()
            self.ended.costs.ended(key, seconds)
        else:
            self.errors[key] = reason(future.exception(), node, recipe, self.plan.sweep.model.source, self.deaths)
        if self.watched:
            self.watched.tell(node, str(future.key), recipe, self.errors.get(key), seconds)
        return [] if seconds is None else [NodeRow(key, node.kind, node.work, seconds, self.results[key])]

    def _assemble_ready(self, chains: Iterable[Chain]) -> None:
        """Turn those of the recipes whose nodes are all finished, or one of them failed, into trials."""
        made: list[Trial] = []
        for chain in chains:
            settled = self.trials.get(chain.recipe.id)
            # One that was stopped may be there all the same, as a stage of another.
            if settled and settled.state != "stopped":
                continue
            failed = self.errors.keys() & self.needs[chain.recipe.id]
            if failed:
                first = min(failed, key=self.place.__getitem__)
                trial = Trial(chain.recipe.id, chain.recipe, state="failed", error=self.errors[first])
            elif self.plan.asked_of(chain) <= self.results.keys():
                trial = assemble(self.plan, chain, self.results, self.artifacts)
                trial = with_confirmation(self.plan.sweep, trial, self.store)
                now = self.earlier_s + self._elapsed()
                trial = replace(trial, finished_s=self.finished_s.get(trial.id, now))
            else:
                continue
            self.latest = trial.label
            made.append(trial)
        self._keep(*made)

    def _keep(self, *trials: Trial) -> None:
        self.trials |= {trial.id: trial for trial in trials}
        self.store.save_trials(self.plan.sweep.id, trials)

    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _time_left(self) -> float:
        """Seconds of the budget that remain."""
        minutes = self.plan.sweep.search.minutes
        return math.inf if minutes is None else minutes * 60 - self._elapsed()

    def _beat(self, cancellable: bool = True) -> None:
        total, elapsed = self.plan.unique, self._elapsed()
        done = total - len(self.left)
        to_come = self.schedule.expected(self.left - self.missing, self.trials) | dict.fromkeys(self.missing, 1.0)
        remaining = max(0.0, min(forecast_s(self.plan, to_come, self.rates, self.cores), self._time_left()))
        now = under_way(self.plan, self.waits.begun(self.under_way), self.recipe_of, self.wanted)
        cancelled = self.store.beat(self.plan.sweep.id, done, self.earlier_s + elapsed, remaining, now)
        trials_done = sum(t.state == "done" for t in self.trials.values())
        found = self.schedule.found
        self.on_progress(Progress(done, total, trials_done, elapsed, remaining, self.latest, self.waits.now(), found))
        if cancelled and cancellable:
            raise CancelledError(f"{self.plan.sweep.id} was cancelled")
