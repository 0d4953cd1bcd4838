"""Files beside the store that spare reading its records: where they lie, how they are written, and when they go.

`PARETOSCOPE_HOME/columns/STORE/SWEEP/…`: one folder for each store that this home has been used with, one in it for each sweep. What is in
them is made of the records and can be made again, so whatever goes wrong here is no error: then the records are read. A file has a name
of its own content and is written under another one first, so several processes may write and remove at will.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from engine.paths import home_path
from engine.store.schema import sweeps

_SUFFIX = ".arrow"
_YOUNG_S = 3600.0


@dataclass(frozen=True)
class ColumnFiles:
    """The files of one sweep. `version` is that of the code that makes columns: those of another one are not looked at."""

    folder: Path
    version: str

    def paths(self) -> list[Path]:
        """Those that are there, by name."""
        with contextlib.suppress(OSError):
            return sorted(self.folder.glob(f"{self.version}-*{_SUFFIX}"))
        return []

    def write(self, name: str, put: Callable[[Path], None]) -> Path | None:
        """Keep what `put` writes to the path it is given; None where that cannot be done. `name` says what is in it."""
        from engine.store.artifacts import _flush

        partial = self.folder / f".{uuid.uuid4().hex}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_others()
            put(partial)
            _flush(partial)
            target = self.folder / f"{self.version}-{name}-{_sum(partial.read_bytes())}{_SUFFIX}"
            partial.replace(target)
            return target
        except OSError:
            return None
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def remove(self, paths: Collection[Path]) -> None:
        """Take some away. Who reads one of them goes on doing so."""
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _remove_others(self) -> None:
        """Files of other versions, and what a process left that was killed while it wrote."""
        left = [p for p in self.folder.iterdir() if not p.name.startswith(self.version)]
        self.remove([p for p in left if p.suffix != ".part" or time.time() - p.stat().st_mtime > _YOUNG_S])


def is_whole(path: Path, content: Any) -> bool:
    """Whether a file's bytes (anything with the buffer protocol) are those that its name was given for."""
    return path.stem.rpartition("-")[2] == _sum(content)


def _sum(content: Any) -> str:
    return f"{zlib.crc32(content):08x}"


class Columns:
    """The files of a store's sweeps."""

    def __init__(self, engine: sa.Engine) -> None:
        """Of the database that the store is in."""
        self._engine = engine

    def files(self, sweep_id: str, version: str) -> ColumnFiles:
        """Those of a sweep."""
        return ColumnFiles(_folder(self._engine) / _named(sweep_id), version)

    def forget(self, sweep_id: str) -> None:
        """Remove those of a sweep that has been deleted."""
        shutil.rmtree(_folder(self._engine) / _named(sweep_id), ignore_errors=True)

    def held(self) -> tuple[int, int]:
        """Bytes of all, and of those that belong to no sweep of the store (any more)."""
        gone = self._of_no_sweep()
        return _bytes_in(_folder(self._engine)), sum(_bytes_in(folder) for folder in gone)

    def collect(self) -> None:
        """Remove those that belong to no sweep."""
        for folder in self._of_no_sweep():
            shutil.rmtree(folder, ignore_errors=True)

    def _of_no_sweep(self) -> list[Path]:
        # First the folders: that of a sweep which begins meanwhile is not among them.
        with contextlib.suppress(OSError):
            there = [p for p in _folder(self._engine).iterdir() if p.is_dir()]
            with self._engine.connect() as connection:
                known = {_named(sweep_id) for sweep_id in connection.scalars(sa.select(sweeps.c.id))}
            return [p for p in there if p.name not in known]
        return []


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _folder(engine: sa.Engine) -> Path:
    """The home's own store keeps its folder when the home is copied or moved; any other has one by its address."""
    home, name = home_path(), engine.url.database or ""
    own = engine.dialect.name == "sqlite" and Path(name).absolute() == (home / "paretoscope.db").absolute()
    return home / "columns" / ("own" if own else _named(engine.url.render_as_string(hide_password=True)))


def _named(text: str) -> str:
    """A name for a folder that any text may stand behind."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]
