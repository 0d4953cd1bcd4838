"""`paretoscope measured`: what a user's own board measured of a bundle, beside what was estimated for it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, SweepRef, print_json
from engine.errors import SpecError
from engine.trials.boards import board_texts

if TYPE_CHECKING:
    from engine.trials.boards import Beside, BoardRun


def measured(
    sweep: SweepRef,
    results: Annotated[
        Path | None, typer.Argument(metavar="RESULTS.json", help="What `verify.py --json` printed on the board.")
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
    """Take back what a bundle's verify.py measured on your own board: measured beside estimated, with the estimate's error."""
    from engine.elsewhere.board_report import take_back
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    if (results is None) == (remove is None):
        raise SpecError("give RESULTS.json, what `verify.py --json` printed, or --remove BOARD, one of the two")
    store = Store.open()
    if results is None:
        row = store.sweep(sweep)
        count = store.boards.remove(row.id, str(remove))
        known = {"sweep": row.id, "board": remove, "removed": count}
        print_json(known) if as_json else print(f"{row.id}: {remove} is forgotten, {count} measured trials")
        return
    found, before = take_back(store, Artifacts.open(), sweep, results, name, profile)
    if as_json:
        print_json(
            {
                "sweep": store.sweep(sweep).id,
                "trial": found.run.trial,
                **found.to_json(),
                "replaced": before.when if before else None,
            }
        )
    else:
        print_measured(store.sweep(sweep).id, found, before)


def print_measured(sweep: str, found: Beside, before: BoardRun | None) -> None:
    """The measurement, what stands beside it, and what it replaced."""
    print(f"trial {found.run.trial} on {found.run.board}:")
    print("\n".join(f"  {line}" for line in board_texts(found)))
    if before:
        print(f"  it takes the place of what was measured there on {before.when}: {before.latency_ms.value:.4g} ms")
    print(f"see it: paretoscope front {sweep} --device {shlex.quote(found.run.board)}   or: paretoscope app")
