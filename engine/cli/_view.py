"""What a command looks at: the trials of a sweep on a device, under a scenario."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.errors import SpecError
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.devices.cost import Scenario
    from engine.frontier.columns import Trials
    from engine.store.rows import SweepRow
    from engine.store.store import Store
    from engine.trials.boards import BoardRun


def looked_at(
    sweep: str, device: str | None, scenario: str | None, imported: bool = False
) -> tuple[Sequence[Trial], str, Scenario | None]:
    """The trials of a sweep as seen on a device and under a scenario, whose device counts where none is named.

    `imported`: with the points that were imported, which were not measured here.
    """
    store, row, device, chosen, boards, points = _opened(sweep, device, scenario)
    found: Sequence[Trial] = store.trials(row.id)
    if device != "host" and is_profile(device):
        from engine.devices.missing_demands import with_demands
        from engine.devices.projection import with_projections
        from engine.store.artifacts import Artifacts

        found = with_projections(with_demands(found, Artifacts.open()), [device])
    if boards:
        from engine.devices.boards import current_runs, with_boards
        from engine.store.artifacts import Artifacts

        found = with_boards(found, current_runs(boards, {t.id: t.artifact for t in found}, Artifacts.open()))
    if imported:
        found = [*found, *points]
    if chosen:
        from engine.devices.cost import under

        chosen = replace(chosen, device=device)
        found = under(chosen, found)
    return found, device, chosen


def columns_looked_at(sweep: str, device: str | None, scenario: str | None) -> tuple[Trials, str, Scenario | None]:
    """As `looked_at` with what was imported, but as columns, of which whole trials are read when they are looked at."""
    from engine.devices.boards import current_runs, on_boards
    from engine.devices.projected import Projector, under_scenario
    from engine.frontier.joined import with_points
    from engine.frontier.kept_columns import SweepColumns
    from engine.store.artifacts import Artifacts

    store, row, device, chosen, boards, points = _opened(sweep, device, scenario)
    found = SweepColumns(store, row.id).read()
    if device != "host" and is_profile(device):
        from engine.devices.profiles import find_profile

        found = Projector(Artifacts.open()).on(found, [find_profile(device)])
    if boards:
        files = dict(zip(found.ids, found.fact("artifact").tolist(), strict=True))
        found = on_boards(found, current_runs(boards, files, Artifacts.open()))
    found = with_points(found, points)
    if chosen:
        chosen = replace(chosen, device=device)
        found = under_scenario(found, [device], chosen)
    return found, device, chosen


def _opened(
    sweep: str, device: str | None, scenario: str | None
) -> tuple[Store, SweepRow, str, Scenario | None, list[BoardRun], list[Trial]]:
    """The store and the sweep, the device and the scenario, and what boards and others measured."""
    from engine.store.store import Store

    chosen = None
    if scenario is not None:
        from engine.devices.cost import find_scenario

        chosen = find_scenario(scenario)
    device = device or (chosen.device if chosen else "host")
    store = Store.open()
    row = store.sweep(sweep)
    boards, points = store.boards.of(row.id), store.points.of(row.id)
    names = {run.board for run in boards} | {p.stated.device for p in points if p.stated and p.stated.device}
    known_device(device, names)
    return store, row, device, chosen, boards, points


def known_device(name: str, boards: Collection[str] = ()) -> None:
    """Raise SpecError for a profile that there is not, and that is none of the boards that measured the sweep."""
    if name == "host" or name in boards:
        return
    if not is_profile(name):
        from engine.devices.profiles import profile_names

        known = ", ".join((*profile_names(), *sorted(boards)))
        raise SpecError(f"{name!r} is not a device profile{' or board' * bool(boards)}; known: {known}")


def is_profile(name: str) -> bool:
    """Whether a device is one that profiles speak of."""
    from engine.devices.profiles import profile_names

    return name in profile_names()


def measured_on_boards(sweep: str, trials: Sequence[Trial]) -> dict[str, list[dict[str, Any]]]:
    """By trial, what users' own boards measured of it, beside what was estimated for them."""
    from engine.store.store import Store

    store = Store.open()
    runs = store.boards.of(store.sweep(sweep).id)
    if not runs:
        return {}
    from engine.devices.boards import beside, current_runs
    from engine.store.artifacts import Artifacts

    artifacts = Artifacts.open()
    current = current_runs(runs, {t.id: t.artifact for t in trials}, artifacts)
    return {t.id: [beside(t, run, artifacts).to_json() for run in current[t.id]] for t in trials if t.id in current}
