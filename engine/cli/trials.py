"""`paretoscope trials`: the recipes of a sweep with their measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, ScenarioName, SweepRef, print_json
from engine.cli._tables import print_table
from engine.cli._trial_table import machine_line, trial_cells, trial_columns, with_scenario
from engine.cli._view import looked_at, measured_on_boards
from engine.cli._where import Where, matching
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.devices.cost import Scenario


def trials(
    sweep: SweepRef,
    device: Annotated[str | None, typer.Option(help="Profile; default: the scenario's, or host.")] = None,
    scenario: ScenarioName = None,
    where: Where = None,
    as_json: JsonFlag = False,
) -> None:
    """Every recipe of a sweep with its measurements."""
    found, device, chosen = looked_at(sweep, device, scenario, imported=True)
    found = matching(found, where, device)
    if as_json:
        on_boards = measured_on_boards(sweep, found)
        print_json([t.to_json(device) | {"measured": on_boards.get(t.id, [])} for t in found])
    else:
        print_trials(found, device, chosen)


def print_trials(trials: Sequence[Trial], device: str, scenario: Scenario | None = None) -> None:
    """Every trial, in plan order, with a scenario's columns where one is given."""
    from engine.frontier.columns import Trials

    judged_by = Trials.of(trials).judged_by
    cells = [trial_cells(t, device, judged_by) for t in trials]
    columns, rows, assumed = with_scenario(trial_columns(judged_by), cells, trials, device, scenario)
    print_table(columns, rows, machine_line(trials, device) + assumed)
