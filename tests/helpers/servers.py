"""A PostgreSQL and an S3 server of the tests' own, on free ports of this host, gone with the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

USER = "postgres"


def missing(what: str, remedy: str) -> None:
    """Skip, or fail where servers are required."""
    message = f"no {what} found; {remedy}"
    if os.environ.get("PARETOSCOPE_REQUIRE_SERVERS", "") not in {"", "0"}:
        pytest.fail(message)
    pytest.skip(message)


def postgres_programs() -> Path | None:
    """Debian keeps initdb and postgres off the PATH."""
    named = shutil.which("initdb")
    places = [Path(named).parent] if named else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else None


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server, without a database: `postgresql://postgres@127.0.0.1:PORT`."""
    programs = postgres_programs()
    if programs is None:
        missing("PostgreSQL", "install it (Debian: apt-get install postgresql) to run its tests")
        return
    # PostgreSQL refuses to run as root; Debian's package makes a user for it.
    as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="paretoscope-postgres-"))
    try:
        if as_user:
            shutil.chown(folder, USER)
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run([*as_user, *map(str, initdb)], cwd=folder, check=True, capture_output=True)
        port = free_port()
        options = ["-c", f"unix_socket_directories={folder}", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
        started = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", port, *options]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*as_user, *map(str, started)], cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            _wait_for(port, server, folder / "log")
            yield f"postgresql://{USER}@127.0.0.1:{port}"
        finally:
            # Its own child under runuser is the server, so that one is told.
            pid = (data / "postmaster.pid").read_text().split()[0] if (data / "postmaster.pid").exists() else None
            # At once: nobody needs what is in it, and writing that out takes long on a busy disk.
            os.kill(int(pid or server.pid), signal.SIGQUIT)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(f"postgresql://{USER}@127.0.0.1:{port}/postgres", connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)


def new_schema(server: str, name: str) -> str:
    """The URL of an empty schema, which is all that its connections see: a database of its own takes a thousand files."""
    import psycopg

    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')  # type: ignore[arg-type]
    return f"{server}/postgres?options=-csearch_path%3D{name}".replace("postgresql:", "postgresql+psycopg:")


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The address of an S3 server that keeps all in memory."""
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        missing("moto", "pip install 'paretoscope[dev]' brings it")
        return
    server = ThreadedMotoServer("127.0.0.1", port=free_port(), verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        threading.Thread(target=server.stop, daemon=True).start()


def free_port() -> int:
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
