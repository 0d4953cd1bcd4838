"""Nothing of ours computes on a host while something is timed there, whichever worker, run or user either belongs to.

Two lock files stand for the host. Who computes shares the lock `host`, who times holds it alone. Both pass the lock `gate` first, and who
times keeps that too: nobody new begins to compute while a measurement waits, so that it comes to its turn. The kernel lets go of the
locks of a process that ends, however it ends; where there are none to be had (Windows), the workers of one host time beside each other.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.errors import SetupError

if sys.platform != "win32":
    import fcntl

_GATE, _HOST = "paretoscope-gate.lock", "paretoscope-host.lock"


def lock_folder() -> Path:
    """Where the lock files are: `PARETOSCOPE_HOST_LOCK`, for containers of one host a folder that they share, or else /tmp.

    Not the folder for temporary files, which may be a user's own.
    """
    return Path(os.environ.get("PARETOSCOPE_HOST_LOCK") or "/tmp")


@contextmanager
def host_held(alone: bool, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Share the host with others that compute, or have it `alone`, for as long.

    `on_wait` is called before waiting, where it must wait. Raises SetupError when the lock files cannot be opened.
    """
    if sys.platform == "win32":
        yield
        return
    with ExitStack() as held:
        gate = held.enter_context(_locked(lock_folder() / _GATE, alone, on_wait))
        held.enter_context(_locked(lock_folder() / _HOST, alone, on_wait))
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@contextmanager
def _locked(path: Path, alone: bool, on_wait: Callable[[], None]) -> Iterator[int]:
    """The descriptor of a file that is locked for as long; each has an own one, so that threads keep each other out as processes do."""
    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    while True:
        descriptor = _opened(path)
        try:
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(descriptor, how)
            if _is_there(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _opened(path: Path) -> int:
    """Reading is enough to lock, so that every user of the host can. Raises SetupError."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(2):
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _refused(path, error) from None
        # A name of its own, and then that of all: whoever finds the file can read it.
        own = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            os.close(os.open(own, flags | os.O_CREAT | os.O_EXCL, 0o644))
            own.chmod(0o644)
            os.link(own, path)
        except FileExistsError:
            pass
        except OSError as error:
            raise _refused(path, error) from None
        finally:
            own.unlink(missing_ok=True)
    return os.open(path, flags)


def _refused(path: Path, error: OSError) -> SetupError:
    return SetupError(
        f"the lock file {path}, which keeps others from computing while something is timed, cannot be opened ({error.strerror}); "
        "set PARETOSCOPE_HOST_LOCK to a folder that can be written"
    )


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether the locked file is still the one of that name: a cleaner of old files may have removed it meanwhile."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
