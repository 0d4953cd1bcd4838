"""The command line. Bad input: one clear line on stderr, exit code 2. `--json` on everything that prints."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli import datasets as cli_datasets
from engine.cli import delete as cli_sweeps
from engine.cli import devices as cli_devices
from engine.cli import tables
from engine.cli.devices import known_device, looked_at
from engine.cli.options import JsonFlag, Overrides, ScenarioName, SpecFile, SweepRef, TrialRef, print_json
from engine.errors import InputError, SetupError, SpecError
from engine.paths import DATA

if TYPE_CHECKING:
    pass

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# Typer carries its own copy of click and exports of its errors only the leaves; this is the base that all usage errors share.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


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


@app.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """Which compressed version of my model should I ship?"""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("app")
def open_app(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the dashboard.")] = 8501,
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = False,
    address: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "localhost",
    hosts: Annotated[
        list[str], typer.Option("--host", metavar="NAME", help="A further name that browsers reach it by.")
    ] = [],  # noqa: B006
) -> None:
    """Open the dashboard."""
    from engine.access import server_options
    from engine.paths import home

    folder = home().absolute()
    options = server_options(address, tuple(hosts))
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SetupError(
                    f"cannot listen on {address}:{port} ({error.strerror}); give an address of this machine with --address"
                ) from None
            raise SetupError(f"port {port} is taken; choose another with `paretoscope app --port {port + 1}`") from None
    root = DATA.parent
    command = [sys.executable, "-m", "streamlit", "run", str(root / "app.py"), "--server.port", str(port), *options]
    print(f"Paretoscope: http://{address}:{port} (Ctrl+C ends it)", flush=True)
    command += ["--server.headless", str(headless).lower()]
    # Streamlit reads .streamlit/config.toml from where it is started, so a relative home has to be said in full.
    environment = {**os.environ, "PARETOSCOPE_HOME": str(folder)}
    # The server's matrices are small: threads wait for each other, ten times as long as the work on cores that something else is using.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    if os.name == "posix":
        # In place of this process, so that whoever ends it ends the server.
        os.chdir(root)
        os.execve(sys.executable, command, environment)
    sys.exit(subprocess.call(command, cwd=root, env=environment))


@app.command()
def models(as_json: JsonFlag = False) -> None:
    """The built-in networks and what their checkpoints score on the test images."""
    from engine.models.catalog import DESCRIPTIONS, zoo_index

    index = zoo_index()
    rows = [asdict(index[n]) if n in index else {"name": n, "description": d} for n, d in DESCRIPTIONS.items()]
    print_json(rows) if as_json else tables.print_models(rows)


app.command()(cli_datasets.datasets)
app.command()(cli_devices.devices)
app.command()(cli_devices.scenarios)
app.command()(cli_devices.fleet)
app.command("profile-device")(cli_devices.profile_device)


@app.command()
def plan(spec: SpecFile, overrides: Overrides = [], as_json: JsonFlag = False) -> None:  # noqa: B006
    """What a spec would run: unique and naive node counts, and a forecast in seconds."""
    from engine.run.forecast import preview
    from engine.spec.sweep import read_sweep
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    found = preview(read_sweep(spec, tuple(overrides)), Store.open(), Artifacts.open())
    print_json(asdict(found)) if as_json else tables.print_plan(found)


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
    from engine.spec.sweep import read_sweep
    from engine.store.store import Store

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
    from engine.store.store import Store

    store = Store.open()
    _execute(store.spec(store.sweep(sweep).id), store, scheduler, as_json)


def _execute(sweep: Any, store: Any, scheduler: str | None, as_json: bool) -> None:
    from engine.run.run import execute
    from engine.store.artifacts import Artifacts

    with tables.run_bar(as_json, sweep.name) as on_progress:
        outcome = execute(sweep, store, Artifacts.open(), scheduler, on_progress)
    if as_json:
        print_json({"sweep": sweep.id, **asdict(outcome)})
    else:
        tables.print_outcome(sweep.id, outcome)
    if outcome.state != "done":
        sys.exit(1)


@app.command()
def cancel(sweep: SweepRef, as_json: JsonFlag = False) -> None:
    """Stop a running sweep; what is finished stays."""
    from engine.store.store import Store

    store = Store.open()
    row = store.sweep(sweep)
    if row.state != "running":
        raise SpecError(f"{row.id} is not running, it is {row.state}; there is nothing to cancel")
    store.request_cancel(row.id)
    print_json({"sweep": row.id, "state": "cancelling"}) if as_json else print(f"{row.id} will stop in a moment")


app.command()(cli_sweeps.delete)


@app.command()
def sweeps(as_json: JsonFlag = False) -> None:
    """Every sweep, newest first."""
    from engine.store.store import Store

    rows = Store.open().sweeps()
    print_json([asdict(r) for r in rows]) if as_json else tables.print_sweeps(rows)


@app.command()
def trials(
    sweep: SweepRef,
    device: Annotated[str | None, typer.Option(help="Profile; default: the scenario's, or host.")] = None,
    scenario: ScenarioName = None,
    as_json: JsonFlag = False,
) -> None:
    """Every recipe of a sweep with its measurements."""
    found, device, chosen = looked_at(sweep, device, scenario)
    print_json([t.to_json(device) for t in found]) if as_json else tables.print_trials(found, device, chosen)


@app.command()
def front(
    sweep: SweepRef,
    objectives: Annotated[str, typer.Option(help="Metrics, divided by commas.")] = "accuracy,size_bytes,latency_ms",
    device: Annotated[
        str | None, typer.Option(help="Profile that latency and energy are for; default: the scenario's, or host.")
    ] = None,
    scenario: ScenarioName = None,
    tied: Annotated[
        bool, typer.Option("--tied", help="List also the trials that are statistically tied with it.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """The Pareto frontier: the trials that no other trial beats in every objective, and how sure that is."""
    from engine.frontier.certainty import certainty
    from engine.frontier.selection import find_front, parse_objectives
    from engine.store.artifacts import Artifacts

    wanted = parse_objectives(objectives)
    listed, device, chosen = looked_at(sweep, device, scenario)
    kept = [t for t in listed if chosen is None or chosen.keeps(t)]
    found = find_front(kept, wanted, device)
    sure = certainty(kept, wanted, {}, device, Artifacts.open().local)
    if as_json:
        print_json(tables.front_json(found, sure, kept if tied else (), device))
    else:
        tables.print_front(found, sure, [t for t in kept if tied and t.id in sure.tied], device, chosen)


@app.command()
def confirm(
    sweep: SweepRef,
    trial: TrialRef,
    as_json: JsonFlag = False,
) -> None:
    """Evaluate a trial on the test images that were held back (`measure.held_back`), once."""
    from engine.run.confirm import confirm_trial
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    found = confirm_trial(Store.open(), Artifacts.open(), sweep, trial)
    print_json(found.to_json()) if as_json else tables.print_confirmation(found)


@app.command()
def why(sweep: SweepRef, trial: TrialRef, as_json: JsonFlag = False) -> None:
    """Why a trial is not faster: where its time goes, beside the baseline's, and what to try."""
    from engine.explain.insight import why as explain
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    found = explain(Store.open(), Artifacts.open(), sweep, trial)
    print_json(found) if as_json else tables.print_why(found)


@app.command()
def portability(
    sweep: SweepRef,
    trial: TrialRef,
    samples: Annotated[int, typer.Option(min=1, help="Test images to predict the accuracy on.")] = 500,
    as_json: JsonFlag = False,
) -> None:
    """How an int8 trial would answer on CPUs without VNNI, whose sums can saturate."""
    from engine.explain.insight import portability as predict
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    found = predict(Store.open(), Artifacts.open(), sweep, trial, samples)
    print_json(found) if as_json else tables.print_portability(found)


@app.command()
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
    from engine.export.report import write_report
    from engine.frontier.selection import parse_objectives
    from engine.store.store import Store

    known_device(device)
    store = Store.open()
    row = store.sweep(sweep)
    path = write_report(output, row, store.spec(row.id), store.trials(row.id), parse_objectives(objectives), device)
    print_json({"report": str(path), "bytes": path.stat().st_size}) if as_json else print(f"wrote {path}")


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
    from engine.export.bundle import verify_bundle

    report = verify_bundle(bundle, data, max_drop, max_p95_ms, max_kb)
    print_json(report.to_json()) if as_json else print("\n".join(report.lines))
    if not report.ok:
        sys.exit(1)


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Check this installation and say what the machine can do."""
    from engine.cli.doctor import examine

    checks = examine()
    print_json([asdict(c) for c in checks]) if as_json else tables.print_checks(checks)
    if any(c.state == "failed" for c in checks):
        sys.exit(1)


if __name__ == "__main__":
    main()
