"""One picture: a file, the bytes of one, or a cell of a Parquet file that stays there; its header, and what damaged ones are told by."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.datasets.file_hash import file_sha256
from engine.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
_THREADS = min(4, os.cpu_count() or 1)
_CHUNK = 64
_ORIENTATION = 0x0112
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, struct.error, MemoryError, ZeroDivisionError
)  # fmt: skip
"""What Pillow raises for files that are none, cut short, or made to hurt."""

T = TypeVar("T")
R = TypeVar("R")


class DamagedPictures(DatasetError):
    """Pictures that cannot be read, by name."""

    def __init__(self, pictures: list[str]) -> None:
        shown = ", ".join(pictures[:3]) + (", …" if len(pictures) > 3 else "")
        which = "1 picture is" if len(pictures) == 1 else f"{len(pictures)} pictures are"
        super().__init__(f"{which} damaged or of an unknown kind: {shown}; save again, or remove, what is named")
        self.pictures = pictures


@dataclass(frozen=True, slots=True)
class Header:
    """A picture before it is decoded: (width, height) the right way up, how Pillow has it, and whether it is see-through, or turned."""

    size: tuple[int, int]
    mode: str
    alpha: bool
    turned: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a picture lies in a Parquet file, with what was seen of it there: the SHA-256 of its bytes, and its header, None where it is
    damaged.
    """

    column: tuple[Path, str]
    row: int
    sha256: bytes
    header: Header | None


@dataclass(frozen=True, slots=True)
class Picture:
    """A file, the bytes of one, or where these lie, and what messages call it."""

    name: str
    content: Path | bytes | Cell

    def sha256(self) -> str:
        """Of its bytes, in hex."""
        if isinstance(self.content, Cell):
            return self.content.sha256.hex()
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        return file_sha256(self.content, self.name, "give the path of a picture")

    def open(self) -> Image:
        """Its header read, its pixels not; raises what Pillow does. Not for a cell, which `at_hand` reads first."""
        from PIL import Image

        assert not isinstance(self.content, Cell)
        content = io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content
        with warnings.catch_warnings():
            # Pillow warns of large pictures; their size is checked here.
            warnings.simplefilter("ignore")
            return Image.open(content, formats=FORMATS)

    def header(self) -> Header | None:
        """None where it is damaged or of an unknown kind."""
        if isinstance(self.content, Cell):
            return self.content.header
        try:
            with self.open() as opened:
                size, mode = opened.size, opened.mode
                # Of a PNG without EXIF, asking for it would decode the picture; Pillow turns a TIFF by itself.
                may_be_turned = (
                    opened.format != "TIFF" if "exif" in opened.info else opened.format in ("JPEG", "MPO", "WEBP")
                )
                orientation = opened.getexif().get(_ORIENTATION, 1) if may_be_turned else 1
                if orientation in (5, 6, 7, 8):
                    size = size[1], size[0]
                alpha = mode in ("LA", "PA", "RGBA") or "transparency" in opened.info
                return Header(size, mode, alpha, orientation in range(2, 9))
        except DAMAGE:
            return None
        except Exception as error:
            from PIL import Image

            if isinstance(error, Image.DecompressionBombError):
                return None
            raise


def in_threads(do: Callable[[T], R], what: Iterable[T]) -> Iterator[R]:
    """In order; a few are asked for at a time, so that no more than these are in memory."""
    rest = iter(what)
    with ThreadPoolExecutor(_THREADS) as pool:
        while some := list(islice(rest, _CHUNK)):
            yield from pool.map(do, some)
