"""Bytes of a file as it lies on disk, and as it travels."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from engine.errors import StepError


@dataclass(frozen=True)
class Size:
    """Bytes of the file, and of a zip that holds it alone (deflate, level 9, headers included)."""

    size_bytes: int
    size_zipped_bytes: int


def measure_size(path: Path) -> Size:
    """Size of one file, in bytes; the same content gives the same two numbers whatever its name. Raises StepError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StepError(f"{path} cannot be read: {error.strerror}") from None
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        # A fixed name, because an artifact's own is 64 digits of hash that would count as bytes.
        zipped.writestr(zipfile.ZipInfo("model.onnx"), content, zipfile.ZIP_DEFLATED, 9)
    return Size(len(content), len(archive.getvalue()))
