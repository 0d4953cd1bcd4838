"""A home as one file, taken while sweeps run, and back again.

Of the database SQLite's own backup is taken, which is of one moment whatever is written meanwhile; then come the files, which never change
once they have their names. A node is recorded after its file is there, so whatever the database of the backup names is in it. What can be
made again (caches) or is of this machine alone (logs, locks, the secrets of a login) stays out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import sqlalchemy as sa

from engine.errors import InputError, SetupError
from engine.paths import home_path

_DATABASE, _MANIFEST = "paretoscope.db", "manifest.json"
_FOLDERS = ("artifacts", "uploads", "specs", "devices", "datasets")
_FILES = ("access.toml",)
_FORMAT = 1
_CHUNK = 1 << 20
# A file under its last name; others are being written.
_UNFINISHED = (".part", ".partial", ".lock", ".tmp")


@dataclass(frozen=True)
class Backup:
    """What is in one: files beside the database, and bytes in all; `artifacts_elsewhere`: the home's artifacts are not in it."""

    files: int
    n_bytes: int
    artifacts_elsewhere: bool = False


def back_up(target: Path, datasets: bool = True) -> Backup:
    """Write the home into a zip, whole or not at all; sweeps may run meanwhile. `datasets` false leaves prepared datasets out.

    Raises SetupError for a store that is not the home's SQLite file, InputError where the target cannot be written.
    """
    root, database = home_path(), _database()
    if not database.is_file():
        raise SetupError(
            f"{root} has no {_DATABASE}: nothing has been run there; set PARETOSCOPE_HOME to the home to back up"
        )
    folders = [f for f in _FOLDERS if datasets or f != "datasets"]
    partial = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}.part")
    try:
        with tempfile.TemporaryDirectory(prefix="paretoscope-backup-") as scratch:
            copy = Path(scratch) / _DATABASE
            copied_database(database, copy)
            _stopped(copy)
            try:
                with zipfile.ZipFile(partial, "x", zipfile.ZIP_STORED) as archive:
                    sums = {_DATABASE: _added(archive, copy, _DATABASE)}
                    for path in _kept(root, folders):
                        name = path.relative_to(root).as_posix()
                        # Removed since it was listed (`gc`, an upload that nobody used): nobody needs it.
                        with contextlib.suppress(FileNotFoundError):
                            sums[name] = _added(archive, path, name)
                    archive.writestr(_MANIFEST, json.dumps({"format": _FORMAT, "sha256": sums}, indent=1))
                    n_bytes = _size(archive)
                with partial.open("rb+") as written:
                    os.fsync(written.fileno())
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}; choose another place") from None
    return Backup(len(sums) - 1, n_bytes, bool(os.environ.get("PARETOSCOPE_ARTIFACTS")))


def restore(source: Path, into: Path) -> Backup:
    """Unpack a backup into a home that is not there yet or is empty; every file is checked before any is in its place.

    Raises InputError for what is no backup, or is damaged, and SetupError for a home that holds something.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise SetupError(f"{into} holds something already; give --home of a folder that is empty or not there yet")
    into.absolute().parent.mkdir(parents=True, exist_ok=True)
    aside = into.absolute().with_name(f".{into.name}.{uuid.uuid4().hex}.part")
    try:
        try:
            with zipfile.ZipFile(source) as archive:
                sums = _manifest(source, archive)
                for name, expected in sums.items():
                    _extracted(source, archive, name, aside / name, expected)
                n_bytes = _size(archive)
            if into.exists():
                into.rmdir()
            aside.replace(into)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except FileNotFoundError:
        raise InputError(f"{source} does not exist; give the path of a backup") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{source} is not a readable backup: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise SetupError(f"{into} cannot be written: {error.strerror or error}") from None
    return Backup(len(sums) - 1, n_bytes)


def copied_database(source: Path, target: Path) -> None:
    """Copy an SQLite database of one moment, whoever writes to it."""
    with (
        contextlib.closing(sqlite3.connect(source, timeout=20)) as there,
        contextlib.closing(sqlite3.connect(target)) as here,
    ):
        there.backup(here)


def _stopped(database: Path) -> None:
    """What runs at the moment of a backup runs nowhere where that is restored, also on the host on which it still does."""
    with contextlib.closing(sqlite3.connect(database)) as copy, copy:
        known = {row[1] for row in copy.execute("PRAGMA table_info(sweeps)")}
        if {"state", "process", "heartbeat"} <= known:
            copy.execute("UPDATE sweeps SET process = NULL, heartbeat = 0 WHERE state = 'running'")


def _database() -> Path:
    """The file of the home's database; SetupError where the store is another."""
    url = os.environ.get("PARETOSCOPE_STORE")
    if not url:
        return home_path() / _DATABASE
    address = sa.make_url(url)
    if address.get_backend_name() != "sqlite" or not address.database:
        raise SetupError(
            f"the store is a database of its own ({address.get_backend_name()}), which its own tools back up (`pg_dump`); "
            "unset PARETOSCOPE_STORE to back up the home's"
        )
    return Path(address.database)


def _size(archive: zipfile.ZipFile) -> int:
    return sum(member.file_size for member in archive.infolist())


def _kept(root: Path, folders: list[str]) -> Iterator[Path]:
    yield from (p for name in _FILES if (p := root / name).is_file())
    for folder in folders:
        found = [Path(place, name) for place, _, names in os.walk(root / folder, onerror=_raised) for name in names]
        for path in sorted(found):
            if path.is_file() and not path.is_symlink() and not path.name.endswith(_UNFINISHED):
                yield path


def _raised(error: OSError) -> None:
    """A folder in which a file is being written may go meanwhile; one that cannot be read is no backup's to leave out."""
    if not isinstance(error, FileNotFoundError):
        raise InputError(f"{error.filename} cannot be read: {error.strerror}; a backup has all of a home or is none")


def _added(archive: zipfile.ZipFile, path: Path, name: str) -> str:
    """Write a file into the zip as it is; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file, archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
        while part := file.read(_CHUNK):
            digest.update(part)
            member.write(part)
    return digest.hexdigest()


def _manifest(source: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    """Name -> SHA-256 of all that is in a backup, which is that and nothing else; raises InputError."""
    try:
        found = json.loads(archive.read(_MANIFEST))
        sums, stated = dict(found["sha256"]), found["format"]
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{source} is not a backup of Paretoscope: it has no usable {_MANIFEST}") from None
    if stated != _FORMAT:
        raise InputError(f"{source} is a backup of format {stated!r}, this program reads {_FORMAT}; update Paretoscope")
    if sorted(archive.namelist()) != sorted([*sums, _MANIFEST]) or _DATABASE not in sums:
        raise InputError(f"{source} is damaged: its files are not those that its {_MANIFEST} lists")
    for name in sums:
        parts = PurePosixPath(name).parts
        known = name in (_DATABASE, *_FILES) or (len(parts) > 1 and parts[0] in _FOLDERS)
        if not known or ".." in parts or "\\" in name or "\0" in name:
            raise InputError(f"{source} holds {name!r}, which no backup of Paretoscope does; it was not unpacked")
    return sums


def _extracted(source: Path, archive: zipfile.ZipFile, name: str, target: Path, expected: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(name) as member, target.open("xb") as file:
        while part := member.read(_CHUNK):
            digest.update(part)
            file.write(part)
    if digest.hexdigest() != expected:
        raise InputError(f"{source} is damaged: {name} has another SHA-256 than its {_MANIFEST} says")
