"""`paretoscope run`: running a spec, with its progress."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from engine.cli._follow import followed
from engine.cli._options import JsonFlag, KeepOldCode, NodeMinutes, Overrides, Scheduler, SpecFile, print_json
from engine.errors import RunningError
from engine.search.found import found_text
from engine.trials.text import duration

if TYPE_CHECKING:
    from engine.run.outcome import Outcome, Progress
    from engine.spec.sweep import Sweep
    from engine.store.store import Store


def run(
    spec: SpecFile,
    scheduler: Scheduler = None,
    overrides: Overrides = [],  # noqa: B006
    keep_old_code: KeepOldCode = False,
    node_minutes: NodeMinutes = None,
    as_json: JsonFlag = False,
) -> None:
    """Run what is missing of a spec, checked first. Ctrl-C stops it; the next run goes on where it was."""
    from engine.check.apart import settled_apart
    from engine.measure.machine import machine
    from engine.models.catalog import brings_own_weights
    from engine.run.planner import make_plan
    from engine.spec.read import read_sweep
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    stated, store, artifacts = read_sweep(spec, tuple(overrides)), Store.open(), Artifacts.open()
    artifacts.check()
    if brings_own_weights(stated.model):
        # Mistakes of steps and profiles are told before the network is loaded to be checked; others are planned once, by the run.
        make_plan(stated, machine())
    sweep, report = settled_apart(stated)
    warnings = [f"warning: {f.what}; {f.remedy}" for f in report.findings] if report else []
    execute_and_tell(sweep, store, scheduler, as_json, keep_old_code, warnings)


def execute_and_tell(
    sweep: Sweep,
    store: Store,
    scheduler: str | None,
    as_json: bool,
    keep_old_code: bool = False,
    warnings: Sequence[str] = (),
) -> None:
    """Run a sweep with a progress bar and tell how it ended; exit code 1 where it was not done.

    One that another process runs is followed, and taken over where that process ends without a word.
    `warnings` are lines for stderr, once it is clear that nothing keeps the sweep from running.
    """
    from engine.frontier.verdict import missed_target
    from engine.interchange.spans import traced
    from engine.run.run import execute
    from engine.store.artifacts import Artifacts

    left = list(warnings)

    def warn() -> None:
        while left:
            print(left.pop(0), file=sys.stderr)

    with run_bar(as_json, sweep.name) as show:

        def on_progress(progress: Progress) -> None:
            warn()
            show(progress)

        while (outcome := followed(store, sweep.id, on_progress)) is None:
            # Another may begin while this one still plans: then it is followed after all.
            with contextlib.suppress(RunningError), traced(sweep) as trace:
                outcome = execute(
                    sweep,
                    store,
                    Artifacts.open(),
                    scheduler,
                    on_progress,
                    keep_old_code,
                    watcher=trace.node if trace else None,
                    on_note=left.append,
                )
                if trace:
                    trace.end(outcome)
                break
    warn()
    missed = missed_target(sweep.target, store.trials(sweep.id)) if sweep.target and sweep.target.limits else None
    if as_json:
        print_json({"sweep": sweep.id, **asdict(outcome), "missed": missed and missed.to_json()})
    else:
        print_outcome(sweep.id, outcome)
        print(f"{missed.sentence}\n" if missed else "", end="")
    if outcome.state != "done":
        sys.exit(1)


def print_outcome(sweep_id: str, outcome: Outcome) -> None:
    """How a run ended."""
    if outcome.nodes_run == 0 and outcome.state == "done" and not outcome.recipes_left:
        settled = outcome.trials_done + outcome.trials_failed + outcome.trials_stopped
        others = " or stopped" * bool(outcome.trials_stopped) + " or failed" * bool(outcome.trials_failed)
        print(f"{sweep_id}: nothing to do, all {settled} recipes are measured{others} already")
        return
    failed = (
        f", {outcome.trials_failed} failed (`paretoscope trials {sweep_id}` says why)" if outcome.trials_failed else ""
    )
    stopped = f", {outcome.trials_stopped} stopped after screening" if outcome.trials_stopped else ""
    waited = f", {duration(outcome.waited_s)} of it waiting for other runs" if outcome.waited_s >= 1 else ""
    print(
        f"{sweep_id}: {outcome.state}, {outcome.trials_done} trials{failed}{stopped}, {outcome.nodes_run} nodes run in "
        f"{duration(outcome.seconds)}{waited}"
    )
    if outcome.found is not None:
        print(found_text(outcome.found, outcome.recipes_left))
    if outcome.state == "done" and outcome.recipes_left:
        print(f"the budget is used: {outcome.recipes_left} recipes are left; `paretoscope resume {sweep_id}` goes on")
    print(f"see it: paretoscope front {sweep_id}   or: paretoscope app")


@contextmanager
def run_bar(silent: bool, name: str) -> Iterator[Callable[[Progress], None]]:
    """A progress bar on stderr, so that stdout stays clean for scripts; `silent` for none."""
    if silent:
        yield lambda progress: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(name, total=None, note="starting")

    def show(progress: Any) -> None:
        # Not before there is something to show: a spec that is refused must leave one line on stderr and no empty bar.
        bar.start()
        waiting = " · waiting for another run on this host" if progress.waiting else ""
        found = "" if progress.found is None else f" · {progress.found:.1%} of the expected frontier"
        note = f"{duration(progress.remaining_s)} to go · {progress.trials_done} trials{found} · {progress.latest}{waiting}"
        bar.update(task, completed=progress.nodes_done, total=progress.nodes_total, note=note)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
