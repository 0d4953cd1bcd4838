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
from typing import Any

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


class Postgres:
    """A server with its data in a folder; what it has said is in `log` there. Killed, it can be started again."""

    def __init__(self, folder: Path, programs: Path) -> None:
        # PostgreSQL refuses to run as root; Debian's package makes a user for it.
        self._as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        self.folder, self._programs, self.port = folder, programs, free_port()
        self.process: subprocess.Popen[bytes] | None = None
        if self._as_user:
            shutil.chown(folder, USER)
        initdb = ["initdb", "-D", self._data, "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        self._run(initdb, check=True, capture_output=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _run(self, command: list[str | Path], **options: Any) -> None:
        subprocess.run(self._command(command), cwd=self.folder, **options)

    def _command(self, command: list[str | Path]) -> list[str]:
        return [*self._as_user, str(self._programs / command[0]), *map(str, command[1:])]

    @property
    def url(self) -> str:
        """Without a database: `postgresql://postgres@127.0.0.1:PORT`."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}"

    def start(self) -> None:
        options = ["-c", f"unix_socket_directories={self.folder}", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
        command = self._command(["postgres", "-D", self._data, "-h", "127.0.0.1", "-p", str(self.port), *options])
        log = self.folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        _wait_for(self.port, self.process, log)

    def end(self, how: int = signal.SIGQUIT) -> None:
        """At once: nobody needs what is in it, and writing that out takes long on a busy disk."""
        assert self.process is not None
        # Its own child under runuser is the server, so that one is told.
        known = self._data / "postmaster.pid"
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(known.read_text().split()[0]) if known.exists() else self.process.pid, how)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server, without a database: `postgresql://postgres@127.0.0.1:PORT`."""
    with postgres() as server:
        yield server.url


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A server that runs."""
    programs = postgres_programs()
    if programs is None:
        missing("PostgreSQL", "install it (Debian: apt-get install postgresql) to run its tests")
        return
    folder = Path(tempfile.mkdtemp(prefix="paretoscope-postgres-"))
    try:
        server = Postgres(folder, programs)
        server.start()
        try:
            yield server
        finally:
            server.end()
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
