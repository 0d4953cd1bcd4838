"""What a run tells of each node as it ends, to whoever watches it: what ran, where, from when to when, and how it ended.

The times are those of Dask's scheduler, which hears them of every worker, on whatever host: waiting for the host's turn to measure is in
them, waiting for a free worker is not. Nothing is asked of the scheduler unless somebody watches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distributed import Client

from engine.run.plan import Node

_LAST = 256


@dataclass(frozen=True)
class NodeEnd:
    """A node that has ended. `recipe` is the label of the first that needs it; `error` says why it failed.

    `worker` is the address that ran it, `began_s` and `ended_s` are seconds since 1970; None where a worker died over it. `core_seconds`
    is what the store keeps (`NodeRow.seconds`), None of one that failed.
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

    def __init__(self, client: Client, watcher: Watcher) -> None:
        self._client, self._watcher = client, watcher
        # From now on the scheduler keeps the last tasks' times.
        client.get_task_stream(count=1)

    def tell(self, node: Node, task: str, recipe: str, error: str | None, core_seconds: float | None) -> None:
        """A node has ended, which Dask knows as `task`."""
        last = next((r for r in reversed(self._client.get_task_stream(count=_LAST)) if r["key"] == task), None)
        computed = [s for s in last["startstops"] if s["action"] == "compute"] if last else []
        self._watcher(
            NodeEnd(
                node,
                recipe,
                error,
                core_seconds,
                worker=str(last["worker"]) if last else None,
                began_s=min(s["start"] for s in computed) if computed else None,
                ended_s=max(s["stop"] for s in computed) if computed else None,
            )
        )
