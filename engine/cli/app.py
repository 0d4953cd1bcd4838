"""`paretoscope app`: the dashboard."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from typing import Annotated

import typer

from engine.errors import SetupError
from engine.paths import DATA


def open_app(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the dashboard.")] = 8501,
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = False,
    address: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "localhost",
    hosts: Annotated[
        list[str], typer.Option("--host", metavar="NAME", help="A further name that browsers reach it by.")
    ] = [],  # noqa: B006
    folders: Annotated[
        list[str],
        typer.Option(
            "--folder", metavar="PATH", help="A folder that New sweep may read, and run Python of; may be repeated."
        ),
    ] = [],  # noqa: B006
) -> None:
    """Open the dashboard."""
    from engine.access import server_options
    from engine.paths import home
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store
    from engine.uploads.bounds import kept_at_most
    from engine.uploads.folders import VARIABLE, checked, listed

    # Better told here than by every page.
    Store.open()
    Artifacts.open().check()
    kept_at_most()
    readable = dict.fromkeys((*listed(), *checked(folders)))
    folder = home().absolute()
    options = server_options(address, tuple(hosts))
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SetupError(
                    f"cannot listen on {address}:{port} ({error.strerror}); give an address of this machine with --address"
                ) from None
            raise SetupError(f"port {port} is taken; choose another with `paretoscope app --port {port + 1}`") from None
    root = DATA.parent
    command = [sys.executable, "-m", "streamlit", "run", str(root / "app.py"), "--server.port", str(port), *options]
    print(f"Paretoscope: http://{address}:{port} (Ctrl+C ends it)", flush=True)
    command += ["--server.headless", str(headless).lower()]
    # Streamlit reads .streamlit/config.toml from where it is started, so a relative home has to be said in full.
    environment = {**os.environ, "PARETOSCOPE_HOME": str(folder), VARIABLE: os.pathsep.join(map(str, readable))}
    # The server's matrices are small: threads wait for each other, ten times as long as the work on cores that something else is using.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    if os.name == "posix":
        # In place of this process, so that whoever ends it ends the server.
        os.chdir(root)
        os.execve(sys.executable, command, environment)
    sys.exit(subprocess.call(command, cwd=root, env=environment))
