"""`paretoscope add`: a file made elsewhere, measured like every recipe of a sweep."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, KeepOldCode, Scheduler, SweepRef, print_json
from engine.cli.run import run_bar
from engine.errors import SpecError
from engine.trials.text import duration

if TYPE_CHECKING:
    from engine.run.add import Added
    from engine.run.add_baseline import AgainstBaseline


def add(
    sweep: SweepRef,
    model: Annotated[Path | None, typer.Argument(metavar="MODEL.onnx", help="The file, of whatever tool.")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What its trial is called.")] = None,
    as_baseline: Annotated[
        bool, typer.Option("--as-baseline", help="In a sweep of its own, with this one’s files measured against it.")
    ] = False,
    remove: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take the file whose trial is called so out of the sweep again.")
    ] = None,
    scheduler: Scheduler = None,
    keep_old_code: KeepOldCode = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure an ONNX file that was made elsewhere as one more trial of a finished sweep."""
    from engine.run.add import add_file, remove_file
    from engine.run.add_baseline import add_as_baseline
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    if remove is not None:
        if model is not None or name is not None or as_baseline:
            raise SpecError(
                "--remove takes nothing but the sweep beside it; leave out MODEL.onnx, --name and --as-baseline"
            )
        trial = remove_file(Store.open(), sweep, remove)
        known = {"removed": trial.label, "trial": trial.id}
        print_json(known) if as_json else print(f"{trial.label} (trial {trial.id}) is taken out; its file stays yours")
        return
    if model is None or name is None:
        raise SpecError("give MODEL.onnx and --name NAME, what its trial is called; or --remove NAME")
    if as_baseline:
        if keep_old_code:
            raise SpecError("--keep-old-code is for the trials of a sweep that is there; --as-baseline makes a new one")
        with run_bar(as_json, name) as show:
            made = add_as_baseline(Store.open(), Artifacts.open(), sweep, model, name, scheduler, show)
        print_json(asdict(made)) if as_json else print_against(made)
        if made.outcome.state != "done":
            sys.exit(1)
        return
    with run_bar(as_json, name) as show:
        added = add_file(Store.open(), Artifacts.open(), sweep, model, name, scheduler, show, keep_old_code)
    if as_json:
        outcome = added.outcome and asdict(added.outcome)
        print_json({"sweep": added.sweep, "outcome": outcome, "trial": added.trial.to_json()})
    else:
        print_added(added)
    if added.trial.state != "done":
        sys.exit(1)


def print_against(made: AgainstBaseline) -> None:
    """The new sweep, and what did not come along."""
    outcome = made.outcome
    print(f"{made.sweep}: {outcome.trials_done} trials, the baseline among them, {duration(outcome.seconds)}")
    for line in made.left_out:
        print(f"left out: {line}")
    if outcome.trials_failed:
        print(f"{outcome.trials_failed} could not be measured; `paretoscope trials {made.sweep}` says why")
    print(f"see it: paretoscope front {made.sweep}   or: paretoscope app")


def print_added(added: Added) -> None:
    """The trial, or why there is none."""
    trial, outcome = added.trial, added.outcome
    if outcome is None:
        print(f"{added.sweep}: already there as trial {trial.id} ({trial.label}), nothing to do")
    elif trial.state == "done":
        print(f"{added.sweep}: added {trial.label} as trial {trial.id}, {duration(outcome.seconds)}")
        print(f"see it: paretoscope front {added.sweep}   or: paretoscope app")
    else:
        reason = trial.error or f"the run was {outcome.state}; `paretoscope resume {added.sweep}` goes on"
        print(f"{added.sweep}: {trial.label} could not be measured: {reason}")
