"""`paretoscope trials`: the recipes of a sweep with their measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, ScenarioName, SweepRef, print_json
from engine.cli._tables import console, print_table
from engine.cli._trial_table import machine_line, trial_cells, trial_columns, with_scenario
from engine.cli._view import columns_looked_at, looked_at, measured_on_boards
from engine.cli._where import Where, said
from engine.errors import SpecError
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.devices.cost import Scenario


def trials(
    sweep: SweepRef,
    device: Annotated[str | None, typer.Option(help="Profile; default: the scenario's, or host.")] = None,
    scenario: ScenarioName = None,
    where: Where = None,
    sort: Annotated[
        str | None, typer.Option(metavar="METRIC", help="Best first by a metric; default: plan order.")
    ] = None,
    top: Annotated[int | None, typer.Option(metavar="N", help="Only so many.")] = None,
    skip: Annotated[int, typer.Option(metavar="N", help="Leave out the first so many.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """The recipes of a sweep with their measurements: all, or a part of many."""
    found: Sequence[Trial]
    listing, silent = None, 0
    if where is None and sort is None and top is None and not skip:
        found, device, chosen = looked_at(sweep, device, scenario, imported=True)
    else:
        from engine.devices.projected import unread
        from engine.frontier.front import parse_objectives
        from engine.frontier.listing import list_trials

        everything, device, chosen = columns_looked_at(sweep, device, scenario)
        keys = parse_objectives(sort, everything, "a metric to sort by") if sort is not None else ()
        if len(keys) > 1:
            raise SpecError(f"{sort!r} are several metrics; sort by one")
        listing = list_trials(everything, where, keys[0] if keys else None, device, skip, top)
        found = tuple(listing.trials)
        silent = 0 if device == "host" else unread(everything)
        if where is not None:
            said(listing.matched, listing.total, listing.lacking)
    if as_json:
        on_boards = measured_on_boards(sweep, found)
        print_json([t.to_json(device) | {"measured": on_boards.get(t.id, [])} for t in found])
    else:
        if found or not listing:
            print_trials(found, device, chosen)
        if listing:
            shown = f"{skip + 1:,} to {skip + len(found):,}" if found else "none"
            matching = f"{listing.matched:,} that match, of " if where is not None else ""
            unknown = f" Of {silent:,} it is not known what they ask of {device}; they come last." if silent else ""
            console().print(f"Listed: {shown} of {matching}{listing.total:,} recipes.{unknown}")


def print_trials(trials: Sequence[Trial], device: str, scenario: Scenario | None = None) -> None:
    """Every trial, in plan order, with a scenario's columns where one is given."""
    from engine.frontier.columns import Trials

    judged_by = Trials.of(trials).judged_by
    cells = [trial_cells(t, device, judged_by) for t in trials]
    columns, rows, assumed = with_scenario(trial_columns(judged_by), cells, trials, device, scenario)
    print_table(columns, rows, machine_line(trials, device) + assumed)
