"""Picture files -> items of one size: looked at first, read once, each straight into its place.

Peak memory is the pictures as uint8, once, and one decoded picture for each of a few threads; where they are many (`cache.py`), 64 MiB of
them at a time, on the way to a file of the cache.

A picture is turned as its EXIF says, made grey where all are grey and RGB otherwise, as Pillow does: see-through pictures lose their alpha,
as they do in torchvision. Then its shorter side is made `resize` and the centre `crop` is cut, to the pixel as torchvision's Resize and
CenterCrop do with Pillow's pictures.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from engine.datasets.cache import cached
from engine.datasets.file_hash import file_sha256
from engine.datasets.items import Chosen, Hashes
from engine.errors import DatasetError
from engine.graph.on_disk import OnDisk
from engine.spec.canonical import digest
from engine.spec.sections import Data

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
MOST_PIXELS = 200_000_000
"""Of one picture; more are taken for files that were made to hurt."""
_GREY, _COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_THREADS = min(4, os.cpu_count() or 1)
_CHUNK = 64
_PART_BYTES = 64 << 20
_ORIENTATION = 0x0112
# What Pillow raises for files that are none, cut short, or made to hurt.
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, struct.error, MemoryError, ZeroDivisionError
)  # fmt: skip

T = TypeVar("T")
R = TypeVar("R")


class DamagedPictures(DatasetError):
    """Pictures that cannot be read, by name."""

    def __init__(self, pictures: list[str]) -> None:
        shown = ", ".join(pictures[:3]) + (", …" if len(pictures) > 3 else "")
        which = "1 picture is" if len(pictures) == 1 else f"{len(pictures)} pictures are"
        super().__init__(f"{which} damaged or of an unknown kind: {shown}; save again, or remove, what is named")
        self.pictures = pictures


@dataclass(frozen=True)
class Picture:
    """A file, or the bytes of one, and what messages call it."""

    name: str
    content: Path | bytes

    def sha256(self) -> str:
        """Of its bytes, in hex."""
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        return file_sha256(self.content, self.name, "give the path of a picture")

    def open(self) -> Image:
        """Its header read, its pixels not; raises what Pillow does."""
        from PIL import Image

        content = io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content
        with warnings.catch_warnings():
            # Pillow warns of large pictures; their size is checked here.
            warnings.simplefilter("ignore")
            return Image.open(content, formats=FORMATS)


@dataclass(frozen=True)
class Pictures:
    """Pictures that are to be read as (channels, height, width)."""

    files: tuple[Picture, ...]
    shape: tuple[int, int, int]
    resize: int | None
    crop: int | None

    def __len__(self) -> int:
        return len(self.files)

    def hashes(self) -> Hashes:
        """Of the files' bytes: the same picture saved in another way counts as another."""
        return np.array([bytes.fromhex(file.sha256())[:16] for file in self.files], "S16")

    def read(self, chosen: Chosen | None) -> npt.NDArray[np.uint8]:
        """The chosen, decoded into one array; raises DamagedPictures."""
        numbers = range(len(self.files)) if chosen is None else chosen.tolist()
        files = [self.files[i] for i in numbers]
        found = np.empty((len(files), *self.shape), np.uint8)

        def put(place: int) -> str | None:
            try:
                with files[place].open() as opened:
                    pixels = self._pixels(opened)
            except _DAMAGE:
                return files[place].name
            if pixels.shape != found.shape[1:]:
                return files[place].name
            found[place] = pixels
            return None

        damaged = [name for name in _in_threads(put, range(len(files))) if name is not None]
        if damaged:
            raise DamagedPictures(damaged)
        return found

    @property
    def nbytes(self) -> int:
        """What all take once they are read."""
        return len(self.files) * math.prod(self.shape)

    def on_disk(self, what: str) -> OnDisk:
        """All of them, decoded into a file of the cache where it is not there yet; raises DamagedPictures, DatasetError without room."""
        from PIL import __version__ as pillow

        made_of = [[file.sha256() for file in self.files], self.shape, self.resize, self.crop, pillow, _own_code()]
        header = (len(self.files), *self.shape), np.dtype(np.uint8)
        return cached(digest(["pictures", *made_of]), self.nbytes, what, self._write, header)

    def _write(self, file: IO[bytes]) -> None:
        step, damaged = max(1, _PART_BYTES // math.prod(self.shape)), list[str]()
        for start in range(0, len(self.files), step):
            try:
                pixels = self.read(np.arange(start, min(start + step, len(self.files))))
            except DamagedPictures as error:
                damaged += error.pictures
                continue
            if not damaged:
                file.write(pixels.data)
        if damaged:
            raise DamagedPictures(damaged)

    def _pixels(self, opened: Image) -> npt.NDArray[np.uint8]:
        from PIL import Image, ImageOps

        picture = ImageOps.exif_transpose(opened).convert("L" if self.shape[0] == 1 else "RGB")
        width, height = _resized(picture.size, self.resize)
        if (width, height) != picture.size:
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        if self.crop is not None:
            left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
            picture = picture.crop((left, top, left + self.crop, top + self.crop))
        pixels = np.asarray(picture, np.uint8)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@cache
def _own_code() -> str:
    """Of this module, which decides what pixels a picture has."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _in_threads(do: Callable[[T], R], what: Sequence[T]) -> list[R]:
    """In order; a few at a time, so that no more than a few are decoded at once."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return [r for start in range(0, len(what), _CHUNK) for r in pool.map(do, what[start : start + _CHUNK])]


def _resized(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """(width, height) with the shorter side made so long."""
    if side is None:
        return size
    width, height = size
    return (side, int(side * height / width)) if width <= height else (int(side * width / height), side)


@dataclass(frozen=True)
class _Header:
    """A picture before it is decoded: (width, height) the right way up, how Pillow has it, and whether it is see-through, or turned."""

    size: tuple[int, int]
    mode: str
    alpha: bool
    turned: bool


def look_at(groups: dict[str, list[Picture]], data: Data) -> tuple[dict[str, Pictures], tuple[str, ...]]:
    """Pictures of each split as items of one shape, and what was decided; reads headers alone.

    Raises DatasetError for pictures that are none, of a kind that cannot be kept in 8 bits, or of sizes that differ.
    """
    if data.kind not in (None, "image"):
        raise DatasetError(f"data.kind is {data.kind}, but {data.source} holds pictures; leave it out")
    every = [picture for group in groups.values() for picture in group]
    found = _in_threads(_header, every)
    headers = [h for h in found if h is not None]
    if len(headers) < len(every):
        raise DamagedPictures([picture.name for picture, header in zip(every, found, strict=True) if header is None])
    for picture, header in zip(every, headers, strict=True):
        if header.size[0] * header.size[1] > MOST_PIXELS:
            raise DatasetError(
                f"{picture.name} has {_size(header.size)} pixels; at most {MOST_PIXELS:,} are read: save it smaller"
            )
        if header.mode not in (*_GREY, *_COLOUR):
            raise DatasetError(
                f"{picture.name} is of Pillow's mode {header.mode}, more than 8 bits a value or no colours; save it in 8 bits"
            )
    stated = data.preprocess
    resize, crop = (stated.resize, stated.crop) if stated else (None, None)
    width, height = _one_size(every, headers, resize, crop)
    channels = 1 if all(h.mode in _GREY for h in headers) else 3
    pictures = {s: Pictures(tuple(group), (channels, height, width), resize, crop) for s, group in groups.items()}
    found_notes = (
        (sum(h.alpha for h in headers), "are see-through in parts, which is left out"),
        (sum(h.turned for h in headers), "are turned as their EXIF says, which torchvision's ImageFolder does not do"),
    )
    return pictures, tuple(f"{n} of {len(every)} pictures {what}" for n, what in found_notes if n)


def _header(picture: Picture) -> _Header | None:
    try:
        with picture.open() as opened:
            size, mode = opened.size, opened.mode
            # Of a PNG without EXIF, asking for it would decode the picture; Pillow turns a TIFF by itself.
            may_be_turned = (
                opened.format != "TIFF" if "exif" in opened.info else opened.format in ("JPEG", "MPO", "WEBP")
            )
            orientation = opened.getexif().get(_ORIENTATION, 1) if may_be_turned else 1
            if orientation in (5, 6, 7, 8):
                size = size[1], size[0]
            return _Header(
                size, mode, mode in ("LA", "PA", "RGBA") or "transparency" in opened.info, orientation in range(2, 9)
            )
    except _DAMAGE:
        return None
    except Exception as error:
        from PIL import Image

        if isinstance(error, Image.DecompressionBombError):
            return None
        raise


def _one_size(pictures: list[Picture], headers: list[_Header], resize: int | None, crop: int | None) -> tuple[int, int]:
    """The (width, height) of all once they are resized and cut; DatasetError where that is not one."""
    sizes = [_resized(h.size, resize) for h in headers]
    if crop is not None:
        small = next((i for i, size in enumerate(sizes) if min(size) < crop), None)
        if small is not None:
            raise DatasetError(
                f"{pictures[small].name} has {_size(headers[small].size)} pixels, too few for data.preprocess.crop {crop}; "
                f"resize to at least as much: preprocess: {{resize: {crop}, crop: {crop}}}"
            )
        return crop, crop
    other = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        raise DatasetError(
            f"pictures differ in size: {pictures[0].name} has {_size(headers[0].size)} pixels, {pictures[other].name} "
            f"{_size(headers[other].size)}; make them alike, for example preprocess: {{resize: 256, crop: 224}}"
        )
    return sizes[0]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
