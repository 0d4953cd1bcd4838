"""Which process runs a sweep, and whether it is still there: known at once where it ran here, elsewhere only by its silence."""

from __future__ import annotations

import os
import socket
import uuid
from functools import cache
from pathlib import Path

import psutil


def shown() -> str:
    """This process as people read it."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def this_process() -> str:
    """This process among all that ever ran anywhere: boot and namespace that its number counts in, the number, and when it started."""
    return f"{_place()} {os.getpid()} {_started(os.getpid())}"


def this_run() -> str:
    """This process, and one run of the runs in it: another each time."""
    return f"{this_process()} {uuid.uuid4().hex[:16]}"


def still_there(process: str | None) -> bool | None:
    """Whether the process of an earlier `this_process` or `this_run` lives; None where that cannot be seen from here: another host, another
    container, not noted.
    """
    parts = (process or "").split(" ")
    if len(parts) not in (3, 4) or parts[0] != _place():
        return None
    return _started(int(parts[1])) == parts[2]


@cache
def _place() -> str:
    """Containers of one host count their processes each for itself, and may have one name; every boot counts anew."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()}/{psutil.boot_time():.0f}".replace(" ", "_")


def _started(pid: int) -> str | None:
    """When a process began, in a form that no change of the clock moves where the system has one; None for one that has ended.

    Numbers are given out again, so the number alone says nothing. One that was killed and not waited for yet has ended.
    """
    try:
        # After the name, which may hold anything: state is the first field, the ticks from boot to start the twentieth (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return None
