"""`paretoscope publish`: a sweep as runs of MLflow, or as Weights & Biases' table of runs."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, SweepRef, print_json
from engine.cli._tables import counted
from engine.errors import SpecError

if TYPE_CHECKING:
    from engine.interchange.mlflow_runs import Published


class Tracker(StrEnum):
    """Where a sweep can be published."""

    mlflow = "mlflow"
    wandb_csv = "wandb-csv"


def publish(
    sweep: SweepRef,
    to: Annotated[Tracker, typer.Option("--to", help="mlflow: its runs; wandb-csv: W&B’s table of runs.")],
    tracking_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow’s; default: MLFLOW_TRACKING_URI, or MLflow’s own.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(metavar="NAME", help="MLflow’s experiment; default: the sweep’s name.")
    ] = None,
    models: Annotated[bool, typer.Option("--models", help="To MLflow: each trial’s ONNX file too.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RUNS.csv", help="Where to write the table.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Publish every trial of a sweep to a tracker of experiments; a second time brings it up to date and makes nothing twice."""
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    if to is Tracker.mlflow:
        if output is not None:
            raise SpecError("-o is for --to wandb-csv; MLflow keeps its runs at --tracking-uri")
        from engine.interchange.mlflow_runs import publish as publish_runs

        done = publish_runs(Store.open(), Artifacts.open(), sweep, tracking_uri, experiment, models)
        print_json(asdict(done)) if as_json else print_published(done)
        return
    if tracking_uri is not None or experiment is not None or models:
        raise SpecError("--tracking-uri, --experiment and --models are for --to mlflow; a table takes -o RUNS.csv")
    if output is None:
        raise SpecError("--to wandb-csv takes -o RUNS.csv, where to write the table")
    from engine.export.zips import check_target, write_atomically
    from engine.interchange.wandb_csv import runs_csv

    store = Store.open()
    row = store.sweep(sweep)
    check_target(output)
    trials = store.trials(row.id)
    write_atomically(output, runs_csv(row, store.spec(row.id), trials))
    count = sum(t.state in ("done", "failed") for t in trials)
    print_json({"table": str(output), "runs": count}) if as_json else print(f"wrote {output}: {counted(count, 'run')}")


def print_published(done: Published) -> None:
    """What MLflow has now."""
    total = len(done.made) + len(done.changed) + len(done.unchanged)
    print(f"{counted(total, 'run')} in experiment {done.experiment!r} at {done.uri}, below run {done.sweep_run}")
    print(f"{len(done.made)} new, {len(done.changed)} brought up to date, {len(done.unchanged)} as they were")
    if done.left_out:
        print(f"left out, not measured yet: {counted(len(done.left_out), 'trial')}")
    for note in done.notes:
        print(note)
