"""How long a node may take: one that hangs is ended with the worker process that holds it, and what needs it fails with it.

The clock is the runner's and begins when a worker has begun, whatever the node waited for before. A thread cannot be ended from outside, so
its process is; what ran beside it there is run again.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import SetupError
from engine.run.forecast import node_s

if TYPE_CHECKING:
    from engine.run.cluster import Cluster
    from engine.run.plan import Node, Plan
    from engine.run.submission import Submission

VARIABLE = "PARETOSCOPE_NODE_MINUTES"
"""Minutes that every node of a run may take; `--node-minutes` of the command line says the same."""
LEAST_S, TIMES_FORECAST = 3600.0, 20.0
"""Without that a node may take the larger of so many seconds and so many times its forecast."""


def stated_minutes() -> float | None:
    """The limit that was asked for; None for none. Raises SetupError for one that is no time."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not minutes > 0:
        raise SetupError(f"{VARIABLE} is {text!r}; give the minutes that a node may take, more than 0")
    return minutes


def limit_s(node: Node, rates: Mapping[str, float]) -> float:
    """Seconds that a node may take; `rates` are the store's seconds per unit of work, by kind of node."""
    minutes = stated_minutes()
    return max(LEAST_S, TIMES_FORECAST * node_s(node, rates)) if minutes is None else 60 * minutes


class TimeLimit:
    """What runs since when on a cluster, and the end of what has run for too long."""

    def __init__(
        self, plan: Plan, rates: Mapping[str, float], cluster: Cluster, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """To be told what the workers tell (`hear`). Raises SetupError for a limit that is no time."""
        stated_minutes()
        self._plan, self._rates, self._cluster, self._clock = plan, rates, cluster, clock
        self._lock = threading.Lock()
        self._began: dict[str, tuple[float, str]] = {}
        self.ended_s: dict[str, float] = {}
        """When nodes were ended, in seconds since 1970."""

    def hear(self, event: Mapping[str, Any]) -> None:
        """A `node` has begun on the `worker` of an address; begun again, its time begins again, and where it `waits` it has none."""
        with self._lock:
            if event["waits"]:
                self._began.pop(event["node"], None)
            else:
                self._began[event["node"]] = self._clock(), event["worker"]

    def end_late(self, under_way: Collection[str], work: Submission) -> None:
        """End the nodes that are beyond their limits, with the workers that hold them; each, and what needs it, fails with the reason."""
        with self._lock:
            began = {key: since for key, since in self._began.items() if key in under_way}
            late = {key: at for key, (since, at) in began.items() if self._clock() - since > self._limit_s(key)}
            # What ran beside one of them is run again, and its time begins again.
            ended = set(late.values())
            self._began = {key: (since, at) for key, (since, at) in began.items() if at not in ended}
        for key in late:
            said = (
                f"{self._plan.nodes[key].kind}: took longer than {self._limit_s(key) / 60:.3g} min and was ended; --node-minutes or "
                f"{VARIABLE} gives nodes more"
            )
            lost = self._with_dependents(key)
            self.ended_s |= {k: time.time() for k in lost if k in under_way}
            work.fail(lost, said)
        for worker in ended:
            self._cluster.end_worker(worker)

    def _limit_s(self, key: str) -> float:
        return limit_s(self._plan.nodes[key], self._rates)

    def _with_dependents(self, key: str) -> list[str]:
        lost = {key}
        # A plan has every node after those that it needs.
        for other, node in self._plan.nodes.items():
            if not lost.isdisjoint(node.inputs):
                lost.add(other)
        return [k for k in self._plan.nodes if k in lost]
