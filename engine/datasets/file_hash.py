"""SHA-256 of files, worked out once for as long as they are left alone: a forecast asks for them with every click."""

from __future__ import annotations

import hashlib
import os
import time
from functools import lru_cache
from pathlib import Path

from engine.errors import DatasetError

# A file that was written so lately may be written again within one tick of the clock that its times are taken from.
_SETTLED_NS = 2_000_000_000


def file_sha256(path: Path, called: str, remedy: str) -> str:
    """In hex; raises DatasetError, with what the file is `called` and the remedy, for one that cannot be read."""
    try:
        state = path.stat()
        if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) < _SETTLED_NS:
            return _sha256(os.fspath(path))
        return _of_state(os.fspath(path), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    except FileNotFoundError:
        raise DatasetError(f"{called} does not exist; {remedy}") from None
    except OSError as error:
        raise DatasetError(f"{called} cannot be read ({error.strerror}); {remedy}") from None


@lru_cache(maxsize=1 << 18)
def _of_state(path: str, *_state: int) -> str:
    return _sha256(path)


def _sha256(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
