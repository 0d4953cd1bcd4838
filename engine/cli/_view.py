"""What a command looks at: the trials of a sweep on a device, under a scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.errors import SpecError
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.devices.cost import Scenario


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
