"""Another home, or a backup of one, to be read and never written: its database is copied before it is opened, which may bring it to the
schema of this version; files are read where they lie.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.errors import InputError, NotFoundError
from engine.store.artifacts import Artifacts
from engine.store.backup import _DATABASE, _extracted, _manifest, copied_database
from engine.store.store import Store


@dataclass(frozen=True)
class OtherHome:
    """What is kept there, as it was when it was opened; `find` leads from an artifact's name to a file, or raises NotFoundError."""

    store: Store
    find: Callable[[str], Path]


def is_home(path: Path) -> bool:
    """Whether this is a home folder with a database, or looks like a backup."""
    return (path / _DATABASE).is_file() or (path.is_file() and path.suffix == ".zip")


def open_home(path: Path, scratch: Path) -> OtherHome:
    """Open a home folder, or a backup that `paretoscope backup` made. `scratch` is a folder for copies, needed as long as the home is.

    Raises InputError for a zip that is no backup or is damaged, NotFoundError for a folder that is no home.
    """
    copy = scratch / _DATABASE
    if path.is_dir():
        if not is_home(path):
            raise NotFoundError(f"{path} is no home of Paretoscope: it has no {_DATABASE}")
        copied_database(path / _DATABASE, copy)
        artifacts = Artifacts(str(path / "artifacts"), scratch / "artifact-cache")
        return OtherHome(Store(f"sqlite:///{copy}"), artifacts.local)
    try:
        with zipfile.ZipFile(path) as archive:
            sums = _manifest(path, archive)
            _extracted(path, archive, _DATABASE, copy, sums[_DATABASE])
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist; give a home folder, or a backup of one") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{path} is not a readable backup: {' '.join(str(error).split())}") from None
    return OtherHome(Store(f"sqlite:///{copy}"), partial(_from_backup, path, sums, scratch))


def _from_backup(path: Path, sums: dict[str, str], scratch: Path, name: str) -> Path:
    member = f"artifacts/{name[:2]}/{name}"
    if member not in sums:
        raise NotFoundError(f"{path} has no artifact {name}")
    target = scratch / member
    if not target.is_file():
        with zipfile.ZipFile(path) as archive:
            _extracted(path, archive, member, target, sums[member])
    return target
