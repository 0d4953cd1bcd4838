"""For how long a run's nodes waited for other runs on their host, and which have begun, where and when, as the workers tell it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from distributed import Client

from engine.run.on_host import TURNS


@dataclass(frozen=True)
class Begun:
    """A node's turn: the address of its worker, and when the runner heard of it, in seconds since 1970."""

    worker: str
    began_s: float


def listen(client: Client, *hearers: Callable[[Mapping[str, Any]], None]) -> None:
    """Let all of them hear what the workers of a cluster tell from now on; a client has one listener for a topic."""
    client.subscribe_topic(TURNS, lambda event: [hear(event[1]) for hear in hearers])


class Waits:
    """The nodes that wait now, and the seconds in which one or more did."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._nodes: set[str] = set()
        self._begun: dict[str, Begun] = {}
        self._seconds, self._since = 0.0, clock()

    def hear(self, event: Mapping[str, Any]) -> None:
        """One event of a `worker`: a `node`, and whether it `waits`."""
        with self._lock:
            self._count()
            (self._nodes.add if event["waits"] else self._nodes.discard)(event["node"])
            if event["waits"]:
                self._begun.pop(event["node"], None)
            else:
                self._begun[event["node"]] = Begun(event["worker"], time.time())

    def turn(self, key: str) -> Begun | None:
        """A node's last turn; None for one that has not begun."""
        with self._lock:
            return self._begun.get(key)

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
            self._begun = {key: turn for key, turn in self._begun.items() if key in among}
            return [key for key in among if key in self._begun]

    def seconds(self) -> float:
        """The time in which something waited."""
        with self._lock:
            self._count()
            return self._seconds
