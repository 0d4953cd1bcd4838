"""`paretoscope front` of several sweeps: each frontier, the joint one, and who beats whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli._options import print_json
from engine.cli._tables import print_table
from engine.cli._view import looked_at
from engine.errors import SpecError
from engine.metrics import METRICS, text_of

if TYPE_CHECKING:
    from engine.frontier.several import Several


def fronts(
    sweeps: Sequence[str],
    objectives: str | None,
    device: str | None,
    scenario: str | None,
    tied: bool,
    imported: bool,
    as_json: bool,
) -> None:
    """What `front SWEEP SWEEP…` prints; what speaks of one sweep alone is refused."""
    from engine.explain.several_sweeps import lot_of, named_apart, several_json, usual_axes
    from engine.frontier.columns import Trials
    from engine.frontier.front import parse_objectives
    from engine.frontier.several import several
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    for name, given in (("--scenario", scenario), ("--tied", tied), ("--imported", imported)):
        if given:
            raise SpecError(f"{name} is of one sweep; leave it out for several, or name one sweep")
    store, find = Store.open(), Artifacts.open().local
    rows = [store.sweep(ref) for ref in sweeps]
    twice = next((r.id for i, r in enumerate(rows) if r in rows[:i]), None)
    if twice:
        raise SpecError(f"{twice} is named twice; name each sweep once")
    lots = []
    for row in rows:
        listed, device, _ = looked_at(row.id, device, None)
        lots.append(lot_of(row.name, Trials.of(listed), store.spec(row.id), find))
    lots, on = named_apart(lots), device or "host"
    wanted = parse_objectives(objectives, lots[0].trials) if objectives else usual_axes(lots, on)
    if not wanted:
        raise SpecError(
            "these sweeps share fewer than two measured numbers; name them with --objectives, or other sweeps"
        )
    found = several(lots, wanted, on)
    if as_json:
        print_json(several_json(found, [r.id for r in rows]))
    else:
        print_fronts(found)


def print_fronts(found: Several) -> None:
    """The joint frontier with the sweep of each recipe, or where there is none each sweep's own; then who beats whom."""
    from engine.explain.several_sweeps import who_beats_whom

    owners = found.joint or [(i, int(row)) for i, rows in enumerate(found.fronts) for row in rows]
    rows = []
    for i, row in owners:
        trials = found.trials[i]
        numbers = (text_of(k, float(trials.numbers(k, found.device).value[row])) for k in found.objectives)
        rows.append((found.names[i], trials.ids[row], str(trials.fact("label")[row]), *numbers))
    names = (METRICS[k].name for k in found.objectives)
    print_table({"sweep": "left", "id": "left", "recipe": "left", **dict.fromkeys(names, "right")}, rows)
    print("\n" + "\n".join(who_beats_whom(found)))
