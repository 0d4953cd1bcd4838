"""The command line. Bad input: one clear line on stderr, exit code 2. `--json` on everything that prints."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine import tables
from engine.errors import InputError, SetupError, SpecError
from engine.paths import DATA
from engine.record import Trial

if TYPE_CHECKING:
    from engine.cost import Scenario

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# Typer carries its own copy of click and exports of its errors only the leaves; this is the base that all usage errors share.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SweepRef = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's id, name, start of its id, or `latest`.")]
TrialRef = Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id, as `paretoscope trials` prints it.")]
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="A spec; see README, “A spec”.")]
ScenarioName = Annotated[str | None, typer.Option(help="Use and prices, one of `paretoscope scenarios`.")]
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
    # Streamlit reads .streamlit/config.toml from where it is started, so a relative home has to be said in full.
    sys.exit(
        subprocess.call(
            [*command, "--server.headless", str(headless).lower()],
            cwd=root,
            env={**os.environ, "PARETOSCOPE_HOME": str(folder)},
        )
    )


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
def devices(
    errors: Annotated[
        bool, typer.Option("--errors", help="How wrong the fits are, by class of device, instead.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """The device profiles, with the error that each is known to make."""
    from engine.devices import devices_json, error_table

    if errors:
        lines = error_table()
        _print_json([asdict(line) for line in lines]) if as_json else tables.print_errors(lines)
    else:
        rows = devices_json()
        _print_json(rows) if as_json else tables.print_devices(rows)


@app.command()
def scenarios(as_json: JsonFlag = False) -> None:
    """Ready uses of a network: device, limits, prices, data, and what is assumed of them."""
    from engine.cost import read_scenarios

    found = read_scenarios()
    _print_json([asdict(s) for s in found.values()]) if as_json else tables.print_scenarios(list(found.values()))


@app.command()
def fleet(
    sweep: SweepRef,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id, as `paretoscope trials` prints it.")],
    scenario: Annotated[str, typer.Option(help="Use and prices, one of `paretoscope scenarios`.")],
    device: Annotated[str | None, typer.Option(help="Profile; default: the scenario's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """A trial on all of a scenario's devices: energy, money, carbon, and when it has repaid the energy of the sweep."""
    from engine.errors import NotFoundError
    from engine.fleet import fleet_view
    from engine.store import Store

    found, device, chosen = _looked_at(sweep, device, scenario)
    assert chosen is not None, "a scenario is always given"
    picked = next((t for t in found if t.id == trial), None)
    if picked is None:
        raise NotFoundError(f"{sweep} has no trial {trial!r}; `paretoscope trials {sweep}` lists them")
    row = Store.open().sweep(sweep)
    result = fleet_view(chosen, picked, next((t for t in found if not t.recipe.steps), None), row.elapsed_s)
    _print_json(result) if as_json else tables.print_fleet(result)


@app.command("profile-device")
def profile_device(
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.")] = None,
    name: Annotated[str, typer.Option(help="The profile's name, to be used after --device.")] = "",
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads that one inference may use.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.001, help="Least time spent on each layer.")] = 0.2,
    script: Annotated[
        bool, typer.Option("--script", help="Write the stand-alone program for another machine instead.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Time a small set of layers here, and keep a profile of this machine; --script gives the program to run on another."""
    from engine.devices.own import profile_here, write_script

    if script:
        path = write_script(output)
        note = {"script": str(path)}
        print(
            json.dumps(note) if as_json else f"wrote {path}; on the device: python {path.name} --name NAME -o NAME.json"
        )
        return
    path, record = profile_here(name, output, threads, seconds)
    if as_json:
        _print_json({"profile": str(path), **record})
    else:
        held_out = record["held_out"]
        print(
            f"wrote {path}: {record['name']}, held-out error {held_out['mape']:.0%} over {held_out['layers']:.0f} layers"
        )


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
    sweep: SweepRef,
    device: Annotated[str | None, typer.Option(help="Profile; default: the scenario's, or host.")] = None,
    scenario: ScenarioName = None,
    as_json: JsonFlag = False,
) -> None:
    """Every recipe of a sweep with its measurements."""
    found, device, chosen = _looked_at(sweep, device, scenario)
    _print_json([t.to_json(device) for t in found]) if as_json else tables.print_trials(found, device, chosen)


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
    from engine.artifacts import Artifacts
    from engine.certainty import certainty
    from engine.selection import find_front, parse_objectives

    wanted = parse_objectives(objectives)
    listed, device, chosen = _looked_at(sweep, device, scenario)
    kept = [t for t in listed if chosen is None or chosen.keeps(t)]
    found = find_front(kept, wanted, device)
    sure = certainty(kept, wanted, {}, device, Artifacts.open().local)
    if as_json:
        _print_json(tables.front_json(found, sure, kept if tied else (), device))
    else:
        tables.print_front(found, sure, [t for t in kept if tied and t.id in sure.tied], device, chosen)


def _looked_at(sweep: str, device: str | None, scenario: str | None) -> tuple[Sequence[Trial], str, Scenario | None]:
    """The trials of a sweep as seen on a device and under a scenario, whose device counts where none is named."""
    from engine.store import Store

    chosen = None
    if scenario is not None:
        from engine.cost import find_scenario

        chosen = find_scenario(scenario)
    device = device or (chosen.device if chosen else "host")
    _known_device(device)
    store = Store.open()
    found: Sequence[Trial] = store.trials(store.sweep(sweep).id)
    if device != "host":
        from engine.artifacts import Artifacts
        from engine.demands import with_demands
        from engine.devices import with_projections

        found = with_projections(with_demands(found, Artifacts.open()), [device])
    if chosen:
        from engine.cost import under

        chosen = replace(chosen, device=device)
        found = under(chosen, found)
    return found, device, chosen


def _known_device(name: str) -> None:
    if name == "host":
        return
    from engine.devices import profile_names

    if name not in profile_names():
        raise SpecError(f"{name!r} is not a device profile; known: {', '.join(profile_names())}")


@app.command()
def confirm(
    sweep: SweepRef,
    trial: TrialRef,
    as_json: JsonFlag = False,
) -> None:
    """Evaluate a trial on the test images that were held back (`measure.held_back`), once."""
    from engine.artifacts import Artifacts
    from engine.confirm import confirm_trial
    from engine.store import Store

    found = confirm_trial(Store.open(), Artifacts.open(), sweep, trial)
    _print_json(found.to_json()) if as_json else tables.print_confirmation(found)


@app.command()
def why(sweep: SweepRef, trial: TrialRef, as_json: JsonFlag = False) -> None:
    """Why a trial is not faster: where its time goes, beside the baseline's, and what to try."""
    from engine.artifacts import Artifacts
    from engine.insight import why as explain
    from engine.store import Store

    found = explain(Store.open(), Artifacts.open(), sweep, trial)
    _print_json(found) if as_json else tables.print_why(found)


@app.command()
def portability(
    sweep: SweepRef,
    trial: TrialRef,
    samples: Annotated[int, typer.Option(min=1, help="Test images to predict the accuracy on.")] = 500,
    as_json: JsonFlag = False,
) -> None:
    """How an int8 trial would answer on CPUs without VNNI, whose sums can saturate."""
    from engine.artifacts import Artifacts
    from engine.insight import portability as predict
    from engine.store import Store

    found = predict(Store.open(), Artifacts.open(), sweep, trial, samples)
    _print_json(found) if as_json else tables.print_portability(found)


@app.command()
def export(
    sweep: SweepRef,
    trial: TrialRef,
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
