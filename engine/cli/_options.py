"""Arguments and options that several commands share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SweepRef = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's id, name, start of its id, or `latest`.")]
TrialRef = Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id, as `paretoscope trials` prints it.")]
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="A spec; docs/spec.md explains it.")]
ScenarioName = Annotated[str | None, typer.Option(help="Use and prices, one of `paretoscope scenarios`.")]
Overrides = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the spec.")]
Scheduler = Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler; default: this host.")]
KeepOldCode = Annotated[
    bool, typer.Option("--keep-old-code", help="Take nodes that an earlier version of Paretoscope has finished.")
]


def _for_this_run(minutes: float | None) -> float | None:
    """What a run reads where it limits its nodes; nothing between here and there needs to know."""
    if minutes is not None:
        os.environ["PARETOSCOPE_NODE_MINUTES"] = str(minutes)
    return minutes


NodeMinutes = Annotated[
    float | None,
    typer.Option(
        metavar="MINUTES",
        min=0.01,
        envvar="PARETOSCOPE_NODE_MINUTES",
        callback=_for_this_run,
        help="Longest that one step may take; default: an hour, or 20 times its forecast.",
    ),
]


def print_json(value: Any) -> None:
    """What `--json` prints."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
