"""`paretoscope export`: a trial, or a whole frontier, to take home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli._options import JsonFlag, SweepRef, print_json
from engine.errors import SpecError


def export(
    sweep: SweepRef,
    trial: Annotated[
        str | None, typer.Argument(metavar="TRIAL", help="A trial's id, as `paretoscope trials` prints it.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE.zip", help="Where to write; needed.")
    ] = Path(),
    frontier: Annotated[
        bool, typer.Option("--frontier", help="Every model of the frontier with one measure.py, to time on a board.")
    ] = False,
    objectives: Annotated[
        str | None, typer.Option(help="With --frontier: metrics, divided by commas; default: those of `front`.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="With --frontier: profile that latency and energy are for; default: host.")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="NAME", help="For another runtime instead of a bundle: c, openvino, tflite, triton."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a trial as a bundle: ONNX, recipe, preprocessing, labels, card and verify.py. Or the models of a frontier, to be measured."""
    if output == Path():
        raise SpecError("-o FILE.zip is missing: say where to write")
    if frontier == (trial is not None):
        raise SpecError("give a TRIAL, whose bundle is written, or --frontier for all models of it, one of the two")
    if not frontier and (objectives is not None or device is not None):
        raise SpecError("--objectives and --device choose a frontier; give --frontier, or leave them out")
    if frontier and runtime is not None:
        raise SpecError("--frontier writes ONNX files for measure.py; --for takes one TRIAL")
    line = ""
    if frontier:
        written = _frontier(sweep, output, objectives, device)
    else:
        written, line = _trial(sweep, str(trial), output, runtime)
    print_json(written) if as_json else print(f"wrote {output}" + (f": {line}" if line else ""))


def _trial(sweep: str, trial: str, output: Path, runtime: str | None) -> tuple[dict[str, Any], str]:
    from engine.export.bundle import export_bundle
    from engine.export.targets import export_for
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    store, artifacts, facts, line = Store.open(), Artifacts.open(), dict[str, Any](), ""
    if runtime is None:
        export_bundle(store, artifacts, sweep, trial, output)
    else:
        _, facts, line = export_for(runtime, store, artifacts, sweep, trial, output)
    said = {runtime: facts} if runtime else {}
    return {"bundle": str(output), "bytes": output.stat().st_size, **said}, line


def _frontier(sweep: str, output: Path, objectives: str | None, device: str | None) -> dict[str, Any]:
    from engine.cli._view import looked_at
    from engine.export.frontier import export_frontier
    from engine.frontier.front import find_front, parse_objectives, usual_objectives
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    listed, device, _ = looked_at(sweep, device, None)
    asked = parse_objectives(objectives, listed) if objectives is not None else usual_objectives(listed, device)
    found = find_front(listed, asked, device)
    ids = export_frontier(Store.open(), Artifacts.open(), sweep, found.trials, output)
    return {"frontier": str(output), "bytes": output.stat().st_size, "baseline": ids[0], "trials": list(ids)}
