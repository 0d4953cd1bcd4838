"""Temporary files that belong to a process as long as it lives: what killed ones left behind, the next one removes.

A folder is locked by its owner. The kernel lets go of that lock however the process ends, so a folder that can be locked is nobody's.
Where there are no such locks (Windows, some network filesystems), nothing is removed that another process left. Some filesystems of several
hosts keep locks to each host (Lustre with `localflock`, NFS with `local_lock` or `nolock`): there a folder of another host looks like
nobody's, so it is left alone for a day.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_NAME, _COMING = "paretoscope-scratch-", ".paretoscope-scratch-"
# So long a folder may be without its lock, between its making and its locking.
_COMING_S = 3600.0
# So long one that another host has made, by the time of its last file.
_ELSEWHERE_S = 86_400.0


@contextmanager
def scratch_folder(place: Path | None = None) -> Iterator[Path]:
    """A folder of this process's own, gone with the block; one whose process was killed is removed by the next that asks for one.

    It is made in `place`, a folder, or where the system keeps temporary files.
    """
    place = place or Path(tempfile.gettempdir())
    remove_left(place)
    made = Path(tempfile.mkdtemp(prefix=f"{_COMING}{_kernel()}-", dir=place))
    lock = _locked(made)
    # Under a name that is looked at only now that it is locked.
    folder = made.rename(place / (_NAME + made.name.removeprefix(_COMING)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@cache
def own_temporary_files() -> None:
    """From now on this process's temporary files are in a scratch folder, until it ends; other programs that it starts are not told."""
    stack = ExitStack()
    tempfile.tempdir = str(stack.enter_context(scratch_folder()))
    atexit.register(stack.close)


def remove_left(place: Path) -> None:
    """Remove the scratch folders in `place` of this user's processes that have ended."""
    if sys.platform == "win32":
        return
    for folder in (*place.glob(f"{_NAME}*"), *place.glob(f"{_COMING}*")):
        try:
            about = folder.lstat()
        except OSError:
            continue
        # One that is still to be locked is left alone for an hour, whichever way the clock was set.
        own = f"{_kernel()}-" in folder.name
        alone_s = _ELSEWHERE_S if not own else _COMING_S if folder.name.startswith(_COMING) else 0.0
        if about.st_uid != os.geteuid() or abs(time.time() - about.st_mtime) < alone_s:
            continue
        lock = _locked(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


@cache
def _kernel() -> str:
    """What a lock is sure to hold in: one boot of one host, with all containers on it."""
    try:
        whole = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        whole = socket.gethostname()
    return hashlib.sha256(whole.encode()).hexdigest()[:8]


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the lock of a folder; None where another has it, or there is none to be had."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
