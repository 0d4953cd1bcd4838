"""For how long a run's nodes waited for other runs on their host, and which have begun, as the workers tell it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from distributed import Client

from engine.run.on_host import WAITING


class Waits:
    """The nodes that wait now, and the seconds in which one or more did."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._nodes: set[str] = set()
        self._begun: set[str] = set()
        self._seconds, self._since = 0.0, clock()

    def listen(self, client: Client) -> None:
        """Hear what the workers of a cluster tell from now on."""
        client.subscribe_topic(WAITING, lambda event: self.hear(event[1]))

    def hear(self, event: dict[str, Any]) -> None:
        """One event of a worker: a `node`, and whether it `waits`."""
        with self._lock:
            self._count()
            (self._nodes.add if event["waits"] else self._nodes.discard)(event["node"])
            (self._begun.discard if event["waits"] else self._begun.add)(event["node"])

    def _count(self) -> None:
        now = self._clock()
        self._seconds += (now - self._since) if self._nodes else 0.0
        self._since = now

    def now(self) -> int:
        """How many nodes wait."""
        with self._lock:
            return len(self._nodes)

    def begun(self, among: Collection[str]) -> list[str]:
        """Those `among` some nodes that have begun, in the order given; others that have are forgotten: they have ended."""
        with self._lock:
            self._begun.intersection_update(among)
            return [key for key in among if key in self._begun]

    def seconds(self) -> float:
        """The time in which something waited."""
        with self._lock:
            self._count()
            return self._seconds
