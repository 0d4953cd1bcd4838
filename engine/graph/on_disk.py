"""Numbers that stay in a file until somebody asks for some of them: what a split holds where its data are larger than memory should be.

Reading, not mapping: a mapped file's pages count as the process's memory, a file that is cut short under a mapping kills the process, and
one that is written anew under it changes numbers silently. Here each read asks whether the file is still what was opened.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from engine.errors import DatasetError

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]
View = Callable[[Array], Array]
"""Some items (n, …) as a file has them -> the same as they are wanted."""

CHUNK_BYTES = 8 << 20
"""About so much is read at a time by what goes through all items."""
_SEEKING = threading.Lock()


class NumbersFile:
    """An array (n, …), in C order, that begins somewhere in a file."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
        """Raises DatasetError where the file cannot be read or is too short."""
        self.path, self._offset, self.shape, self.kind = path, offset, shape, kind
        self._row = int(np.prod(shape[1:], dtype=np.int64)) * kind.itemsize
        try:
            self._file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise DatasetError(f"{path} cannot be read ({error.strerror}); make it readable") from None
        weakref.finalize(self, os.close, self._file)
        self._state = self._now()
        if self._state[0] < offset + shape[0] * self._row:
            raise DatasetError(f"{path} is cut short; save it again")

    def _now(self) -> tuple[int, int]:
        state = os.fstat(self._file)
        return state.st_size, state.st_mtime_ns

    def read(self, rows: Rows) -> Array:
        """These items, in this order; what lies side by side in one go. Raises DatasetError for a file that changed since it was opened."""
        found = np.empty((len(rows), *self.shape[1:]), self.kind)
        if not found.size:
            return found
        into = memoryview(found.reshape(-1).view(np.uint8).data)
        ends = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        for first, last in pairwise(ends):
            self._fill(into[first * self._row : last * self._row], self._offset + int(rows[first]) * self._row)
        if self._now() != self._state:
            raise self._changed()
        return found

    def _fill(self, into: memoryview, at: int) -> None:
        while into:
            try:
                n = _read_at(self._file, into, at)
            except OSError as error:
                raise DatasetError(f"{self.path} cannot be read ({error.strerror}); see to the disk") from None
            if not n:
                raise self._changed()
            into, at = into[n:], at + n

    def _changed(self) -> DatasetError:
        return DatasetError(f"{self.path} was changed while it was in use; leave it alone and run again")


def _read_at(file: int, into: memoryview, at: int) -> int:
    """Bytes that were read, fewer than asked for at the end of a file, or of what a system reads in one go."""
    if hasattr(os, "preadv"):
        return os.preadv(file, [into], at)
    with _SEEKING:
        os.lseek(file, at, os.SEEK_SET)
        found = os.read(file, min(len(into), CHUNK_BYTES))
    into[: len(found)] = found
    return len(found)


@final
class OnDisk:
    """Items (n, …) of a file. Indexing, by a number, a slice or numbers of items, reads them into an array; `part` and `turned` read
    nothing.
    """

    def __init__(self, file: NumbersFile, rows: Rows | None = None, view: View | None = None) -> None:
        self.file, self._view = file, view
        self._rows = np.arange(file.shape[0]) if rows is None else rows
        like = self._seen(np.empty((0, *file.shape[1:]), file.kind))
        self.shape: tuple[int, ...] = (len(self._rows), *like.shape[1:])
        self.dtype: np.dtype[Any] = like.dtype

    def _seen(self, items: Array) -> Array:
        with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, which whoever reads it looks for.
            return np.ascontiguousarray(items if self._view is None else self._view(items))

    def part(self, chosen: slice | Rows) -> OnDisk:
        """Some items, in this order, still on disk."""
        return OnDisk(self.file, self._rows[chosen], self._view)

    def turned(self, view: View) -> OnDisk:
        """The same items seen in another way, each by itself: another order of axes, another number type."""
        before = self._view
        return OnDisk(self.file, self._rows, view if before is None else lambda items: view(before(items)))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Axes, that of the items among them."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Numbers in all."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """What all would take in memory."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, chosen: int | np.integer[Any] | slice | Rows | Sequence[int]) -> Array:
        """One item (…), or some (n, …); raises DatasetError for a file that changed."""
        if isinstance(chosen, int | np.integer):
            found: Array = self._seen(self.file.read(self._rows[[int(chosen)]]))[0]
            return found
        rows = self._rows[chosen if isinstance(chosen, slice) else np.asarray(chosen)]
        return self._seen(self.file.read(rows))

    def __iter__(self) -> Iterator[Array]:
        """Each item (…)."""
        for some in self.chunks(CHUNK_BYTES):
            yield from some

    def chunks(self, n_bytes: int) -> Iterator[Array]:
        """All items, some (n, …) at a time, of about so many bytes."""
        step = max(1, n_bytes // max(1, self.nbytes // max(1, len(self))))
        for start in range(0, len(self), step):
            yield self[start : start + step]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """All of them, in memory."""
        found = self[:]
        return found if dtype is None else found.astype(dtype, copy=False)


def opened_npy(path: Path, what: str, offset: int = 0) -> OnDisk:
    """The array of an .npy, or of one that begins at `offset` of another file, left where it is.

    Raises DatasetError for Fortran order, whose items lie scattered; ValueError, as numpy does, for what is no array.
    """
    with path.open("rb") as file:
        file.seek(offset)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, kind = read(file)
        at = file.tell()
    if kind.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    if fortran and len(shape) > 1:
        raise DatasetError(f"{what} is in Fortran order, of which no part can be read; save np.ascontiguousarray of it")
    return OnDisk(NumbersFile(path, at, shape or (1,), kind))


def of_mapped(array: np.memmap[Any, Any]) -> OnDisk | None:
    """What a mapped array shows of its file, to be read instead; None for one whose items lie scattered in it, or that has no file."""
    if not array.flags.c_contiguous or not array.ndim or array.filename is None or array.mode == "c":
        return None
    whole = array._mmap  # type: ignore[attr-defined]  # which no stub knows
    begin = np.frombuffer(whole, np.uint8).__array_interface__["data"][0]
    # What is mapped begins at a whole page before the array that was asked for.
    at = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY + array.__array_interface__["data"][0] - begin
    return OnDisk(NumbersFile(Path(array.filename), at, array.shape, array.dtype))
