"""Requests that wait while the model runs go through it together next.

Nothing is held back for company: an idle model runs a lone request at once, a busy one finds a batch waiting when it is done. So a batch
forms exactly when it buys something, and no delay is there to be tuned.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.serve.errors import Busy, Malformed, Refused

Array = npt.NDArray[Any]
Run = Callable[[Mapping[str, Array]], list[Array]]


def rows_of(inputs: Mapping[str, Array]) -> int:
    """How many rows each input has; raises Malformed where they differ."""
    rows = {name: len(array) for name, array in inputs.items()}
    if len(set(rows.values())) > 1:
        said = ", ".join(f"{name} has {n}" for name, n in rows.items())
        raise Malformed(f"each input needs the same number of rows; {said}")
    return next(iter(rows.values()))


@dataclass(eq=False)
class _Asked:
    inputs: Mapping[str, Array]
    rows: int
    kind: tuple[object, ...]
    answer: asyncio.Future[list[Array]]


class Batcher:
    """A queue of at most `waiting` rows before one model, of which up to `largest` go through `run` at a time, in a thread of its own.

    With `largest` None every request is a run of its own, whole, whatever its outputs look like. `ran` is told the rows of every run.
    Requests of unlike shapes or types never share one. Use it in one event loop, and close it.
    """

    def __init__(
        self, run: Run, largest: int | None, waiting: int, ran: Callable[[int], None] = lambda rows: None
    ) -> None:
        self._run, self._largest, self._waiting, self._ran = run, largest, waiting, ran
        self._queue: deque[_Asked] = deque()
        self._pool = ThreadPoolExecutor(1, "model")
        self._wake = asyncio.Event()
        self._work = asyncio.create_task(self._worked())

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return sum(asked.rows for asked in self._queue)

    async def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        """All outputs for the inputs (rows, …) of one request. Raises Busy where the queue has no room for it, Malformed for
        inputs of unlike many rows, of which some would meet another request's, Refused as `run` does.
        """
        rows = rows_of(inputs) if self._largest else len(next(iter(inputs.values())))
        if self._queue and self.rows + rows > self._waiting:
            raise Busy(f"{self.rows} rows wait already and {self._waiting} may; try again shortly")
        kind = tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(inputs.items()))
        asked = _Asked(inputs, rows, kind, asyncio.get_running_loop().create_future())
        self._queue.append(asked)
        self._wake.set()
        return await asked.answer

    async def close(self) -> None:
        """End once nothing waits any more."""
        while self._queue:
            await asyncio.sleep(0.005)
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown)

    async def _worked(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while some := self._next():
                # Shielded: a run cannot be stopped halfway, so who closes waits for it.
                await asyncio.shield(loop.run_in_executor(self._pool, self._answered, some, loop))

    def _next(self) -> list[_Asked]:
        """The request that waits longest, and those like it that fit beside it; nobody waits for those who have gone."""
        self._queue = deque(asked for asked in self._queue if not asked.answer.done())
        if not self._queue:
            return []
        some, rows = [first := self._queue.popleft()], first.rows
        for asked in tuple(self._queue) if self._largest else ():
            if asked.kind == first.kind and rows + asked.rows <= (self._largest or 0):
                some.append(asked)
                rows += asked.rows
                self._queue.remove(asked)
        return some

    def _answered(self, some: list[_Asked], loop: asyncio.AbstractEventLoop) -> None:
        """In the model's thread: run them, and tell each its part."""
        try:
            outputs = self._outputs([asked.inputs for asked in some])
        except Exception as error:
            if len(some) > 1:  # One of them may be to blame: each alone.
                for asked in some:
                    self._answered([asked], loop)
                return
            told = error if isinstance(error, Refused) else Refused(500, f"the model failed: {type(error).__name__}")
            loop.call_soon_threadsafe(_tell, some[0].answer, told)
            return
        if len(some) == 1:
            loop.call_soon_threadsafe(_tell, some[0].answer, outputs)
            return
        start = 0
        for asked in some:
            part = [output[start : start + asked.rows] for output in outputs]
            start += asked.rows
            loop.call_soon_threadsafe(_tell, asked.answer, part)

    def _outputs(self, inputs: list[Mapping[str, Array]]) -> list[Array]:
        joined = inputs[0] if len(inputs) == 1 else {n: np.concatenate([one[n] for one in inputs]) for n in inputs[0]}
        rows = len(next(iter(joined.values())))
        parts, size = [], self._largest or rows
        for start in range(0, rows, size):
            some = {name: array[start : start + size] for name, array in joined.items()}
            parts.append(self._run(some))
            self._ran(len(next(iter(some.values()))))
        return parts[0] if len(parts) == 1 else [np.concatenate(output) for output in zip(*parts, strict=True)]


def _tell(answer: asyncio.Future[list[Array]], told: list[Array] | Exception) -> None:
    if answer.done():  # who asked has gone
        return
    if isinstance(told, Exception):
        answer.set_exception(told)
    else:
        answer.set_result(told)
