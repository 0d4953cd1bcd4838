"""Python files of the user's that went with a run to a worker elsewhere: packed with what they import, laid out there under their hash.

The same rules hold as at home: only what a spec names, on whose machine the run was started, is run, and what it imports from beside
itself. A worker that has the very same files under the same path runs these; otherwise its own copy of what was sent. Other files beside
them are not sent; where the worker has the folder they are found in it.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from engine.errors import SetupError
from engine.paths import sent_path
from engine.spec.canonical import digest

MOST_BYTES = 2 * 2**20
"""So much Python goes with every node; more is a package, to be installed where it is to run."""


@dataclass(frozen=True)
class SentCode:
    """Files by the folder that they lie in where the run was started.

    `folders`: these, as the spec has them. `files`: the number of the folder, the path within it, the bytes. `named`: how the spec calls a
    file, the number of its folder, its path within it. `modules`: the number of the folder that `pkg.module:function` is found in, if any.
    """

    folders: tuple[str, ...]
    files: tuple[tuple[int, str, bytes], ...] = field(repr=False)
    named: tuple[tuple[str, int, str], ...]
    modules: int | None = None

    @cached_property
    def sha256(self) -> str:
        """Of all of it, in hex."""
        files = [(n, name, hashlib.sha256(content).hexdigest()) for n, name, content in self.files]
        return digest([self.folders, files, self.named, self.modules])


@dataclass(frozen=True)
class _InUse:
    sha256: str
    paths: dict[str, Path]
    modules: Path | None


_changed = threading.Condition()
_queue: deque[tuple[object, str]] = deque()


class _Now:
    """One set of files is in use at a time: modules are imported for the whole process, whichever node asks."""

    used: _InUse | None = None
    users = 0


def lies_at(path: Path) -> Path:
    """Where a file lies that a spec calls so: there, or where what was sent of it was laid out."""
    return _Now.used.paths.get(str(path), path) if _Now.used else path


def working_folder() -> Path:
    """The folder that modules are looked for in after all others: that of the process, or what was sent of it."""
    return (_Now.used and _Now.used.modules) or Path.cwd()


@contextmanager
def in_use(code: SentCode | None) -> Iterator[None]:
    """Use the files that were sent, for as long; who brings others waits for its turn, in the order of coming. Raises SetupError."""
    if code is None:
        yield
        return
    ticket = (object(), code.sha256)
    with _changed:
        _queue.append(ticket)
        try:
            while _queue[0] != ticket or (_Now.used is not None and _Now.used.sha256 != code.sha256):
                _changed.wait()
            if _Now.used is None:
                _Now.used = _laid_out(code)
                _forget_other_modules(_Now.used)
            _Now.users += 1
        finally:
            _queue.remove(ticket)
            _changed.notify_all()
    try:
        yield
    finally:
        with _changed:
            _Now.users -= 1
            if not _Now.users:
                _Now.used = None
            _changed.notify_all()


def _laid_out(code: SentCode) -> _InUse:
    """Where the files lie: where they lay, if the very same ones are there, or in a folder of this home that is named by their hash."""
    root = sent_path() / code.sha256
    folders = []
    for number, folder in enumerate(code.folders):
        own = {name: content for n, name, content in code.files if n == number}
        there = Path(folder)
        if not _holds(there, own):
            there = root / str(number)
            if not _holds(there, own):
                _lay_out(there, own, Path(folder))
        folders.append(there)
    paths = {called: folders[number] / name for called, number, name in code.named}
    return _InUse(code.sha256, paths, None if code.modules is None else folders[code.modules])


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all((folder / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def _lay_out(folder: Path, files: Mapping[str, bytes], original: Path) -> None:
    """Write the files aside and give the whole folder its name at once; what a function reads from beside its file is linked to."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent))
        for name, content in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
        for beside in original.iterdir() if original.is_dir() else ():
            if (
                beside.suffix != ".py"
                and not beside.name.startswith((".", "__"))
                and not (partial / beside.name).exists()
            ):
                (partial / beside.name).symlink_to(beside.resolve())
        # One that was there is damaged, or another worker of this home was quicker: its files are the same.
        if folder.exists() and not _holds(folder, files):
            folder.replace(folder.parent / f"{partial.name}-damaged")
        try:
            partial.replace(folder)
        except OSError:
            shutil.rmtree(partial)
            if not _holds(folder, files):
                raise
    except OSError as error:
        raise SetupError(
            f"the Python files that the run brings cannot be written to {folder} ({error.strerror}); set PARETOSCOPE_HOME, where the "
            "worker runs, to a folder that can be written"
        ) from None


def _forget_other_modules(used: _InUse) -> None:
    """What was imported from other sent files, perhaps under the same names, is imported anew."""
    own = {path.parent for path in used.paths.values()} | ({used.modules} if used.modules else set())
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "")
        if file.is_relative_to(sent_path()) and not any(file.is_relative_to(folder) for folder in own):
            del sys.modules[name]
