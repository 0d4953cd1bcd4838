"""The worker processes of a run's own cluster: whether there are any, and their end, which waits for nothing that they compute."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

from distributed import LocalCluster


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
            if nanny.worker_address == address:
                _kill(nanny)

    def abandon(self) -> None:
        """End workers that compute, for good: a training that nobody waits for any more would go on for seconds, an export for minutes."""

        async def closed() -> None:
            nannies: list[Any] = list(self._cluster.workers.values())
            closing = [asyncio.ensure_future(nanny.close(reason="end of run")) for nanny in nannies]
            # Told to close, they start no other worker for one that is gone.
            await asyncio.sleep(0)
            for nanny in nannies:
                _kill(nanny)
            await asyncio.gather(*closing)

        # What is left then, the cluster's own end sees to, more slowly.
        with contextlib.suppress(Exception):
            self._cluster.sync(closed)


def _kill(nanny: Any) -> None:
    if nanny.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
