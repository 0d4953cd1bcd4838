"""One host, several workers: who times is alone on it, waits for its turn and gets it, and nobody's death holds it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import SetupError
from engine.run.host_lock import host_held
from tests.helpers.places import ROOT

WORKER = """
import sys, time
from engine.run.host_lock import host_held
with host_held(sys.argv[1] == "alone", lambda: print("waits", flush=True)):
    print("holds", flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""


class Worker:
    """Another process that computes or times until it is told to end."""

    def __init__(self, how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, how],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.says() == "left"

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETOSCOPE_HOST_LOCK", str(tmp_path))
    return tmp_path


@pytest.fixture
def started() -> Iterator[list[Worker]]:
    workers: list[Worker] = []
    yield workers
    for worker in workers:
        worker.close()


def start(started: list[Worker], how: str) -> Worker:
    started.append(Worker(how))
    return started[-1]


def test_two_processes_compute_beside_each_other_and_one_times_alone(started: list[Worker]):
    one, two = start(started, "shared"), start(started, "shared")
    assert one.says() == two.says() == "holds"
    times = start(started, "alone")
    assert times.says() == "waits"
    one.end()
    # It came before this one, so it is first, although another that computes is still there to compute beside.
    late = start(started, "shared")
    assert late.says() == "waits"
    two.end()
    assert times.says() == "holds"
    also = start(started, "alone")
    assert also.says() == "waits"
    times.end()
    # Either of those who wait may be next, and both come to their turn.
    for waiting in (late, also):
        waiting.process.stdin.write("\n")
        waiting.process.stdin.flush()
    for waiting in (late, also):
        # It may say once more that it waits, where the other was quicker.
        assert waiting.process.communicate(timeout=60)[0].split()[-2:] == ["holds", "left"]


@pytest.mark.parametrize("how", ["alone", "shared"])
def test_a_killed_process_holds_nothing(started: list[Worker], how: str):
    dead = start(started, how)
    assert dead.says() == "holds"
    waiting = start(started, "alone")
    assert waiting.says() == "waits"
    dead.process.send_signal(signal.SIGKILL)
    assert waiting.says() == "holds"


def test_threads_of_one_process_keep_each_other_out_too():
    seen: list[str] = []

    def compute() -> None:
        with host_held(False, lambda: seen.append("waits")):
            seen.append("computes")

    with host_held(True):
        thread = threading.Thread(target=compute)
        thread.start()
        while not seen:
            time.sleep(0.01)
        assert seen == ["waits"]
    thread.join()
    assert seen == ["waits", "computes"]


def test_a_file_that_was_cleaned_away_while_somebody_waited_is_not_what_is_locked(folder: Path):
    order: list[str] = []

    def time_it() -> None:
        with host_held(True, lambda: order.append("waits")):
            order.append("times")
            assert (folder / "paretoscope-host.lock").exists()

    with host_held(True):
        thread = threading.Thread(target=time_it)
        thread.start()
        while not order:
            time.sleep(0.01)
        for file in folder.iterdir():
            file.unlink()
    thread.join()
    assert order[-1] == "times"


def test_lock_files_can_be_read_by_every_user_and_nothing_else_is_left(folder: Path):
    before = os.umask(0o077)
    try:
        with host_held(False):
            pass
    finally:
        os.umask(before)
    assert {f.name: f.stat().st_mode & 0o777 for f in folder.iterdir()} == {
        "paretoscope-gate.lock": 0o644,
        "paretoscope-host.lock": 0o644,
    }


def test_a_folder_that_cannot_be_used_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("PARETOSCOPE_HOST_LOCK", str(folder / "file"))
    with pytest.raises(SetupError, match=r"set PARETOSCOPE_HOST_LOCK to a folder"), host_held(False):
        pass
