"""`paretoscope resume`: going on with a sweep."""

from __future__ import annotations

import sys

from engine.cli._options import JsonFlag, KeepOldCode, NodeMinutes, Scheduler, SweepRef
from engine.cli.run import execute_and_tell
from engine.trials.text import duration


def resume(
    sweep: SweepRef,
    scheduler: Scheduler = None,
    keep_old_code: KeepOldCode = False,
    node_minutes: NodeMinutes = None,
    as_json: JsonFlag = False,
) -> None:
    """Go on with a sweep that was cancelled or interrupted; with old code where the run before took it."""
    from engine.run.forecast import preview
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    store = Store.open()
    row = store.sweep(sweep)
    spec, keep = store.spec(row.id), keep_old_code or row.keep_old_code
    found = None if keep else preview(spec, store, Artifacts.open())
    if found and found.old_code_nodes:
        print(
            f"paretoscope: {found.old_code_nodes} nodes that an earlier version has finished run again, {duration(found.old_code_s)}; "
            "to keep them, stop this and give --keep-old-code",
            file=sys.stderr,
        )
    execute_and_tell(spec, store, scheduler, as_json, keep)
