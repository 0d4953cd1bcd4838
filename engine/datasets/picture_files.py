"""Picture files -> items of one size: looked at first, read once, each straight into its place.

Peak memory is the pictures as uint8, once, and one decoded picture for each of a few threads; where they are many (`cache.py`), 64 MiB of
them at a time, on the way to a file of the cache.

A picture is turned as its EXIF says, made grey where all are grey and RGB otherwise, as Pillow does: see-through pictures lose their alpha,
as they do in torchvision. Then its shorter side is made `resize` and the centre `crop` is cut, to the pixel as torchvision's Resize and
CenterCrop do with Pillow's pictures.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engine.datasets.cache import cached
from engine.datasets.items import Chosen, Hashes
from engine.datasets.parquet_pictures import as_they_lie, at_hand
from engine.datasets.picture import DAMAGE, DamagedPictures, Header, Picture, in_threads
from engine.errors import DatasetError
from engine.graph.on_disk import OnDisk
from engine.spec.canonical import digest
from engine.spec.sections import Data

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
MOST_PIXELS = 200_000_000
"""Of one picture; more are taken for files that were made to hurt."""
_GREY, _COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_PART_BYTES = 64 << 20


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
        files = self.files if chosen is None else [self.files[i] for i in chosen.tolist()]
        found = np.empty((len(files), *self.shape), np.uint8)
        if damaged := self._put(found, at_hand(files)):
            raise DamagedPictures(damaged)
        return found

    def _put(self, found: npt.NDArray[np.uint8], pictures: Iterable[tuple[int, Picture]]) -> list[str]:
        """Decode pictures into their places; the names of those that are damaged."""

        def put(placed: tuple[int, Picture]) -> str | None:
            place, picture = placed
            try:
                with picture.open() as opened:
                    pixels = self._pixels(opened)
            except DAMAGE:
                return picture.name
            if pixels.shape != found.shape[1:]:
                return picture.name
            found[place] = pixels
            return None

        return [name for name in in_threads(put, pictures) if name is not None]

    @property
    def nbytes(self) -> int:
        """What all take once they are read."""
        return len(self.files) * math.prod(self.shape)

    def on_disk(self, what: str) -> OnDisk:
        """All of them, decoded into a file of the cache where it is not there yet; raises DamagedPictures, DatasetError without room."""
        from PIL import __version__ as pillow

        # Those of a Parquet file are read in the order in which they lie there, and found again by their places.
        order = as_they_lie(self.files)
        files = [self.files[i] for i in order.tolist()]
        made_of = [[file.sha256() for file in files], self.shape, self.resize, self.crop, pillow, _own_code()]
        header = (len(files), *self.shape), np.dtype(np.uint8)
        found = cached(digest(["pictures", *made_of]), self.nbytes, what, lambda file: self._write(files, file), header)
        return found.part(np.argsort(order))

    def _write(self, files: list[Picture], file: IO[bytes]) -> None:
        step, damaged = max(1, _PART_BYTES // math.prod(self.shape)), list[str]()
        pictures = (picture for _, picture in at_hand(files))
        for start in range(0, len(files), step):
            pixels = np.empty((min(step, len(files) - start), *self.shape), np.uint8)
            damaged += self._put(pixels, enumerate(islice(pictures, len(pixels))))
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


def _resized(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """(width, height) with the shorter side made so long."""
    if side is None:
        return size
    width, height = size
    return (side, int(side * height / width)) if width <= height else (int(side * width / height), side)


def look_at(groups: dict[str, list[Picture]], data: Data) -> tuple[dict[str, Pictures], tuple[str, ...]]:
    """Pictures of each split as items of one shape, and what was decided; reads headers alone.

    Raises DatasetError for pictures that are none, of a kind that cannot be kept in 8 bits, or of sizes that differ.
    """
    if data.kind not in (None, "image"):
        raise DatasetError(f"data.kind is {data.kind}, but {data.source} holds pictures; leave it out")
    every = [picture for group in groups.values() for picture in group]
    found = list(in_threads(Picture.header, every))
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


def _one_size(pictures: list[Picture], headers: list[Header], resize: int | None, crop: int | None) -> tuple[int, int]:
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
