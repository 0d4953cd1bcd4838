"""The answers of finished nodes that others still wait for, kept by Dask's scheduler for as long as the run goes on.

What a worker holds in memory is gone when it dies, and Dask computes again whatever of that somebody waits for: hours of a training, which
the run has recorded long ago and whose file is there. So it finds the answer here instead.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from distributed import Client, SchedulerPlugin
from distributed.utils import sync

from engine.run.on_host import own_worker
from engine.run.task import Task

_PATIENCE_S = 20
Answer = tuple[float, dict[str, Any]]
"""What `run_node` returns."""


class _Released(SchedulerPlugin):
    """Forgets, in the scheduler, what it keeps for a run whose client has gone: also of one that was killed, which drops nothing itself."""

    name = "paretoscope-kept-answers"
    idempotent = True

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Called when the connection of a client has ended, however it did."""
        for place in [p for p in scheduler.task_metadata if str(p).startswith(_places(client))]:
            del scheduler.task_metadata[place]


def place_of(client: Client) -> str:
    """A new name under which a scheduler keeps answers of a run until the client of the run is gone."""
    with suppress(Exception):
        if _is_there(client):
            client.register_plugin(_Released())
    return f"{_places(client.id)}{uuid.uuid4().hex}"


def _places(client: str) -> str:
    return f"paretoscope-{client}-"


def keep(client: Client, place: str, answers: Mapping[str, Answer]) -> None:
    """Let a scheduler keep the answers of nodes, by their keys, under the name of a run. One that is gone keeps nothing."""
    remote: Any = client.scheduler

    async def kept() -> None:
        for key, answer in answers.items():
            await remote.set_metadata(keys=[place, key], value=list(answer))

    if answers and _is_there(client):
        with suppress(OSError, TimeoutError):
            client.sync(kept, callback_timeout=_PATIENCE_S)


def drop(client: Client, place: str) -> None:
    """Let a scheduler forget what it keeps under the name of a run."""
    remote: Any = client.scheduler
    with suppress(Exception):
        if _is_there(client):
            client.sync(remote.set_metadata, keys=[place], value=None, callback_timeout=_PATIENCE_S)


def _is_there(client: Client) -> bool:
    """Whether the scheduler is there, as far as is known here: one that is gone would be called until the patience is over."""
    return bool(client.status == "running")


def kept(task: Task) -> Answer | None:
    """Of a worker: the answer of a node that the run has recorded already; None for one that is to be worked on.

    Asked only where the node's file is there, which it is not before its first time.
    """
    name = task.node.artifact
    if not (task.run and name and (worker := own_worker()) and task.artifacts.has(name)):
        return None
    remote: Any = worker.scheduler
    found = sync(worker.loop, remote.get_metadata, keys=[task.run, task.node.key], default=None)
    return (float(found[0]), dict(found[1])) if found else None
