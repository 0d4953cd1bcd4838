"""Reads `.npz` and `.npy` files of numpy into arrays; nothing is ever unpickled. `arrays.py` says what they are.

Inputs that are large together (`cache.py`) stay on disk: in the file itself, or unpacked in the cache where the file is compressed.
"""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, overload

import numpy as np

from engine.datasets.arrays import gathered, input_names, read_names
from engine.datasets.cache import cached, check_bound, is_large
from engine.datasets.file_hash import file_sha256
from engine.datasets.items import Gathered
from engine.datasets.splits import Array
from engine.errors import DatasetError
from engine.graph.on_disk import OnDisk, opened_npy
from engine.spec.canonical import digest
from engine.spec.sections import Data

_PIECE = 1 << 20
# In the header before each member of a zip (APPNOTE 4.3.7): the lengths of its name and of what else there is.
_LENGTHS_AT = 26


def gather_npz(data: Data, name: str, path: Path) -> Gathered:
    """What an `.npz` file holds. Raises DatasetError."""
    return gathered(name, str(path), _read_arrays(path, data), data, "save")


def gather_npy(data: Data, path: Path) -> Gathered:
    """The items of an `.npy` file, with the labels of another where the spec names it. Raises DatasetError."""
    arrays: dict[str, Array | OnDisk] = {"x": _read_array(path, may_stay=True)}
    if data.labels is not None:
        arrays["y"] = _read_array(Path(data.labels))
    return gathered(path.name, str(path), arrays, data, "save")


@overload
def _read_array(path: Path, may_stay: Literal[False] = False) -> Array: ...


@overload
def _read_array(path: Path, may_stay: bool) -> Array | OnDisk: ...


def _read_array(path: Path, may_stay: bool = False) -> Array | OnDisk:
    with _readable(path, ".npy", "np.save"), path.open("rb") as stream:
        if may_stay and is_large(path.stat().st_size):
            return opened_npy(path, str(path))
        found = np.load(stream, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise DatasetError(f"{path} holds named arrays, not one; call it .npz")
        return found


def _read_arrays(path: Path, data: Data) -> dict[str, Array | OnDisk]:
    """The arrays whose names matter, whatever else the file holds; inputs that are large together stay on disk."""
    # Opened here: numpy leaves the files that it cannot read open.
    with _readable(path, ".npz", "np.savez"), path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise DatasetError(f"{path} holds one array, not named ones; save np.savez(path, x_train=…, y_train=…, …)")
        wanted = read_names(file.files, str(path), data) or {*file.files}
        members = {name: _member(file.zip, name) for name in input_names(file.files, str(path), data)}
        n_bytes = sum(member.file_size for member in members.values())
        if not is_large(n_bytes):
            return {name: file[name] for name in file.files if name in wanted}
        packed = sum(m.file_size for m in members.values() if m.compress_type != zipfile.ZIP_STORED)
        check_bound(packed, f"{path}, unpacked,")
        return {
            name: _opened(path, file.zip, members[name]) if name in members else file[name]
            for name in file.files
            if name in wanted
        }


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    return archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)


def _opened(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> OnDisk:
    """An array where it lies, once its bytes are known to be those that were saved; a packed one in the cache."""
    what = f"{path}: {member.filename.removesuffix('.npy')}"
    if member.compress_type == zipfile.ZIP_STORED:
        with archive.open(member) as stream:
            while stream.read(_PIECE):
                pass  # its checksum is asked for at the end
        return opened_npy(path, what, _begin(path, member))

    def write(file: IO[bytes]) -> None:
        with archive.open(member) as stream:
            shutil.copyfileobj(stream, file, _PIECE)

    content = file_sha256(path, str(path), "give the path of an .npz file")
    return cached(digest(["array", content, member.filename]), member.file_size, f"{what}, unpacked,", write)


def _begin(path: Path, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin, behind its own header, whose lengths may differ from those in the directory."""
    with path.open("rb") as file:
        file.seek(member.header_offset + _LENGTHS_AT)
        name, extra = struct.unpack("<HH", file.read(4))
    return int(member.header_offset + _LENGTHS_AT + 4 + name + extra)


@contextmanager
def _readable(path: Path, suffix: str, save: str) -> Iterator[None]:
    """What numpy raises for files that are none, or damaged, in one line."""
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; give the path of an {suffix} file") from None
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            what = (
                f"holds Python objects, or is not an {suffix} file; save plain arrays with {save}, text as .astype(str)"
            )
            raise DatasetError(f"{path} {what}") from None
        raise DatasetError(f"{path} is damaged ({_line(error)}); save it again with {save}") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, AttributeError) as error:
        raise DatasetError(
            f"{path} is damaged or not an {suffix} file ({_line(error)}); save it again with {save}"
        ) from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
