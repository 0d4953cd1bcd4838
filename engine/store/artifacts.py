"""Content-addressed files: `<64 hex digits>.<suffix>` in a folder, or behind any fsspec URL (`s3://…`).

A file is written in a folder aside, flushed to the disk and then moved, so whoever sees a name sees the whole file, after a power cut too;
the same name always means the same content, so nobody needs to lock anything. Beside a file of a folder lies its SHA-256: each process
checks a file when it first reads it, and one that a disk has damaged is removed, to be made again, rather than measured.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from engine.errors import NotFoundError, SetupError
from engine.paths import EXAMPLES, home
from engine.scratch import scratch_folder
from engine.store.connection import without_password

_NAME = re.compile(r"[0-9a-f]{64}\.(onnx|safetensors|npz|json)")
# A store that says nothing for so long is down; clouds' own clients would try again for minutes.
_PATIENCE_S = 30.0
# Linux's own ENOTSUPP, without a name outside of the kernel, which some network filesystems let out.
_NOT_SUPPORTED = 524
_CANNOT_FLUSH = frozenset(
    {
        errno.EINVAL,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
        errno.ENOSYS,
        errno.EBADF,
        errno.EACCES,
        errno.EPERM,
        _NOT_SUPPORTED,
    }
)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Stored:
    """A file of a store: its size in bytes, and when it was written, in seconds since 1970."""

    name: str
    n_bytes: int
    changed_s: float


@dataclass(frozen=True)
class Artifacts:
    """A store of files by name. `url` is a folder or an fsspec URL; `cache` holds local copies of remote files."""

    url: str
    cache: Path

    @classmethod
    def open(cls) -> Artifacts:
        """The artifacts of this home, or those that `PARETOSCOPE_ARTIFACTS` names."""
        folder = home() / "artifacts"
        return cls(os.environ.get("PARETOSCOPE_ARTIFACTS") or str(folder), home() / "artifact-cache")

    @property
    def _folder(self) -> Path | None:
        """The folder itself when the artifacts are plain local files."""
        return Path(self.url.removeprefix("file://")) if "://" not in self.url.removeprefix("file://") else None

    def _remote(self, name: str) -> tuple[fsspec.AbstractFileSystem, str]:
        with self._reached():
            filesystem, root = fsspec.core.url_to_fs(self.url)
        return filesystem, f"{root}/{name[:2]}/{name}"

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Whatever stops us from reading or writing the store is told in one line, as a SetupError."""
        try:
            yield
        # Each filesystem of fsspec has errors of its own, without a base but this.
        except Exception as error:
            said, where = " ".join(str(error).split()) or "no reason given", without_password(self.url)
            raise SetupError(
                f"the artifact store {where} cannot be used: {type(error).__name__}: {said}; check PARETOSCOPE_ARTIFACTS"
            ) from None

    def check(self, patience_s: float = _PATIENCE_S) -> None:
        """Write a small file, read it back and remove it; raises SetupError, in one line, where that does not work in time."""
        name, content = f"probe-{uuid.uuid4().hex}", b"paretoscope"
        if self._folder:
            with self._reached():
                self._folder.mkdir(parents=True, exist_ok=True)
                with scratch_folder(self._folder) as aside:
                    (aside / f"{name}.part").write_bytes(content)
            return
        filesystem, path = self._remote(name)

        def probe() -> bytes:
            filesystem.pipe_file(path, content)
            found: bytes = filesystem.cat_file(path)
            filesystem.rm_file(path)
            return found

        with self._reached():
            if _in_time(probe, patience_s) != content:
                raise OSError("what was written is not what is read")

    def _own(self, name: str) -> bool:
        """Whether the file is in the store itself."""
        if self._folder:
            return (self._folder / name[:2] / name).is_file()
        filesystem, path = self._remote(name)
        with self._reached():
            return bool(filesystem.exists(path))

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        _check(name)
        return _shipped(name).is_file() or self._own(name)

    def keep(self, name: str) -> None:
        """Copy a file into the store that only ships with an example: the next version may ship another, and a sweep stays whole."""
        _check(name)
        if _shipped(name).is_file() and not self._own(name):
            with tempfile.TemporaryDirectory(prefix="paretoscope-") as folder:
                self._add(name, Path(shutil.copy(_shipped(name), folder)))

    def put(self, name: str, source: Path) -> None:
        """Move a finished local file in; a name that is there already stays as it is."""
        _check(name)
        if self.has(name):
            self.keep(name)
            source.unlink(missing_ok=True)
        else:
            self._add(name, source)

    def _add(self, name: str, source: Path) -> None:
        if self._folder:
            target = self._folder / name[:2] / name
            with self._reached():
                target.parent.mkdir(parents=True, exist_ok=True)
                # In the store's own folder: a move to another disk is none. What a killed process was writing goes with the next file.
                with scratch_folder(self._folder) as aside:
                    partial = aside / f"{name}.part"
                    shutil.move(source, partial)
                    _flush(partial)
                    if _is_first(partial, target):
                        _write_whole(_sum_of(target), _sha256(partial).encode(), aside)
                        _flush(target.parent)
        else:
            filesystem, path = self._remote(name)
            with self._reached():
                filesystem.put_file(str(source), path)
            source.unlink(missing_ok=True)

    def stored(self) -> list[Stored]:
        """Every file of the store itself, in no order; nothing else that lies there."""
        if self._folder:
            paths = (p for p in self._folder.glob("[0-9a-f][0-9a-f]/*") if _NAME.fullmatch(p.name))
            found = []
            for path in paths:
                # Another process may remove it meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    about = path.stat()
                    found.append(Stored(path.name, about.st_size, about.st_mtime))
            return found
        with self._reached():
            filesystem, root = fsspec.core.url_to_fs(self.url)
            files = filesystem.find(root, detail=True) if filesystem.exists(root) else {}
        named = {path.rpartition("/")[2]: about for path, about in files.items()}
        return [Stored(n, int(a["size"]), _changed_s(a)) for n, a in named.items() if _NAME.fullmatch(n)]

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, and local copies of them; those that are not there are left alone."""
        for name in names:
            _check(name)
            (self.cache / name[:2] / name).unlink(missing_ok=True)
            if self._folder:
                path_here = self._folder / name[:2] / name
                path_here.unlink(missing_ok=True)
                _sum_of(path_here).unlink(missing_ok=True)
                continue
            filesystem, path = self._remote(name)
            with self._reached(), contextlib.suppress(FileNotFoundError):
                filesystem.rm_file(path)

    def local(self, name: str) -> Path:
        """A local path of the file, fetched first when it lies elsewhere; NotFoundError when it is not there, or is damaged."""
        _check(name)
        folder = self._folder or self.cache
        path = folder / name[:2] / name
        if path.is_file():
            if self._folder and not _is_whole(path):
                self.remove([name])
                raise NotFoundError(
                    f"the artifact {name[:12]}… in {self.url} was damaged (its SHA-256 is not that of what was written) and has been "
                    "removed; run the sweep again to make it"
                )
            return path
        if _shipped(name).is_file():
            return _shipped(name)
        if self._folder is None:
            filesystem, remote = self._remote(name)
            with self._reached():
                found = filesystem.exists(remote)
            if found:
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f".{uuid.uuid4().hex}.part")
                with self._reached():
                    filesystem.get_file(remote, str(partial))
                partial.replace(path)
                return path
        raise NotFoundError(f"the artifact {name[:12]}… is not in {self.url}; run the sweep again to make it")


def _changed_s(about: Mapping[str, Any]) -> float:
    """When a remote file was written; a file of a filesystem that does not say counts as new."""
    when = about.get("LastModified") or about.get("mtime") or about.get("created") or about.get("last_modified")
    return when.timestamp() if isinstance(when, datetime) else float(when) if when else time.time()


def _sum_of(path: Path) -> Path:
    """Where the SHA-256 of a file is written down."""
    return path.with_name(f"{path.name}.sha256")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_first(partial: Path, target: Path) -> bool:
    """Give a whole file its name, which stays that of another that was quicker: whether it got it, and its sum is the one to note."""
    try:
        os.link(partial, target)
    except FileExistsError:
        return False
    except OSError:
        # No links on this filesystem: the name gets one of both, and no sum, which might be the other's.
        partial.replace(target)
        return False
    return True


def _write_whole(path: Path, content: bytes, aside: Path) -> None:
    """Write a small file whole: first in `aside`, a folder on the same disk that is nobody else's."""
    partial = aside / f"{path.name}.part"
    partial.write_bytes(content)
    _flush(partial)
    partial.replace(path)


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk itself."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # A filesystem that cannot has nothing to lose by it; one that finds no room, or a bad disk, says so only now.
        if error.errno not in _CANNOT_FLUSH:
            raise
    finally:
        os.close(descriptor)


_checked: dict[Path, tuple[int, int]] = {}
"""What this process has checked of each file: size and time of change."""


def _is_whole(path: Path) -> bool:
    """Whether a file is what was written; one of a version that noted no sums is taken as it is."""
    about = path.stat()
    state = (about.st_size, about.st_mtime_ns)
    if _checked.get(path) != state:
        try:
            expected = _sum_of(path).read_text()
        except FileNotFoundError:
            return True
        if _sha256(path) != expected:
            return False
        _checked[path] = state
    return True


def _in_time(work: Callable[[], _Answer], seconds: float) -> _Answer:
    """What `work` returns or raises, or TimeoutError; what does not answer cannot be stopped and is left behind."""
    ended: list[Callable[[], _Answer]] = []

    def run() -> None:
        try:
            answer = work()
        except BaseException as error:
            caught = error

            def again() -> _Answer:
                raise caught

            ended.append(again)
        else:
            ended.append(lambda: answer)

    thread = threading.Thread(target=run, name="artifact-probe", daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return ended[0]()


def _shipped(name: str) -> Path:
    """Where an example sweep keeps the same file, under that name or under the one that it has since the code moved."""
    called = _renamed().get(name, name)
    places = [folder / "artifacts" / known for folder in EXAMPLES for known in (name, called)]
    return next((path for path in places if path.is_file()), places[0])


@cache
def _renamed() -> dict[str, str]:
    """Names that files of the examples had in stores of before (`data/rekey_example.py`) -> those that they have."""
    files = [path for folder in EXAMPLES if (path := folder / "renamed.json").is_file()]
    return {old: new for path in files for old, new in json.loads(path.read_text()).items()}


def _check(name: str) -> None:
    """Names reach paths and URLs, so nothing but a plain name passes."""
    if not _NAME.fullmatch(name):
        raise NotFoundError(f"{name!r} is not the name of an artifact")
