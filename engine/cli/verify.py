"""`paretoscope verify`: a bundle, measured again and held against limits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.cli._options import JsonFlag, print_json


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE.zip")],
    data: Annotated[Path | None, typer.Option(help="An .npz with x_test and y_test to measure on.")] = None,
    max_drop: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Most points of accuracy below the baseline.")
    ] = None,
    max_p95_ms: Annotated[float | None, typer.Option(metavar="MS", help="Highest p95 latency on this machine.")] = None,
    max_kb: Annotated[float | None, typer.Option(metavar="KB", help="Largest model file, in kB of 1000 bytes.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure a bundle again and hold it against its card and your limits; exit code 1 when it fails."""
    from engine.export.bundle import verify_bundle

    report = verify_bundle(bundle, data, max_drop, max_p95_ms, max_kb)
    print_json(report.to_json()) if as_json else print("\n".join(report.lines))
    if not report.ok:
        sys.exit(1)
