"""`paretoscope resume`: going on with a sweep."""

from __future__ import annotations

from engine.cli._options import JsonFlag, KeepOldCode, Scheduler, SweepRef
from engine.cli.run import execute_and_tell


def resume(
    sweep: SweepRef,
    scheduler: Scheduler = None,
    keep_old_code: KeepOldCode = False,
    as_json: JsonFlag = False,
) -> None:
    """Go on with a sweep that was cancelled or interrupted; with old code where the run before took it."""
    from engine.store.store import Store

    store = Store.open()
    row = store.sweep(sweep)
    execute_and_tell(store.spec(row.id), store, scheduler, as_json, keep_old_code or row.keep_old_code)
