"""A module of ours in a process with limits on memory, processor time, time and the files that it writes.

Linux holds all of them; where an operating system has no limit of a kind, that one is not held.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
"""Where such a process runs."""
_MOST_OUTPUT = 64 << 20
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""Of our environment, what a process needs that is shown nothing else of it."""


@dataclass(frozen=True)
class Limits:
    """What a process takes at most; `memory_bytes` counts what it may write to, not the libraries that it maps."""

    memory_bytes: int
    cpu_s: int
    wall_s: float
    file_bytes: int


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, None where its time was over; what it printed, and what it printed as errors."""

    code: int | None
    output: str
    errors: str

    def overstepped(self, limits: Limits) -> str | None:
        """Which limit ended it, `more than 120 s`, or a signal; None where it ended by itself."""
        if self.code is None:
            return f"more than {limits.wall_s:.0f} s"
        if self.code >= 0:
            return None
        found = {-signal.SIGXCPU: f"more than {limits.cpu_s} s of computing"} if hasattr(signal, "SIGXCPU") else {}
        if self.code == -getattr(signal, "SIGXFSZ", 0):
            return f"more than {limits.file_bytes / 1e9:.1f} GB of disk"
        return found.get(self.code, f"down the process that reads it (signal {-self.code})")


def run_limited(
    module: str,
    arguments: Sequence[str],
    limits: Limits,
    environment: Mapping[str, str] | None = None,
    told: Callable[[str], bool] = lambda line: False,
) -> Ended:
    """Run `python -m module arguments` and wait; lines that it prints and that `told` takes (True) are not of the output.

    Its environment is ours only where it is given. Whatever ends the wait ends the process, and all that it started.
    """
    output: list[str] = []
    length = 0
    with tempfile.TemporaryFile() as errors:
        process: subprocess.Popen[str] = subprocess.Popen(
            command(module, arguments, limits),
            cwd=ROOT,
            env=surroundings(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            end(process)

        timer = threading.Timer(limits.wall_s, stop)
        timer.start()
        try:
            assert process.stdout is not None
            while line := process.stdout.readline(_MOST_OUTPUT):
                if not told(line):
                    output.append(line)
                    length += len(line)
                if length > _MOST_OUTPUT:
                    break
            else:
                process.wait()
        finally:
            timer.cancel()
            end(process)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        errors.seek(0)
        said = errors.read(1 << 20).decode("utf-8", errors="replace")
    return Ended(None if late.is_set() else process.returncode, "".join(output), said)


def command(module: str, arguments: Sequence[str], limits: Limits) -> list[str]:
    """What starts `python -m module arguments` with these limits, but for the time, which is the starter's to hold."""
    given = (limits.memory_bytes, limits.cpu_s, limits.file_bytes)
    return [sys.executable, "-m", __name__, *map(str, given), module, *arguments]


def surroundings(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of such a process: of ours what it cannot do without, unless another one is given."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    known = dict(passed if environment is None else environment)
    known["PYTHONPATH"] = os.pathsep.join(p for p in (str(ROOT), known.get("PYTHONPATH", "")) if p)
    # Threads of libraries reserve memory, each.
    return known | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def end(process: subprocess.Popen[Any]) -> None:
    """End a process, where it still runs, and all that it started; it leads a group of its own."""
    if process.poll() is not None:
        return  # its number may be another one's by now
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _enter(memory: int, cpu_s: int, file_bytes: int) -> None:
    """From here on this process has limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = {
        "RLIMIT_DATA": (memory, memory),
        "RLIMIT_CPU": (cpu_s, cpu_s + 5),
        "RLIMIT_FSIZE": (file_bytes, file_bytes),
        "RLIMIT_CORE": (0, 0),
    }
    for name, (soft, hard) in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (soft, hard))


if __name__ == "__main__":
    numbers, (called, *rest) = [int(text) for text in sys.argv[1:4]], sys.argv[4:]
    _enter(*numbers)
    sys.argv = [called, *rest]
    runpy.run_module(called, run_name="__main__", alter_sys=True)
