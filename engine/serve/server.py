"""A server in this process: bundles, a port, and the end of both."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import uvicorn

from engine.errors import InputError, SetupError
from engine.serve.app import make_app
from engine.serve.canary import Canary, canary_of
from engine.serve.metrics import Metrics
from engine.serve.repository import Options, Repository

SWITCH_S = 0.0002
"""How long one of the server's threads may keep the interpreter while another waits for it."""
GRACE_S = 30
"""How long requests that are being answered keep a server that was asked to stop."""


def named(bundles: Sequence[str]) -> dict[str, Path]:
    """`PATH` or `NAME=PATH` -> names and paths; a file's own name without its ending where none is given. Raises InputError."""
    found: dict[str, Path] = {}
    for text in bundles:
        name, _, path = text.rpartition("=") if not Path(text).exists() else ("", "", text)
        name = name or Path(path).stem
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise InputError(f"{name!r} cannot be a model's name in an address; give one: NAME={path}")
        if name in found:
            raise InputError(f"two models are called {name}; give one another name: NAME={path}")
        if not Path(path).is_file():
            raise InputError(f"{path} does not exist; give the path of a bundle")
        found[name] = Path(path)
    return found


def serve(
    bundles: Sequence[str],
    host: str,
    port: int,
    options: Options,
    canaries: Sequence[str] = (),
    told: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until a signal ends it: then no more is taken, and what is being answered is answered, for half a minute at most.

    `told` is given the address once the port is had. Raises InputError for bundles that are none, SetupError where the port cannot be had.
    """
    models = named(bundles)
    drawn = [canary_of(text, tuple(models)) for text in canaries]
    # asyncio turns Nagle's algorithm off, which would hold answers back for 40 ms, only where a socket says that it is TCP's.
    listening = socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise SetupError(f"cannot listen on {host}:{port} ({error.strerror}); choose another with --port") from None
    # uvicorn stops in good order at a first signal, and then raises it again: that is the end of the command, and no failure.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    # A model's thread that is done would wait up to 5 ms, many times what a small model takes, for the thread that reads requests.
    sys.setswitchinterval(SWITCH_S)
    with listening:
        asyncio.run(_served(models, listening, options, drawn, told))


async def _served(
    bundles: Mapping[str, Path],
    listening: socket.socket,
    options: Options,
    canaries: Sequence[Canary],
    told: Callable[[str], None],
) -> None:
    metrics = Metrics()
    models = Repository(bundles, options, metrics)
    await models.open_all()
    try:
        app = make_app(models, metrics, options, canaries)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE_S
        )
        host, port = listening.getsockname()[:2]
        told(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        await uvicorn.Server(config).serve(sockets=[listening])
    finally:
        await models.close()
