"""Zips of anybody's: what is in them is told before anything is read, and read so that no name and no size is believed."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from engine.uploads import bounds
from engine.uploads.bounds import Refused, size

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_PIECE = 1 << 20
_LONGEST_NAME, _DEEPEST = 200, 8
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".npz")


@contextmanager
def opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """A zip and its members, folders left out, once names and declared sizes are sound; raises Refused, also for what breaks inside."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, _sound(archive.infolist())
    # RuntimeError and NotImplementedError: encrypted members and unknown compression.
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, ValueError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise Refused(f"is a damaged zip ({reason}); make it again") from None


def _sound(members: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    if len(members) > bounds.MOST_MEMBERS:
        raise Refused(f"holds {len(members):,} files; at most {bounds.MOST_MEMBERS:,} are taken: send fewer")
    seen: set[str] = set()
    for info in members:
        # What zipfile makes of a name stops at a NUL, and has other slashes.
        name = info.orig_filename
        if problem := _wrong_name(name):
            raise Refused(f"holds a file called {name[:80]!r}, {problem}; zip the folder again")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "a link" if stat.S_ISLNK(kind) else "no plain file"
            raise Refused(f"holds {name[:80]!r}, which is {what}; zip the files themselves")
        if info.flag_bits & _ENCRYPTED:
            raise Refused(f"is locked with a password ({name[:80]!r}); zip it without one")
        if info.compress_type not in _COMPRESSIONS:
            raise Refused(f"is packed in a way that is not read ({name[:80]!r}); zip it with the usual compression")
        if name in seen:
            raise Refused(f"holds {name[:80]!r} twice; zip the folder again")
        seen.add(name)
    unpacked, packed = sum(i.file_size for i in members), sum(i.compress_size for i in members)
    if unpacked > bounds.MOST_UNPACKED:
        raise Refused(f"would unpack to {size(unpacked)}; at most {size(bounds.MOST_UNPACKED)} are taken: send less")
    if unpacked > bounds.RATIO_FREE_BYTES and unpacked > bounds.MOST_RATIO * max(1, packed):
        raise Refused(
            f"would unpack to {unpacked / max(1, packed):,.0f} times its size, as no data do; send what was measured"
        )
    return [info for info in members if not info.is_dir()]


def _wrong_name(name: str) -> str | None:
    """What is wrong with the name of a member, to stand behind it; None where nothing is."""
    if not name or "\\" in name or ":" in name or not name.isprintable():
        return "with characters that no name needs"
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        return "which leads out of the folder"
    if len(parts) > _DEEPEST:
        return f"more than {_DEEPEST} folders deep"
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        return f"of more than {_LONGEST_NAME} characters"
    return None


def copied(archive: zipfile.ZipFile, info: zipfile.ZipInfo, write: Callable[[bytes], object]) -> int:
    """Unpack a member piece by piece, its checksum compared; the bytes that it has, which are those that it declares."""
    total = 0
    with archive.open(info) as stream:
        for piece in pieces(stream):
            total += len(piece)
            if total > info.file_size:
                raise Refused(f"holds {info.filename[:80]!r}, which is larger than it says; zip the folder again")
            write(piece)
    if total != info.file_size:
        raise Refused(f"holds {info.filename[:80]!r}, which is shorter than it says; zip the folder again")
    return total


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """What a stream holds, some at a time."""
    while piece := stream.read(_PIECE):
        yield piece
