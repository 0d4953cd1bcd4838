"""A Dask cluster of real processes, as a team starts one on its hosts: a scheduler, and workers in folders and with homes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.helpers.places import ROOT


class DaskProcesses:
    """A scheduler, from the beginning, and what is started beside it; all are gone with the context, however that ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file, self._started = folder / "scheduler.json", dict[str, subprocess.Popen[bytes]]()
        (folder / "locks").mkdir()

    def __enter__(self) -> Self:
        self._start("scheduler", "", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        return self

    def worker(self, name: str, unlike: str = "", resources: str = "cpu=1") -> None:
        """Start a worker. `unlike`: Python that its process begins with, by which it differs from others."""
        command = ("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60")
        # Without a scheduler it ends by itself, so that tests that are killed leave none for ever.
        self._start(name, unlike, *command, "--name", name, "--resources", resources)

    def address(self, workers: int) -> str:
        """The scheduler's address, once it has so many workers."""
        from distributed import Client

        with Client(scheduler_file=str(self._file), timeout=120, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)
            return str(client.scheduler.address)

    def kill(self, name: str) -> None:
        """As a host that loses power."""
        self._started[name].kill()
        self._started[name].wait()

    def _start(self, name: str, unlike: str, *command: str) -> None:
        own = self.folder / name
        own.mkdir()
        paths = [str(ROOT)]
        if unlike:
            (own / "unlike").mkdir()
            (own / "unlike" / "sitecustomize.py").write_text(unlike)
            paths.insert(0, str(own / "unlike"))
        told = {"PARETOSCOPE_HOME": str(own / "home"), "PARETOSCOPE_HOST_LOCK": str(self.folder / "locks")}
        environment = os.environ | told | {"PYTHONPATH": os.pathsep.join(paths)}
        with (own / "log").open("w") as log:
            full = [sys.executable, "-m", "dask", *command, "--scheduler-file", str(self._file)]
            self._started[name] = subprocess.Popen(full, cwd=own, env=environment, stdout=log, stderr=log)

    def __exit__(self, *_: object) -> None:
        # The scheduler last: a worker that is told to end as its scheduler leaves may do neither (distributed 2026).
        for process in reversed(self._started.values()):
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()
                process.wait()
