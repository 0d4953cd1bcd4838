"""A server of bundles in the test's own event loop, without a port, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from engine.serve.app import make_app
from engine.serve.canary import Canary
from engine.serve.metrics import Metrics
from engine.serve.model import Model
from engine.serve.repository import Options, Repository


@asynccontextmanager
async def serving(
    bundles: Mapping[str, Path],
    options: Options | None = None,
    canaries: Sequence[Canary] = (),
    opened: Callable[..., Model] = Model,
) -> AsyncIterator[httpx.AsyncClient]:
    metrics, options = Metrics(), options or Options()
    models = Repository(bundles, options, metrics, opened)
    await models.open_all()
    transport = httpx.ASGITransport(make_app(models, metrics, options, canaries))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            yield client
    finally:
        await models.close()


def with_server(bundles: Mapping[str, Path], ask: Callable[[httpx.AsyncClient], Awaitable[Any]], **options: Any) -> Any:
    """What `ask` returns of a server that lives as long as it runs."""

    async def run() -> Any:
        async with serving(bundles, **options) as client:
            return await ask(client)

    return asyncio.run(run())


def posted(bundles: Mapping[str, Path], path: str, **request: Any) -> httpx.Response:
    """The answer to one POST."""
    return with_server(bundles, lambda client: client.post(path, **request))
