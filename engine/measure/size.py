"""Bytes of a file as it lies on disk, and as it travels."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import StepError


@dataclass(frozen=True)
class Size:
    """Bytes of the file with what lies outside it, and of a zip of these alone (deflate, level 9, headers included)."""

    size_bytes: int
    size_zipped_bytes: int


def measure_size(path: Path, outside: Sequence[Path] = ()) -> Size:
    """Size of one file, and of those `outside` with its external data, in bytes; raises StepError.

    The same content gives the same two numbers whatever the file's name.
    """
    # A fixed name, because an artifact's own is 64 digits of hash that would count as bytes.
    members = {"model.onnx": path} | {file.name: file for file in outside}
    total, archive = 0, io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        for name, file in members.items():
            try:
                content = file.read_bytes()
            except OSError as error:
                raise StepError(f"{file} cannot be read: {error.strerror}") from None
            total += len(content)
            zipped.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)
    return Size(total, len(archive.getvalue()))
