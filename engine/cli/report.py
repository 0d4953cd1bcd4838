"""`paretoscope report`: the frontier as one HTML file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from engine.cli._options import JsonFlag, SweepRef, print_json
from engine.cli._view import looked_at


def report(
    sweep: SweepRef,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="REPORT.html", help="Where to write the report.")],
    objectives: Annotated[
        str | None,
        typer.Option(
            help="Metrics, divided by commas; the first is drawn against each of the others. Default: "
            "accuracy,size_bytes,latency_ms, as far as they are measured."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Profile, or board of yours, that latency and energy are for.")] = "host",
    as_json: JsonFlag = False,
) -> None:
    """Write the frontier as one HTML file that stays interactive without a network."""
    from engine.explain.layers import kept_layers
    from engine.explain.network import network
    from engine.export.report import write_report
    from engine.frontier.front import parse_objectives, usual_objectives
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    trials, device, _ = looked_at(sweep, device, None)
    store = Store.open()
    row = store.sweep(sweep)
    wanted = parse_objectives(objectives, trials) if objectives is not None else usual_objectives(trials, device)
    spec, artifacts = store.spec(row.id), Artifacts.open()
    path = write_report(
        output,
        row,
        spec,
        trials,
        wanted,
        device,
        partial(network, artifacts=artifacts),
        artifacts.local,
        partial(kept_layers, store, spec, baseline=store.trials(row.id)[0]),
    )
    print_json({"report": str(path), "bytes": path.stat().st_size}) if as_json else print(f"wrote {path}")
