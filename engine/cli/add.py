"""`paretoscope add`: a file made elsewhere, measured like every recipe of a sweep."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, KeepOldCode, Scheduler, SweepRef, print_json
from engine.cli.run import run_bar
from engine.trials.text import duration

if TYPE_CHECKING:
    from engine.run.add import Added


def add(
    sweep: SweepRef,
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The file, of whatever tool.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="What its trial is called.")],
    scheduler: Scheduler = None,
    keep_old_code: KeepOldCode = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure an ONNX file that was made elsewhere as one more trial of a finished sweep."""
    from engine.run.add import add_file
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    with run_bar(as_json, name) as show:
        added = add_file(Store.open(), Artifacts.open(), sweep, model, name, scheduler, show, keep_old_code)
    if as_json:
        outcome = added.outcome and asdict(added.outcome)
        print_json({"sweep": added.sweep, "outcome": outcome, "trial": added.trial.to_json()})
    else:
        print_added(added)
    if added.trial.state != "done":
        sys.exit(1)


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
