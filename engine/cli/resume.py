"""`paretoscope resume`: going on with a sweep."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.cli._options import JsonFlag, SweepRef
from engine.cli.run import execute_and_tell


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
    execute_and_tell(store.spec(store.sweep(sweep).id), store, scheduler, as_json)
