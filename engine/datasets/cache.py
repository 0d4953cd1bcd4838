"""Data that are larger than memory should be: what of them is written under the home, once, to be read in parts.

Up to 256 MiB of inputs, as they are stored, are held in memory. Of more (`PARETOSCOPE_IN_MEMORY_MB`) nothing is ever there whole:
pictures, of files or of Parquet's columns, are decoded once, after resize and crop, as bytes into one file; numbers of a Parquet file
become rows of float32 in one; arrays of an `.npy`, and of an `.npz` that is not compressed, are read where they lie; compressed ones are
unpacked into a file. A split is then a list of places in such a file
(`engine/graph/on_disk.py`): sharing out, shuffling and cutting copy nothing, batches are read as they are asked for, and only these become
float32. Whatever looks at all items (checks, statistics, digests) does so in parts. Which items a split has, and every number, is the same
either way. A task that travels to a worker holds the spec alone; each process opens the files itself. Not so: labels and targets, the
numbers of a CSV and what a function returns, unless it is mapped, which are read into memory whole.

Files lie in `PARETOSCOPE_HOME/cache`, named by what they were made of (content, size, the code that decodes), written aside, flushed and
renamed, so that one that is there is whole. One process writes, others that want the same wait for it. Together they take at most 100 GB
(`PARETOSCOPE_CACHE_GB`): what was longest unused goes first, and what nobody used for 30 days goes when the next is written. A file that is
removed while it is read stays readable until it is closed. Nothing is lost for good: what is asked for again is made again.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from engine.errors import DatasetError, SetupError
from engine.graph.on_disk import OnDisk, opened_npy
from engine.paths import home

if sys.platform != "win32":
    import fcntl

_IN_MEMORY_MB, _CACHE_GB = 256.0, 100.0
_UNUSED_S = 30 * 24 * 3600
# A file that is being written longer than this belongs to a process that was killed.
_LEFT_S = 24 * 3600
# What is left free on the disk for everything else.
_SPARE = 1 << 30
_SUFFIX, _PARTIAL, _LOCK = ".npy", ".partial", ".lock"

Header = tuple[tuple[int, ...], np.dtype[np.generic]]
"""Shape and number type."""


def is_large(n_bytes: int) -> bool:
    """Whether inputs that take so many bytes stay on disk; SetupError where the bound is no number."""
    return n_bytes > _stated("PARETOSCOPE_IN_MEMORY_MB", _IN_MEMORY_MB, "megabytes") * (1 << 20)


def cache_folder() -> Path:
    """Where the files lie, made when missing."""
    folder = home() / "cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def cached(
    key: str, n_bytes: int, what: str, write: Callable[[IO[bytes]], None], header: Header | None = None
) -> OnDisk:
    """The array of a key, made by `write` where it is not there; `what` is what messages call it, `n_bytes` about what it takes.

    `header` is written first, None where `write` writes a whole .npy. Raises DatasetError where there is no room, and what `write` does.
    """
    folder = cache_folder()
    path = folder / f"{key}{_SUFFIX}"
    with _alone(folder / f"{key}{_LOCK}"):
        if not path.is_file():
            _make_room(folder, n_bytes, what)
            _written(path, what, write, header)
        # Used now; when it was written is how readers tell that it is still the same.
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return opened_npy(path, what)


def _written(path: Path, what: str, write: Callable[[IO[bytes]], None], header: Header | None) -> None:
    descriptor, name = tempfile.mkstemp(suffix=_PARTIAL, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if header is not None:
                shape, kind = header
                about = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(kind)}
                np.lib.format.write_array_header_1_0(file, about)
            write(file)
            file.flush()
            # A name that outlives a power cut without its content would be numbers that nobody measured.
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        raise DatasetError(
            f"{what} cannot be written to {path.parent} ({error.strerror}); free some of its disk, or set PARETOSCOPE_HOME to another"
        ) from None
    finally:
        Path(name).unlink(missing_ok=True)


def _make_room(folder: Path, n_bytes: int, what: str) -> None:
    """Remove what nobody used for long, and then as much as is needed; DatasetError where that is not enough."""
    check_bound(n_bytes, what)
    most = _most()
    for left in folder.glob(f"*{_PARTIAL}"):
        _remove(left, lambda unused: unused > _LEFT_S)
    entries = sorted(folder.glob(f"*{_SUFFIX}"), key=_used)
    for entry in entries:
        _remove(entry, lambda unused: unused > _UNUSED_S)
    for entry in entries:
        free = shutil.disk_usage(folder).free
        if taken(folder) + n_bytes <= most and n_bytes + _SPARE <= free:
            break
        _remove(entry, lambda unused: True)
    free = shutil.disk_usage(folder).free
    if n_bytes + _SPARE > free:
        raise DatasetError(
            f"{what} takes {n_bytes / 1e9:,.1f} GB under {folder}, whose disk has {free / 1e9:,.1f} free; free some, or set "
            "PARETOSCOPE_HOME to another"
        )


def check_bound(n_bytes: int, what: str) -> None:
    """Raises DatasetError where so many bytes are more than all files may take."""
    if n_bytes > _most():
        raise DatasetError(
            f"{what} takes {n_bytes / 1e9:,.3g} GB under {cache_folder()}, and at most {_most() / 1e9:,.3g} may lie there; allow more with "
            "PARETOSCOPE_CACHE_GB, or make items smaller (data.preprocess.resize and crop, for pictures)"
        )


def _most() -> float:
    return _stated("PARETOSCOPE_CACHE_GB", _CACHE_GB, "gigabytes") * 1e9


def taken(folder: Path | None = None) -> int:
    """Bytes that all files of the cache take."""
    return sum(_size(path) for path in (folder or cache_folder()).glob(f"*{_SUFFIX}"))


def freed() -> int:
    """Remove everything; the bytes that it took. Who reads a file keeps it until it is closed."""
    folder = cache_folder()
    n_bytes = taken(folder)
    for path in [*folder.glob(f"*{_SUFFIX}"), *folder.glob(f"*{_PARTIAL}"), *folder.glob(f"*{_LOCK}")]:
        path.unlink(missing_ok=True)
    return n_bytes


def _used(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_atime
    return 0.0


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _remove(path: Path, is_due: Callable[[float], bool]) -> None:
    if is_due(time.time() - _used(path)):
        path.unlink(missing_ok=True)
        path.with_suffix(_LOCK).unlink(missing_ok=True)


def _stated(name: str, usual: float, unit: str) -> float:
    said = os.environ.get(name, "")
    try:
        found = float(said) if said else usual
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise SetupError(f"{name} is {said!r}; give {unit}, a number")
    return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else, thread or process, writes what the lock file stands for; where there are no locks (Windows) two may write the same."""
    if sys.platform == "win32":
        yield
        return
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
