"""`paretoscope export`: a trial as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli._options import JsonFlag, SweepRef, TrialRef, print_json


def export(
    sweep: SweepRef,
    trial: TrialRef,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="BUNDLE.zip", help="Where to write the bundle.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a trial as a bundle: ONNX, recipe, preprocessing, labels, card and verify.py."""
    from engine.export.bundle import export_bundle
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    path = export_bundle(Store.open(), Artifacts.open(), sweep, trial, output)
    print_json({"bundle": str(path), "bytes": path.stat().st_size}) if as_json else print(f"wrote {path}")
