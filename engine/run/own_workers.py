"""The worker processes of a run's own cluster: whether there are any, and their end, which waits for nothing that they compute."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

from distributed import LocalCluster

# A worker that computes nothing leaves within this; any other is killed then.
_LEAVE_S = 0.5


class OwnWorkers:
    """Those of a cluster in this process, each under a nanny, which starts another for one that dies."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster

    def lives(self) -> bool:
        """Whether the scheduler knows a worker."""
        scheduler: Any = self._cluster.scheduler
        return bool(scheduler.workers)

    def end(self, address: str) -> None:
        """Kill the worker of an address, whatever holds it; its nanny starts the next one."""
        for nanny in list(self._cluster.workers.values()):
            if nanny.worker_address == address and nanny.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def close(self) -> None:
        """End all workers for good: a training that nobody waits for any more would go on for seconds."""

        async def closed() -> None:
            nannies: list[Any] = list(self._cluster.workers.values())
            await asyncio.gather(*(n.close(timeout=_LEAVE_S, reason="end of run") for n in nannies))

        # What is left then, the cluster's own end sees to, more slowly.
        with contextlib.suppress(Exception):
            self._cluster.sync(closed)
