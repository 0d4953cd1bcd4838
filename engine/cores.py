"""The cores of a worker, shared anew whenever a task starts or ends: what is idle widens the tasks that can use it.

A task has one core for sure. How many it has now it asks between two steps of its work, so that no core waits for the end of a long
training, and none is counted on that other programs use: threads that wait for each other are far slower than one where they must take
turns (a training on two threads took three times as long as on one, on two cores that others kept busy). Results depend on that through
the order of floating-point sums alone: what `each` spreads is the same to the bit, what torch spreads over its threads may differ in
the last digits.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import psutil

from engine.errors import CancelledError, SetupError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# A step of training has 64 images: with fewer than four to a core, cores wait for each other for longer than they compute.
_MOST_CORES = 16
# Seconds between two looks at what other programs do, and the part of a core that they may use and leave it free.
_LOOK_S = 1.0
_LITTLE = 0.3


def max_cores() -> int:
    """The most cores that one node takes: `PARETOSCOPE_CORES` where the worker runs, or all of the worker's. Raises SetupError."""
    text = os.environ.get("PARETOSCOPE_CORES") or str(_MOST_CORES)
    if not text.isdecimal() or not int(text):
        raise SetupError(f"PARETOSCOPE_CORES is {text!r}; give the most cores that one step may take, 1 or more")
    return min(int(text), _MOST_CORES)


def shares(cores: int, limits: Sequence[int]) -> tuple[int, ...]:
    """How many of the cores each task has, in the order of their start: one, and of what is left as even a share as their limits allow."""
    found = [1] * len(limits)
    for _ in range(cores - len(limits)):
        able = [i for i, limit in enumerate(limits) if found[i] < limit]
        if not able:
            break
        found[min(able, key=lambda i: found[i])] += 1
    return tuple(found)


@dataclass
class Task:
    """A task under way: the most cores that it can use, how many it has now, and the core-seconds that it has had.

    `unwanted`: whether nobody waits for it any more.
    """

    limit: int
    pool: Pool
    width: int = 1
    core_seconds: float = 0.0
    since: float = 0.0
    unwanted: Callable[[], bool] = lambda: False

    def _count(self, now: float) -> None:
        self.core_seconds += self.width * (now - self.since)
        self.since = now


class OtherPrograms:
    """How many cores other programs kept busy between two looks."""

    def __init__(self, busy: Callable[[], float] | None = None, own: Callable[[], float] = time.process_time) -> None:
        """`busy`: processor seconds of all programs so far, `own`: those of this process."""
        self._busy, self._own = busy or _busy_s, own
        self._before: tuple[float, float, float] | None = None

    def __call__(self, now: float) -> float:
        """Cores, from the last look to this one at the time `now` in seconds; 0 at the first."""
        seen, before = (now, self._busy(), self._own()), self._before
        self._before = seen
        if before is None or now <= before[0]:
            return 0.0
        return max(0.0, (seen[1] - before[1]) - (seen[2] - before[2])) / (now - before[0])


def _busy_s() -> float:
    times = psutil.cpu_times()
    # What a virtual machine was not given counts too; systems have some of these.
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal")))


class Pool:
    """The cores of one process's tasks, which are threads of it."""

    def __init__(
        self,
        cores: int,
        clock: Callable[[], float] = time.monotonic,
        others: Callable[[float], float] = lambda now: 0.0,
    ) -> None:
        """`others`: how many cores other programs keep busy, at a time of the clock; asked once a second at most."""
        self.cores = cores
        self._clock, self._lock, self._tasks = clock, threading.Lock(), list[Task]()
        self._others, self._looked, self._busy = others, clock(), others(clock())

    @contextmanager
    def task(self, limit: int) -> Iterator[Task]:
        """Make the calling thread a task that can use up to `limit` cores, for as long."""
        own = Task(limit, self, since=self._clock())
        with self._lock:
            self._tasks.append(own)
            self._share()
        _calling.task = own
        try:
            yield own
        finally:
            _calling.task = None
            with self._lock:
                self._share()
                self._tasks.remove(own)
                self._share()

    def look(self) -> None:
        """Share anew when some time has passed: other programs may have come or gone."""
        if self._clock() - self._looked >= _LOOK_S:
            with self._lock:
                self._share()

    def _share(self) -> None:
        now = self._clock()
        if now - self._looked >= _LOOK_S:
            self._looked, self._busy = now, self._others(now)
        # A little that others do is no reason to leave a core to them.
        free = math.floor(self.cores - self._busy + _LITTLE)
        for task, width in zip(self._tasks, shares(free, [t.limit for t in self._tasks]), strict=True):
            task._count(now)
            task.width = width


class _Calling(threading.local):
    task: Task | None = None


_calling = _Calling()


def width() -> int:
    """How many cores the calling thread's task has now; 1 outside of any.

    Raises CancelledError where nobody waits for the task any more: between two steps of its work it can end.
    """
    if _calling.task is None:
        return 1
    if _calling.task.unwanted():
        raise CancelledError("this step is not wanted any more")
    _calling.task.pool.look()
    return _calling.task.width


def share_torch_threads() -> None:
    """Let torch compute on as many cores, in this thread, as its task has now; outside of any task it keeps what it was told."""
    if _calling.task is None:
        return
    import torch

    # The count belongs to the thread. Asking comes first: a thread that has never asked takes, with its first sum, the count that was set
    # last in any thread, over its own (torch 2.14).
    wanted = width()
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Torch on one core in this thread meanwhile: over many small sums, two threads beside busy programs took ten times as long as one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def each(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """`work` of every item, in their order, on as many cores at once as the calling task has; raises what the first to fail raised.

    For work that leaves Python to itself (ONNX Runtime, numpy), on one thread each.
    """
    results: list[_Result] = []
    under_way: deque[Future[_Result]] = deque()
    limit = _calling.task.limit if _calling.task else 1
    if limit == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(limit, thread_name_prefix="each") as pool:
        try:
            for item in items:
                under_way.append(pool.submit(work, item))
                while len(under_way) >= width():
                    results.append(under_way.popleft().result())
            results += [future.result() for future in under_way]
        finally:
            for future in under_way:
                future.cancel()
    return results
