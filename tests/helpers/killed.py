"""Programs that are killed and started again, and what is left of them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

# Told by every worker process of ours as it begins to work on a node, by the node's key; an answer that it finds is no work.
PRELOAD = """
import os, time
from engine.run import worker

def told(work):
    def begun(task, output):
        with open(os.environ["SOAK_BEGUN"], "a") as log:
            log.write(f"{time.time()} {task.node.key}\\n")
        return work(task, output)
    return begun

if not hasattr(worker, "soaked"):
    worker.soaked = True
    worker._WORK.update({kind: told(work) for kind, work in worker._WORK.items()})
"""


_LOOK_S = 10.0


class Service:
    """A program that is started again where it was killed."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._command, self._folder, self._environment = command, folder, environment
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with (self._folder / "services.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


def keep_up(services: Iterable[Service], scheduler: str, patience_s: float) -> None:
    """Start again what has ended by itself, as a worker does some time after its scheduler was killed, until a worker is there."""
    from distributed import Client

    until = time.monotonic() + patience_s
    while True:
        for service in services:
            if service.process is None or service.process.poll() is not None:
                service.start()
        try:
            with Client(scheduler, timeout=_LOOK_S, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=_LOOK_S)
            return
        except (OSError, TimeoutError):
            if time.monotonic() > until:
                raise


def half_written(folder: str) -> list[str]:
    """Names of what is not whole in a folder of artifacts."""
    return [name for _, _, names in os.walk(folder) for name in names if name.endswith(".part")]


def left_in(folder: Path) -> list[Path]:
    """What a folder for temporary files still has, but for the cache that torch keeps there for all processes of a user."""
    return [path for path in folder.iterdir() if not path.name.startswith("torchinductor_")]


def workers_of(parent: int) -> list[psutil.Process]:
    """The worker processes below a nanny: not what they started, and not Python's tracker of resources."""
    try:
        children = psutil.Process(parent).children(recursive=True)
        return [c for c in children if "spawn_main" in " ".join(c.cmdline())]
    except psutil.Error:
        return []


def left_of(begun: Path) -> list[psutil.Process]:
    """The processes that were started with this log of begun nodes in their environment, and are there."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.pid != os.getpid() and process.environ().get("SOAK_BEGUN") == str(begun)
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
