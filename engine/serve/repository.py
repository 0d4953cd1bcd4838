"""The models of a server: opened when they are asked for, the ones used longest ago making room for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError
from engine.serve.batching import Batcher
from engine.serve.errors import Busy, Malformed
from engine.serve.metrics import Metrics
from engine.serve.model import Model


@dataclass(frozen=True)
class Options:
    """What a server may use: threads a model, rows a run and rows that wait, bytes of all models, bytes of a request's body."""

    threads: int = 1
    largest_batch: int = 32
    waiting: int = 512
    memory: int = 2 << 30
    body: int = 64 << 20


@dataclass(eq=False)
class Loaded:
    """A model in memory with the queue before it, and how many requests use it now."""

    model: Model
    ask: Batcher
    users: int = 0


class Repository:
    """Models by name. Use it in one event loop, and close it."""

    def __init__(
        self, bundles: Mapping[str, Path], options: Options, metrics: Metrics, opened: Callable[..., Model] = Model
    ) -> None:
        self._bundles, self._options, self._metrics, self._opened = dict(bundles), options, metrics, opened
        self._loaded: dict[str, Loaded] = {}  # the one used longest ago first
        self._opening = asyncio.Lock()
        self.ready = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names, loaded or not."""
        return tuple(self._bundles)

    async def open_all(self) -> None:
        """Every bundle once, in order, so that a bad one is told before the first request; raises InputError."""
        for name in self._bundles:
            async with self.use(name):
                pass
        self.ready = True

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Loaded]:
        """A model for as long as a request needs it. Raises Malformed (404) for an unknown name, Busy where all memory is in use."""
        if name not in self._bundles:
            raise Malformed(f"there is no model {name[:80]!r} here; there are {', '.join(self._bundles)}", 404)
        loaded = self._loaded.get(name)
        if loaded is None:
            async with self._opening:
                loaded = self._loaded.get(name) or await self._load(name)
                loaded.users += 1
        else:
            loaded.users += 1
        self._loaded[name] = self._loaded.pop(name)
        try:
            yield loaded
        finally:
            loaded.users -= 1

    async def close(self) -> None:
        """Answer what waits, and forget all models."""
        self.ready = False
        for loaded in self._loaded.values():
            await loaded.ask.close()
        self._loaded.clear()

    async def _load(self, name: str) -> Loaded:
        model = await asyncio.to_thread(self._opened, self._bundles[name], self._options.threads, not self.ready)
        if model.bytes > self._options.memory:
            raise InputError(
                f"{name} takes {model.bytes / 1e6:,.0f} MB, and all models together may take {self._options.memory / 1e6:,.0f}; "
                "give --memory more"
            )
        await self._make_room(model.bytes)
        ran, run = self._metrics.batch.labels(name), model.run
        if model.settings.get("alone") and not model.fixed:
            run = model.one_by_one
        largest = self._options.largest_batch if model.shares_runs else None
        loaded = Loaded(model, Batcher(run, largest, self._options.waiting, ran.observe))
        self._metrics.loaded.labels(name).set(model.bytes)
        self._metrics.waiting.labels(name).set_function(lambda: loaded.ask.rows)
        self._loaded[name] = loaded
        return loaded

    async def _make_room(self, wanted: int) -> None:
        """Forget models that nobody uses, the one used longest ago first, until so many bytes are free."""
        while sum(one.model.bytes for one in self._loaded.values()) + wanted > self._options.memory:
            idle = next((name for name, one in self._loaded.items() if not one.users), None)
            if idle is None:
                raise Busy("all memory for models is in use; try again shortly")
            gone = self._loaded.pop(idle)
            await gone.ask.close()
            self._metrics.loaded.remove(idle)
            self._metrics.waiting.remove(idle)
            self._metrics.evictions.labels(idle).inc()
