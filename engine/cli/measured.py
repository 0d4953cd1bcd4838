"""`paretoscope measured`: what a user's own board measured of a bundle or a whole frontier, beside what was estimated for it."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli._options import JsonFlag, SweepRef, print_json
from engine.errors import SpecError
from engine.trials.boards import board_texts

if TYPE_CHECKING:
    from engine.elsewhere.board_report import Taken
    from engine.trials.boards import Beside, BoardRun

MOVED_MUCH = 0.1
"""How far the baseline's time may move during a session before it is told, as a share."""


def measured(
    sweep: SweepRef,
    results: Annotated[
        Path | None,
        typer.Argument(
            metavar="RESULTS.json", help="What `verify.py --json` printed, or `measure.py` wrote, on the board."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="BOARD", help="What the board is called; default: as it calls itself.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="PROFILE", help="Whose estimate to set beside it: a device profile, or host.")
    ] = None,
    remove: Annotated[
        str | None, typer.Option(metavar="BOARD", help="Forget all that this board measured of the sweep.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Take back what verify.py or measure.py measured on your own board: measured beside estimated, with the estimate's error."""
    from engine.elsewhere.board_report import take_back
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    if (results is None) == (remove is None):
        raise SpecError(
            "give RESULTS.json, what `verify.py --json` printed or `measure.py` wrote, or --remove BOARD, one of the two"
        )
    store = Store.open()
    if results is None:
        row = store.sweep(sweep)
        count = store.boards.remove(row.id, str(remove))
        known = {"sweep": row.id, "board": remove, "removed": count}
        print_json(known) if as_json else print(f"{row.id}: {remove} is forgotten, {count} measured trials")
        return
    taken, row = take_back(store, Artifacts.open(), sweep, results, name, profile), store.sweep(sweep)
    if not as_json:
        print_measured(row.id, taken)
    elif len(taken.kept) == 1 and not taken.failed:
        print_json({"sweep": row.id, **_json(*taken.kept[0])})
    else:
        said = {"board": taken.board, "trials": [_json(*one) for one in taken.kept], "baseline_moved": taken.moved}
        print_json({"sweep": row.id, **said, "failed": [asdict(one) for one in taken.failed]})


def _json(found: Beside, before: BoardRun | None) -> dict[str, Any]:
    return {"trial": found.run.trial, **found.to_json(), "replaced": before.when if before else None}


def print_measured(sweep: str, taken: Taken) -> None:
    """Each measurement, what stands beside it, and what it replaced; then what did not run there."""
    for found, before in taken.kept:
        print(f"trial {found.run.trial} on {taken.board}:")
        print("\n".join(f"  {line}" for line in board_texts(found)))
        if before:
            print(f"  it takes the place of what was measured there on {before.when}: {before.latency_ms.value:.4g} ms")
        if why := taken.alone.get(found.run.trial):
            print(f"  timed alone, not in turns with the baseline: {why}")
    for one in taken.failed:
        print(f"trial {one.trial} ({one.label}) did not run on {taken.board}: {one.reason}")
    if taken.moved is not None and taken.moved > MOVED_MUCH:
        print(
            f"the baseline’s own time moved by {taken.moved:.0%} meanwhile: {taken.board} was busy or grew warm; ratios are deaf to that, "
            "and milliseconds are made of them"
        )
    if taken.kept:
        print(f"see it: paretoscope front {sweep} --device {shlex.quote(taken.board)}   or: paretoscope app")
