"""What a run tells of each node as it ends, to whoever watches it: what ran, where, from when to when, and how it ended.

The times are those of Dask's scheduler, which hears them of every worker, on whatever host: waiting for the host's turn to measure is in
them, waiting for a free worker is not. Nothing is asked of the scheduler unless somebody watches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from distributed import Client

from engine.run.plan import Node
from engine.run.time_limit import TimeLimit
from engine.run.waits import Waits

_LAST = 256


@dataclass(frozen=True)
class NodeEnd:
    """A node that has ended. `recipe` is the label of the first that needs it; `error` says why it failed.

    `worker` is the address that ran it, `began_s` and `ended_s` are seconds since 1970; None of one that never began. Where its worker died
    over it, or it was ended, they are when the runner heard of its beginning and of that. `core_seconds` is what the store keeps
    (`NodeRow.seconds`), None of one that failed.
    """

    node: Node
    recipe: str
    error: str | None
    core_seconds: float | None
    worker: str | None
    began_s: float | None
    ended_s: float | None


Watcher = Callable[[NodeEnd], None]


class Watched:
    """Looks up where and when each node ran, and tells a watcher."""

    def __init__(self, client: Client, watcher: Watcher, waits: Waits, limit: TimeLimit) -> None:
        self._client, self._watcher, self._waits, self._limit = client, watcher, waits, limit
        # From now on the scheduler keeps the last tasks' times.
        client.get_task_stream(count=1)

    def tell(self, node: Node, task: str, recipe: str, error: str | None, core_seconds: float | None) -> None:
        """A node has ended, which Dask knows as `task`."""
        # What the run has ended answers in its place only says so.
        ended_s = self._limit.ended_s.get(node.key)
        known = [] if ended_s else self._client.get_task_stream(count=_LAST)
        last = next((r for r in reversed(known) if r["key"] == task), None)
        computed = [s for s in last["startstops"] if s["action"] == "compute"] if last else []
        if last and computed:
            ran = str(last["worker"]), min(s["start"] for s in computed), max(s["stop"] for s in computed)
        elif turn := self._waits.turn(node.key):
            # Dask keeps no times of what nobody answered.
            ran = turn.worker, turn.began_s, ended_s or time.time()
        else:
            # It never began.
            ran = None
        worker, began, ended = ran or (None, None, None)
        self._watcher(NodeEnd(node, recipe, error, core_seconds, worker, began, ended))
