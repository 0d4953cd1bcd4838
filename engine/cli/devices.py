"""Commands about devices and the use of networks on them: profiles, scenarios, fleets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import device_tables as tables_devices
from engine.cli.options import JsonFlag, SweepRef, TrialRef, print_json
from engine.errors import SpecError
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.devices.cost import Scenario


def devices(
    errors: Annotated[
        bool, typer.Option("--errors", help="How wrong the fits are, by class of device, instead.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """The device profiles, with the error that each is known to make."""
    from engine.devices.projection import devices_json
    from engine.devices.validation import error_table

    if errors:
        lines = error_table()
        print_json([asdict(line) for line in lines]) if as_json else tables_devices.print_errors(lines)
    else:
        rows = devices_json()
        print_json(rows) if as_json else tables_devices.print_devices(rows)


def scenarios(as_json: JsonFlag = False) -> None:
    """Ready uses of a network: device, limits, prices, data, and what is assumed of them."""
    from engine.devices.cost import read_scenarios

    found = read_scenarios()
    print_json([asdict(s) for s in found.values()]) if as_json else tables_devices.print_scenarios(list(found.values()))


def fleet(
    sweep: SweepRef,
    trial: TrialRef,
    scenario: Annotated[str, typer.Option(help="Use and prices, one of `paretoscope scenarios`.")],
    device: Annotated[str | None, typer.Option(help="Profile; default: the scenario's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """A trial on all of a scenario's devices: energy, money, carbon, and when it has repaid the energy of the sweep."""
    from engine.devices.fleet import fleet_view
    from engine.errors import NotFoundError
    from engine.store.store import Store

    found, device, chosen = looked_at(sweep, device, scenario)
    assert chosen is not None, "a scenario is always given"
    picked = next((t for t in found if t.id == trial), None)
    if picked is None:
        raise NotFoundError(f"{sweep} has no trial {trial!r}; `paretoscope trials {sweep}` lists them")
    row = Store.open().sweep(sweep)
    result = fleet_view(chosen, picked, next((t for t in found if not t.recipe.steps), None), row.elapsed_s)
    print_json(result) if as_json else tables_devices.print_fleet(result)


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
        print_json({"profile": str(path), **record})
    else:
        held_out = record["held_out"]
        print(
            f"wrote {path}: {record['name']}, held-out error {held_out['mape']:.0%} over {held_out['layers']:.0f} layers"
        )


def looked_at(sweep: str, device: str | None, scenario: str | None) -> tuple[Sequence[Trial], str, Scenario | None]:
    """The trials of a sweep as seen on a device and under a scenario, whose device counts where none is named."""
    from engine.store.store import Store

    chosen = None
    if scenario is not None:
        from engine.devices.cost import find_scenario

        chosen = find_scenario(scenario)
    device = device or (chosen.device if chosen else "host")
    known_device(device)
    store = Store.open()
    found: Sequence[Trial] = store.trials(store.sweep(sweep).id)
    if device != "host":
        from engine.devices.missing_demands import with_demands
        from engine.devices.projection import with_projections
        from engine.store.artifacts import Artifacts

        found = with_projections(with_demands(found, Artifacts.open()), [device])
    if chosen:
        from engine.devices.cost import under

        chosen = replace(chosen, device=device)
        found = under(chosen, found)
    return found, device, chosen


def known_device(name: str) -> None:
    """Raise SpecError for a profile that there is not."""
    if name == "host":
        return
    from engine.devices.profiles import profile_names

    if name not in profile_names():
        raise SpecError(f"{name!r} is not a device profile; known: {', '.join(profile_names())}")
