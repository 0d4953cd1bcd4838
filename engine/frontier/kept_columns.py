"""A sweep's columns, read once and kept ready in files beside the store: 100,000 recipes are there at once, not after half a minute.

Every row of a file carries the stamp of the record that it was made of (`engine/store/stamps.py`). What the store says is asked each time,
and a row counts only where its stamp is that of the store: position, revision and digest of the record. So a file may be old, of a home
that was copied or put back, of a sweep that was deleted and run anew, or written by two processes at once: rows that hold are taken from
it, all others are read. While a sweep runs its new rows are added as files of their own, which become one when there are many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from engine.frontier.columns import Rows, Trials
from engine.frontier.dominance import Bools
from engine.frontier.stored_columns import Block, stored_trials
from engine.store.stamps import HALF, PART, Stamp, Total
from engine.store.store import Store

if TYPE_CHECKING:
    from engine.frontier.column_format import Stamps
    from engine.store.column_files import ColumnFiles

LEAST_KEPT = 200
"""Records of a smaller sweep are read in less time than a file takes to find."""
_SHARE_ADDED = 50
"""New rows become a file when they are this part of all, one fiftieth: so a sweep that runs is not written with every recipe."""
_MOST_FILES = 8


@dataclass(frozen=True)
class _Rows:
    """Columns and the stamps of their records; `path` of the file that they are in, None where they have been read."""

    stamps: Stamps
    block: Block
    path: Path | None = None


class SweepColumns:
    """The columns of one sweep, as last read; safe to share between threads, since nothing in them changes."""

    def __init__(self, store: Store, sweep_id: str) -> None:
        """Nothing is read yet."""
        self._store, self._sweep_id = store, sweep_id
        self._lock = Lock()
        self._now = _Rows(_no_stamps(), Block.of(()))
        self._kept = np.empty(0, np.bool_)
        self._files: dict[Path, int] | None = None

    def read(self) -> Trials:
        """Every recipe as the store has it now, by position, as columns."""
        with self._lock:
            self._bring_up_to_date()
            return stored_trials(self._now.block, partial(self._store.trials_by_id, self._sweep_id))

    def keep(self) -> None:
        """Write down what is in no file yet, however little it is, and all in one file; for the end of a run."""
        if self._store.stamps.total(self._sweep_id)[0] < LEAST_KEPT:
            return
        with self._lock:
            self._bring_up_to_date()
            if len(self._files or ()) > 1 or not self._kept.all():
                self._write(least=0, whole=True)

    def _bring_up_to_date(self) -> None:
        total = self._store.stamps.total(self._sweep_id)
        if total == total_of(self._now.stamps):
            return
        known = [self._now]
        if self._files is None:
            known += _from_files(self._column_files()) if total[0] >= LEAST_KEPT else []
            self._files = {rows.path: len(rows.stamps) for rows in known if rows.path}
            whole = next((rows for rows in known if total_of(rows.stamps) == total), None)
            if whole is not None:
                self._now, self._kept = whole, np.ones(total[0], np.bool_)
                return
        self._merge(known, np.array(self._store.stamps.of(self._sweep_id), np.int64).reshape(-1, 3))
        self._write(least=max(LEAST_KEPT, len(self._kept) // _SHARE_ADDED))

    def _merge(self, known: list[_Rows], wanted: Stamps) -> None:
        """The rows that the store has, from what is known and, for the rest, from its records."""
        source = np.full(len(wanted), -1, np.intp)
        first = 0
        for rows in known:
            found = _places(rows.stamps, wanted)
            source = np.where(found >= 0, found + first, source)
            first += len(rows.stamps)
        read = self._read(wanted[source < 0, 0], len(wanted))
        place = _places_by_position(read.stamps, wanted)
        source = np.where((source < 0) & (place >= 0), place + first, source)
        parts = [*known, read]
        # A record that is gone since its stamp was read is in none of them.
        taken = source[source >= 0]
        in_file = np.concatenate([_is_kept(part, self._kept if part is self._now else None) for part in parts])
        stamps = np.concatenate([part.stamps for part in parts])[taken]
        self._now = _Rows(stamps, _taken([part.block for part in parts], taken))
        self._kept = in_file[taken]

    def _read(self, positions: Stamps, total: int) -> _Rows:
        stamps: list[Stamp] = []

        def texts(found: Iterable[tuple[Stamp, str]]) -> Iterator[str]:
            for stamp, text in found:
                stamps.append(stamp)
                yield text

        few = None if len(positions) > total // 2 else positions.tolist()
        block = Block.of(texts(self._store.stamps.records(self._sweep_id, few)))
        return _Rows(np.array(stamps, np.int64).reshape(-1, 3), block)

    def _write(self, least: int, whole: bool = False) -> None:
        new = np.flatnonzero(~self._kept)
        if len(self._kept) < LEAST_KEPT or len(new) < least:
            return
        files = self._files or {}
        rewritten = whole or len(files) >= _MOST_FILES or sum(files.values()) > 2 * len(self._kept)
        rows = _Rows(self._now.stamps, self._now.block)
        if not rewritten and len(new) < len(self._kept):
            rows = _Rows(rows.stamps[new], rows.block.take(new))
        path = _to_file(self._column_files(), rows)
        if path is None:
            return
        if len(rows.stamps) == len(self._kept):
            # All that is in the others is in this one, or holds no more.
            self._column_files().remove(files.keys() - {path})
            files = {}
        self._files = {**files, path: len(rows.stamps)}
        self._kept = np.ones(len(self._kept), np.bool_)

    def _column_files(self) -> ColumnFiles:
        return self._store.columns.files(self._sweep_id, _version())


def total_of(stamps: Stamps) -> Total:
    """What `Stamps.total` says of a store that has these stamps."""
    position, revision, digest = stamps.T
    sums = (revision, digest & HALF, digest >> 31, (digest & PART) * position)
    count, revisions, low, high, placed = (len(stamps), *(int(s.sum()) for s in sums))
    return count, revisions, low, high, placed


def _version() -> str:
    from engine.frontier.column_format import version

    return version()


def _from_files(files: ColumnFiles) -> list[_Rows]:
    """What is in the files that can be read and are what they were; a damaged one is taken away."""
    paths = files.paths()
    if not paths:
        return []
    import pyarrow as pa

    from engine.frontier.column_format import read
    from engine.store.column_files import is_whole

    found = []
    for path in paths:
        try:
            content = pa.memory_map(str(path)).read_buffer()
            if not is_whole(path, content):
                files.remove([path])
                continue
            block, stamps = read(content)
        # Another process has made one file of several; or it is none.
        except (OSError, ValueError, KeyError, pa.ArrowException):
            continue
        found.append(_Rows(stamps, block, path))
    return found


def _to_file(files: ColumnFiles, rows: _Rows) -> Path | None:
    """Write the rows; None where that cannot be done: no room, no right, no pyarrow, a text that is none."""
    try:
        import pyarrow as pa

        from engine.frontier.column_format import write
    except ImportError:
        return None
    name = hashlib.blake2b(np.ascontiguousarray(rows.stamps).tobytes(), digest_size=8).hexdigest()
    try:
        return files.write(name, partial(write, rows.block, rows.stamps))
    except (ValueError, TypeError, OverflowError, pa.ArrowException):
        return None


def _no_stamps() -> Stamps:
    return np.empty((0, 3), np.int64)


def _is_kept(rows: _Rows, known: Bools | None) -> Bools:
    """Which rows are in a file."""
    return np.full(len(rows.stamps), rows.path is not None, np.bool_) if known is None else known


def _places_by_position(stamps: Stamps, wanted: Stamps) -> Rows:
    """The row of `stamps` at each wanted position, -1 where there is none."""
    if not len(stamps) or not len(wanted):
        return np.full(len(wanted), -1, np.intp)
    order = np.argsort(stamps[:, 0], kind="stable")
    sorted_ = stamps[order, 0]
    at = np.minimum(np.searchsorted(sorted_, wanted[:, 0]), len(sorted_) - 1)
    return np.where(sorted_[at] == wanted[:, 0], order[at], -1)


def _places(stamps: Stamps, wanted: Stamps) -> Rows:
    """The row of `stamps` that is each wanted one in all three parts, -1 where there is none."""
    places = _places_by_position(stamps, wanted)
    if not len(stamps):
        return places
    return np.where((places >= 0) & (stamps[places] == wanted).all(axis=1), places, -1)


def _taken(blocks: list[Block], rows: Rows) -> Block:
    """Rows of several blocks that are counted through; a block as it is where it is all that is taken."""
    ends = np.cumsum([len(block) for block in blocks])
    owner = np.searchsorted(ends, rows, side="right")
    # Of a block without a row nothing is left, its devices neither.
    used = np.unique(owner)
    gone = np.cumsum([0 if i in used else len(block) for i, block in enumerate(blocks)])
    rows = rows - gone[owner]
    chosen = [blocks[i] for i in used]
    if not chosen:
        return Block.of(())
    whole = chosen[0] if len(chosen) == 1 else Block.joined(chosen)
    return whole if np.array_equal(rows, np.arange(len(whole))) else whole.take(rows)
