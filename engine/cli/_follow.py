"""Following a sweep that another process runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import NotFoundError

if TYPE_CHECKING:
    from engine.run.outcome import Outcome, Progress
    from engine.store.rows import SweepRow
    from engine.store.store import Store

_POLL_S = 1.0


def followed(store: Store, sweep_id: str, on_progress: Callable[[Progress], None]) -> Outcome | None:
    """How a sweep ended that another process was running, once it has; None where nobody runs it, or whoever did is gone.

    Ctrl-C ends the following, not the run.
    """
    from engine.run.outcome import Outcome, Progress

    row, began, told = _found(store, sweep_id), time.monotonic(), False
    while row and row.state == "running":
        if not told:
            print(f"paretoscope: {sweep_id} is being run by {row.runner}; following it", file=sys.stderr)
            told = True
        gone = time.monotonic() - began
        on_progress(Progress(row.nodes_done, row.nodes_total, row.trials, gone, row.remaining_s, ""))
        time.sleep(_POLL_S)
        row = _found(store, sweep_id)
    if not told or row is None or row.state == "interrupted":
        return None
    failed, stopped = (len(store.in_state(sweep_id, name)) for name in ("failed", "stopped"))
    state = row.state
    assert state != "running"
    left = row.recipes - row.trials - failed - stopped
    return Outcome(state, 0, row.trials, failed, left, time.monotonic() - began, trials_stopped=stopped)


def _found(store: Store, sweep_id: str) -> SweepRow | None:
    try:
        return store.sweep(sweep_id)
    except NotFoundError:
        return None
