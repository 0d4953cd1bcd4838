"""Hands nodes to Dask, many at once and not more of them than it needs to see, and hears which have ended.

A graph of some hundred nodes costs Dask's client and scheduler about what one node by itself does. Of a large plan only the next nodes are
handed over: a scheduler that is given 100,000 is deaf for minutes, and so would the run's heartbeat be.
"""

from __future__ import annotations

import queue
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from dask._task_spec import Task as GraphTask
from dask._task_spec import TaskRef
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from distributed import Client, Future

from engine.errors import StepError
from engine.run.kept_answers import Answer, drop, keep, place_of
from engine.run.plan import Node
from engine.run.roles import Ask
from engine.run.task import Task
from engine.run.worker import run_node

_AT_ONCE = 200
"""So many nodes go in one graph."""
_AHEAD = 1000
"""So many nodes are with Dask at a time, or `_AHEAD_OF_EACH` for each core: enough that no worker waits for the next."""
_AHEAD_OF_EACH = 20
# More than there are nodes.
_GPU_FIRST = 10**9
_GIVEN_UP = "given up by a run of Paretoscope"


@dataclass(frozen=True)
class Handed:
    """A node as Dask is to have it. `name` is its key there, `after` those of the nodes that it waits for.

    `ask`: what it takes of which workers; `priority`: of what can run the highest does.
    """

    name: str
    task: Task
    after: tuple[str, ...]
    ask: Ask
    priority: int


def priority(node: Node, place: int) -> int:
    """Of what can run the highest does: by its place in the plan, but a GPU is kept at work; what the cores do can be done beside it."""
    return _GPU_FIRST * (node.device != "cpu") - place


class Submission:
    """What of a run is with Dask, and what is to go there next, in the order in which it was added."""

    def __init__(self, client: Client, slots: int) -> None:
        """`slots`: how many nodes all workers compute at once."""
        self._client, self._most = client, max(_AHEAD, _AHEAD_OF_EACH * slots)
        self._futures: dict[str, Future[Any]] = {}
        self.run = place_of(client)
        """Under this name Dask's scheduler keeps answers of the run."""
        self._handed: dict[str, Handed] = {}
        self._needed: Counter[str | None] = Counter()
        self._next: deque[str] = deque()
        self.taken_back: Counter[str] = Counter()
        """How often each node was."""
        self._out: set[str] = set()
        self._ended: queue.Queue[tuple[str, Future[Any]]] = queue.Queue()

    def add(self, keys: Iterable[str]) -> None:
        """Nodes to hand over as soon as there is room; inputs come before what needs them."""
        self._next.extend(key for key in keys if key not in self._futures)

    def name(self, key: str) -> str | None:
        """What Dask calls a node that was handed over, if it was."""
        return str(self._futures[key].key) if key in self._futures else None

    def feed(self, handed: Callable[[str], Handed | None]) -> None:
        """Hand over what there is room for; `handed` says how, or None for a node that is not to go to Dask after all."""
        while self._next and len(self._out) < self._most:
            batch: dict[str, Handed] = {}
            while self._next and len(batch) < _AT_ONCE:
                key = self._next.popleft()
                # What it waits for may be of the same batch, so its name is known before its future is.
                if (node := handed(key)) is not None:
                    batch[key] = node
            self._hand(batch)

    def _hand(self, batch: Mapping[str, Handed]) -> None:
        if not batch:
            return
        graph = {
            node.name: GraphTask(node.name, run_node, node.task, *map(TaskRef, node.after)) for node in batch.values()
        }
        by_name = {node.name: node for node in batch.values()}
        annotations = {
            "resources": {name: dict(node.ask.resources) for name, node in by_name.items()}.get,
            "priority": {name: node.priority for name, node in by_name.items()}.get,
            "workers": {name: list(node.ask.workers) or None for name, node in by_name.items()}.get,
        }
        layer = MaterializedLayer(graph, annotations=annotations)
        whole = HighLevelGraph({"nodes": layer}, {"nodes": set()})
        futures = self._client.get(whole, list(graph), sync=False)
        for key, future in zip(batch, futures, strict=True):
            self._handed[key] = batch[key]
            self._needed.update(batch[key].after)
            self._follow(key, future)

    def _follow(self, key: str, future: Future[Any]) -> None:
        self._futures[key] = future
        self._out.add(key)
        future.add_done_callback(lambda done: self._ended.put((key, done)))

    def ended(self, timeout_s: float) -> list[tuple[str, Future[Any]]]:
        """The nodes that have ended since the last time, waiting for one up to `timeout_s`; none where none has."""
        found: list[tuple[str, Future[Any]]] = []
        try:
            found.append(self._ended.get(timeout=timeout_s))
            while len(found) < _AT_ONCE:
                found.append(self._ended.get_nowait())
        except queue.Empty:
            pass
        # One that has been ended by `fail` says later that it was cancelled.
        found = [(key, future) for key, future in found if self._futures.get(key) is future]
        found = [(key, future) for key, future in found if not self._goes_on(key, future)]
        for key, _ in found:
            self._leave(key)
        return found

    def _leave(self, key: str) -> None:
        self._out.discard(key)
        if (node := self._handed.pop(key, None)) is not None:
            self._needed.subtract(node.after)

    def _goes_on(self, key: str, future: Future[Any]) -> bool:
        """Whether a node was given up by another run of the same scheduler alone: Dask tells all clients of that, also one that had just
        asked for the same and gets it.
        """
        state = future._state
        if state is None or getattr(state.exception, "reason", None) != _GIVEN_UP:
            return False
        name = str(future.key)
        self._client.futures.pop(name, None)
        self._follow(key, Future(name, self._client))
        return True

    def recorded(self, answers: Mapping[str, Answer]) -> None:
        """Let go of nodes that have ended well and are recorded: what a worker that dies held of them must not be computed again."""
        keep(self._client, self.run, {key: answer for key, answer in answers.items() if self._needed[self.name(key)]})
        for key in answers:
            self.forget(key)

    def forget(self, key: str) -> None:
        """A node that is to be handed over again, or for the first time."""
        self._futures.pop(key, None)

    def asked(self) -> dict[str, Ask]:
        """With what the nodes were handed over that have not ended, in that order; those that wait to be recorded have."""
        return {key: node.ask for key, node in self._handed.items() if not self._futures[key].done()}

    def again(self, keys: Sequence[str]) -> None:
        """Take back nodes that nobody has begun, to hand them over again before all others; under a name that Dask has not heard yet."""
        if keys:
            self._client.cancel([self._futures[key] for key in keys], reason=_GIVEN_UP)
        self.taken_back.update(keys)
        for key in keys:
            self.forget(key)
            self._leave(key)
        self._next.extendleft(reversed(keys))

    def fail(self, keys: Iterable[str], said: str) -> None:
        """End those of the nodes that were handed over and have not ended: each fails with the reason, whatever it does."""
        lost = [key for key in keys if key in self._out]
        self._client.cancel([self._futures[key] for key in lost], reason=_GIVEN_UP)
        for key in lost:
            # Whoever is there can say so: it is not to be taken back for want of a worker that could have gone on.
            self._handed[key] = replace(self._handed[key], ask=Ask(()))
            self._follow(key, self._client.submit(_fail, said, key=f"{self.name(key)}-late"))

    def cancel(self) -> bool:
        """Let Dask drop what it has of the run; whether something was left to do. A scheduler that is gone has forgotten it anyway."""
        left = [future for future in self._futures.values() if not future.done()]
        with suppress(Exception):
            self._client.cancel(left, reason=_GIVEN_UP)
        drop(self._client, self.run)
        return bool(left)


def _fail(said: str) -> None:
    raise StepError(said)
