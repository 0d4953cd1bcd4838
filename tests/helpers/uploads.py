"""Files as somebody might send them, sound and hostile, and what became of them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from engine.paths import uploads_path
from engine.uploads import keep
from engine.uploads.bounds import Refused


def picture(seed: int = 0, side: int = 8, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)).save(file, format)
    return file.getvalue()


def zipped(members: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def send(content: bytes, wanted: Literal["model", "data"] = "data", name: str = "sent.bin") -> keep.Upload:
    return keep.receive(io.BytesIO(content), name, wanted)


def refusal(content: bytes, wanted: Literal["model", "data"] = "data", name: str = "sent.bin") -> str:
    """Why a file is not taken, in a line that begins with its name; of which nothing is left behind."""
    with pytest.raises(Refused) as raised:
        send(content, wanted, name)
    said = str(raised.value)
    assert said.startswith(name)
    assert "\n" not in said
    assert str(uploads_path()) not in said
    assert left_behind() == []
    return said


def left_behind() -> list[Path]:
    return sorted(uploads_path().iterdir())
