"""Zip files that are the same every time, written whole or not at all, and unpacked without trusting them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import InputError

MAX_UNPACKED_BYTES = 4 << 30
"""ONNX files end at 2 GiB; nothing else in a bundle comes near."""
MAX_RATIO, RATIO_FREE_BYTES = 200, 256 << 20
"""Unpacked to packed: weights, even mostly zeros, stay far below; small files may be as compressible as they like."""


def packed(members: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes depend on the members alone: sorted names, the earliest time that zip knows, fixed permissions."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, members[name])
    return buffer.getvalue()


def json_bytes(value: Any) -> bytes:
    """JSON for people to read, the same for the same value."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def npz_bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Like `numpy.savez`, but with the same bytes every time."""
    members: dict[str, bytes] = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    return packed(members)


def sha256_of(members: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of each member, in hex."""
    return {name: hashlib.sha256(members[name]).hexdigest() for name in sorted(members)}


def check_target(target: Path, usual: str = "bundle.zip") -> None:
    """The mistakes that can be seen before any work; raises InputError. `usual` is what such a file is called."""
    if target.is_dir():
        raise InputError(f"{target} is a folder; give the name of a file to write, say {target / usual}")
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target} cannot be written: the folder {target.absolute().parent} does not exist")


def write_atomically(target: Path, content: bytes) -> None:
    """All or nothing: under another name beside the target first, then renamed; raises InputError."""
    partial = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}.part")
    try:
        try:
            partial.write_bytes(content)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}; choose another place") from None


@contextmanager
def unpacked(bundle: Path, parts: Collection[str]) -> Iterator[Path]:
    """The members of a zip in a temporary folder, which goes afterwards: exactly `parts`, or an InputError and nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="paretoscope-verify-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(bundle) as archive:
                for info in _safe_members(bundle, archive, parts):
                    with archive.open(info) as source, (folder / info.filename).open("xb") as part:
                        shutil.copyfileobj(source, part, 1 << 20)
        except FileNotFoundError:
            raise InputError(f"{bundle} does not exist; give the path of a bundle") from None
        # RuntimeError and NotImplementedError: encrypted members and unknown compression.
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise InputError(
                f"{bundle} is not a readable zip: {' '.join(str(error).split())}; export it again"
            ) from None
        yield folder


def _safe_members(bundle: Path, archive: zipfile.ZipFile, parts: Collection[str]) -> list[zipfile.ZipInfo]:
    """The members, once it is sure that they are a bundle's parts and nothing else; raises InputError."""
    members = archive.infolist()
    names = [info.filename for info in members]
    if "measure.py" in names and "measure.py" not in parts:
        raise InputError(f"{bundle} is a frontier, not a bundle: unpack it on the board and run measure.py there")
    stray = next((n for n in names if n not in parts), None)
    if stray is not None:
        raise InputError(f"{bundle} holds {stray[:80]!r}, which is no part of a bundle; nothing was unpacked")
    if len(names) != len(set(names)):
        raise InputError(f"{bundle} holds a part twice; nothing was unpacked")
    missing = [n for n in parts if n not in names]
    if missing:
        raise InputError(f"{bundle} is not a whole bundle: {', '.join(missing)} missing; export it again")
    if any(stat.S_ISLNK(info.external_attr >> 16) for info in members):
        raise InputError(f"{bundle} holds a link, which is no part of a bundle; nothing was unpacked")
    size, stored = sum(i.file_size for i in members), max(1, sum(i.compress_size for i in members))
    if size > MAX_UNPACKED_BYTES or (size > RATIO_FREE_BYTES and size / stored > MAX_RATIO):
        raise InputError(f"{bundle} would unpack to {size / 1e6:,.0f} MB; no bundle is like that, nothing was unpacked")
    return members
