"""A node's place on its host: not while another times, or alone where it times itself; and as many cores as are free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

from distributed import Worker, get_worker

from engine.cores import OtherPrograms, Pool, Task, max_cores
from engine.run.host_lock import host_held
from engine.run.plan import EXCLUSIVE, Node

TURNS = "paretoscope-turns"
"""The topic of the events by which workers tell that a node waits for others on its host, or has its turn and begins."""


@contextmanager
def on_host(node: Node) -> Iterator[Task]:
    """Wait for the node's turn on the host; then its cores, for as long. Raises SetupError where neither can be had."""
    limit = max_cores() if node.is_wide else 1
    told = _Told(node.key)
    with host_held(node.kind in EXCLUSIVE, told.waits):
        told.begins()
        # Only now: who waits needs no core.
        with _pool().task(limit) as cores:
            worker = own_worker()
            cores.unwanted = partial(_is_cancelled, worker, str(worker.get_current_task()) if worker else "")
            yield cores


@cache
def _pool() -> Pool:
    """The cores of this worker: its resource `cpu`, but for what other programs use; one where nodes run outside of a worker."""
    worker = own_worker()
    if worker is None:
        return Pool(1)
    return Pool(max(1, int(worker.state.total_resources.get("cpu", 1))), others=OtherPrograms())


class _Told:
    """What the runner is told of a node: that it waits, once, and that it begins."""

    def __init__(self, key: str) -> None:
        self._key, self._waits = key, False

    def waits(self) -> None:
        if not self._waits:
            self._waits = True
            self._tell()

    def begins(self) -> None:
        self._waits = False
        self._tell()

    def _tell(self) -> None:
        if (worker := own_worker()) is not None:
            worker.log_event(TURNS, {"node": self._key, "waits": self._waits, "worker": worker.address})


def _is_cancelled(worker: Worker | None, task: str) -> bool:
    """Whether every run that a task of Dask's is for was cancelled, as far as its worker has heard."""
    found = worker.state.tasks.get(task) if worker else None
    return found is not None and found.state == "cancelled"


def own_worker() -> Worker | None:
    """The worker that runs the calling node; None for one that runs outside of a worker."""
    try:
        return get_worker()
    except ValueError:
        return None
