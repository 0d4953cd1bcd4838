"""The command line. Bad input: one clear line on stderr, exit code 2. `--json` on everything that prints."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from engine import tables
from engine.errors import InputError, SetupError, SpecError
from engine.paths import DATA

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# Typer carries its own copy of click and exports of its errors only the leaves; this is the base that all usage errors share.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SweepRef = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's id, name, start of its id, or `latest`.")]
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="A spec; see README, “A spec”.")]
Overrides = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the spec.")]


def main() -> None:
    """Entry point: every mistake of the user ends in one line and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False, prog_name="paretoscope") or 0)
    except InputError as error:
        _fail(str(error))
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        _fail(f"{error.format_message()} (`{context.command_path if context else 'paretoscope'} --help` shows how)")  # type: ignore[attr-defined]
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has left (`paretoscope trials … | head`); that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(message: str) -> None:
    print(f"paretoscope: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


@app.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """Which compressed version of my model should I ship?"""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("app")
def open_app(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the dashboard.")] = 8501,
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = False,
) -> None:
    """Open the dashboard."""
    from engine.paths import home

    home()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", port))
        except OSError:
            raise SetupError(f"port {port} is taken; choose another with `paretoscope app --port {port + 1}`") from None
    root = DATA.parent
    command = [sys.executable, "-m", "streamlit", "run", str(root / "app.py"), "--server.port", str(port)]
    print(f"Paretoscope: http://localhost:{port} (Ctrl+C ends it)", flush=True)
    # Streamlit reads .streamlit/config.toml from where it is started.
    sys.exit(subprocess.call([*command, "--server.headless", str(headless).lower()], cwd=root))


@app.command()
def models(as_json: JsonFlag = False) -> None:
    """The built-in networks and what their checkpoints score on the test images."""
    from engine.models.catalog import DESCRIPTIONS, zoo_index

    index = zoo_index()
    rows = [asdict(index[n]) if n in index else {"name": n, "description": d} for n, d in DESCRIPTIONS.items()]
    _print_json(rows) if as_json else tables.print_models(rows)


@app.command()
def datasets(as_json: JsonFlag = False) -> None:
    """The datasets that ship with Paretoscope."""
    from engine.datasets import load_fashion_mnist

    data = load_fashion_mnist()
    row = {
        "name": data.name,
        "input_shape": list(data.input_shape),
        "classes": list(data.classes),
        **{s: len(getattr(data, s)) for s in ("train", "calibration", "validation", "test")},
        "checksum": data.checksum,
    }
    _print_json([row]) if as_json else tables.print_datasets([row])


@app.command()
def devices(as_json: JsonFlag = False) -> None:
    """The device profiles, with the error that each is known to make."""
    from engine.devices import devices_json

    rows = devices_json()
    _print_json(rows) if as_json else tables.print_devices(rows)


@app.command()
def plan(spec: SpecFile, overrides: Overrides = [], as_json: JsonFlag = False) -> None:  # noqa: B006
    """What a spec would run: unique and naive node counts, and a forecast in seconds."""
    from engine.artifacts import Artifacts
    from engine.forecast import preview
    from engine.spec import read_sweep
    from engine.store import Store

    found = preview(read_sweep(spec, tuple(overrides)), Store.open(), Artifacts.open())
    _print_json(asdict(found)) if as_json else tables.print_plan(found)


@app.command()
def run(
    spec: SpecFile,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler; default: this host.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    as_json: JsonFlag = False,
) -> None:
    """Run what is missing of a spec. Ctrl-C stops it; the next run goes on where it was."""
    from engine.spec import read_sweep
    from engine.store import Store

    _execute(read_sweep(spec, tuple(overrides)), Store.open(), scheduler, as_json)


@app.command()
def resume(
    sweep: SweepRef,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler; default: this host.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Go on with a sweep that was cancelled or interrupted."""
    from engine.store import Store

    store = Store.open()
    _execute(store.spec(store.sweep(sweep).id), store, scheduler, as_json)


def _execute(sweep: Any, store: Any, scheduler: str | None, as_json: bool) -> None:
    from engine.artifacts import Artifacts
    from engine.run import execute

    with tables.run_bar(as_json, sweep.name) as on_progress:
        outcome = execute(sweep, store, Artifacts.open(), scheduler, on_progress)
    if as_json:
        _print_json({"sweep": sweep.id, **asdict(outcome)})
    else:
        tables.print_outcome(sweep.id, outcome)
    if outcome.state != "done":
        sys.exit(1)


@app.command()
def cancel(sweep: SweepRef, as_json: JsonFlag = False) -> None:
    """Stop a running sweep; what is finished stays."""
    from engine.store import Store

    store = Store.open()
    row = store.sweep(sweep)
    if row.state != "running":
        raise SpecError(f"{row.id} is not running, it is {row.state}; there is nothing to cancel")
    store.request_cancel(row.id)
    _print_json({"sweep": row.id, "state": "cancelling"}) if as_json else print(f"{row.id} will stop in a moment")


@app.command()
def sweeps(as_json: JsonFlag = False) -> None:
    """Every sweep, newest first."""
    from engine.store import Store

    rows = Store.open().sweeps()
    _print_json([asdict(r) for r in rows]) if as_json else tables.print_sweeps(rows)


@app.command()
def trials(
    sweep: SweepRef, device: Annotated[str, typer.Option(help="Profile.")] = "host", as_json: JsonFlag = False
) -> None:
    """Every recipe of a sweep with its measurements."""
    from engine.store import Store

    _known_device(device)
    store = Store.open()
    found = store.trials(store.sweep(sweep).id)
    _print_json([t.to_json(device) for t in found]) if as_json else tables.print_trials(found, device)


@app.command()
def front(
    sweep: SweepRef,
    objectives: Annotated[str, typer.Option(help="Metrics, divided by commas.")] = "accuracy,size_bytes,latency_ms",
    device: Annotated[str, typer.Option(help="Profile that latency and energy are for.")] = "host",
    as_json: JsonFlag = False,
) -> None:
    """The Pareto frontier: the trials that no other trial beats in every objective."""
    from engine.selection import find_front, parse_objectives
    from engine.store import Store

    _known_device(device)
    store = Store.open()
    found = find_front(store.trials(store.sweep(sweep).id), parse_objectives(objectives), device)
    if as_json:
        _print_json([{**t.to_json(device), "knee": t.id == found.knee} for t in found.trials])
    else:
        tables.print_front(found, device)


def _known_device(name: str) -> None:
    from engine.devices import profile_names

    if name not in profile_names():
        raise SpecError(f"{name!r} is not a device profile; known: {', '.join(profile_names())}")


@app.command()
def export(
    sweep: SweepRef,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id, as `paretoscope trials` prints it.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="BUNDLE.zip", help="Where to write the bundle.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a trial as a bundle: ONNX, recipe, preprocessing, labels, card and verify.py."""
    from engine.artifacts import Artifacts
    from engine.bundle import export_bundle
    from engine.store import Store

    path = export_bundle(Store.open(), Artifacts.open(), sweep, trial, output)
    _print_json({"bundle": str(path), "bytes": path.stat().st_size}) if as_json else print(f"wrote {path}")


@app.command()
def report(
    sweep: SweepRef,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="REPORT.html", help="Where to write the report.")],
    objectives: Annotated[
        str, typer.Option(help="Metrics, divided by commas; the first is drawn against each of the others.")
    ] = "accuracy,size_bytes,latency_ms",
    device: Annotated[str, typer.Option(help="Profile that latency and energy are for.")] = "host",
    as_json: JsonFlag = False,
) -> None:
    """Write the frontier as one HTML file that stays interactive without a network."""
    from engine.report import write_report
    from engine.selection import parse_objectives
    from engine.store import Store

    _known_device(device)
    store = Store.open()
    row = store.sweep(sweep)
    path = write_report(output, row, store.spec(row.id), store.trials(row.id), parse_objectives(objectives), device)
    _print_json({"report": str(path), "bytes": path.stat().st_size}) if as_json else print(f"wrote {path}")


@app.command()
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
    from engine.bundle import verify_bundle

    report = verify_bundle(bundle, data, max_drop, max_p95_ms, max_kb)
    _print_json(report.to_json()) if as_json else print("\n".join(report.lines))
    if not report.ok:
        sys.exit(1)


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Check this installation and say what the machine can do."""
    from engine.doctor import examine

    checks = examine()
    _print_json([asdict(c) for c in checks]) if as_json else tables.print_checks(checks)
    if any(c.state == "failed" for c in checks):
        sys.exit(1)


if __name__ == "__main__":
    main()
