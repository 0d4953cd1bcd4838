"""Uploaded pictures -> one input of a dataset, and inputs back to pictures to look at. Nothing is written anywhere.

A file's name says nothing about what it is: it is decoded by Pillow as PNG or JPEG alone, after its size has been checked, and every
mistake is one line.
"""

from __future__ import annotations

import io
import struct
import warnings
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engine.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

Array = npt.NDArray[np.generic]
Pixels = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG")
MOST_BYTES = 10 << 20
MOST_PIXELS = 25_000_000
"""Decoded, about 100 MB for a moment."""
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# What Pillow raises for files that are none, cut short, or made to hurt.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    MemoryError,
)


def decode(content: bytes) -> Image:
    """A PNG or JPEG file, the right way up; raises InputError in one line for anything else.

    Refused are files of more than 10 MiB, more than 25 million pixels, and those that are damaged. Of an animation the first picture is
    taken.
    """
    from PIL import Image, ImageOps

    if len(content) > MOST_BYTES:
        raise InputError(
            f"the picture has {len(content) / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:.0f} MB are read: save it smaller"
        )
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; the size is checked right below, before anything is decoded.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
                width, height = opened.size
                if width * height <= MOST_PIXELS:
                    opened.load()
                    return ImageOps.exif_transpose(opened)
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        # Pillow names the memory that it read from, which tells nobody anything.
        known = "" if "cannot identify" in reason or not reason else f" ({reason[:120]})"
        raise InputError(
            f"this file is not a whole PNG or JPEG picture{known}; save it as one of these again"
        ) from None
    raise InputError(
        f"the picture has {width} × {height} pixels; at most {MOST_PIXELS // 1_000_000} million are read: save it smaller"
    )


def to_input(picture: Image, like: Array, swap: bool = False) -> Array:
    """A picture -> an input (1, channels, height, width) as the dataset stores them; `like`, (n, channels, …), are some of those.

    Cut to the network's proportions around the centre, resized, made grey where the dataset is grey, put on white where it is see-through;
    `swap` turns light and dark around. Raises InputError where the dataset's numbers cannot be made from pixels without guessing.
    """
    from PIL import Image, ImageOps

    _, channels, height, width = like.shape
    if channels not in _MODES:
        raise InputError(
            f"this dataset's images have {channels} channels, which a picture has not; pick one of its test images"
        )
    scale = _scale(like)
    if _MODES[channels] != "RGBA" and ("A" in picture.getbands() or "transparency" in picture.info):
        see_through = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", see_through.size, "white"), see_through)
    fitted = ImageOps.fit(picture.convert(_MODES[channels]), (width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(fitted, np.uint8).reshape(height, width, channels)
    if swap:
        # Of four channels the last is how see-through it is, which has no opposite.
        pixels = np.concatenate([255 - pixels[:, :, :3], pixels[:, :, 3:]], axis=2)
    moved = pixels.transpose(2, 0, 1)[None]
    return moved.copy() if scale == 1 else (moved * np.float32(scale)).astype(like.dtype)


def _scale(like: Array) -> float:
    """What 0 … 255 is multiplied by to be like the stored inputs."""
    if like.dtype == np.uint8:
        return 1.0
    low, high = float(like.min()), float(like.max())
    if low >= 0 and high <= 1:
        return 1 / 255
    raise InputError(
        f"this dataset stores numbers from {low:.3g} to {high:.3g}, and how pixels become these is not known here; "
        "pick one of its test images"
    )


def to_pixels(image: Array, low: float, high: float) -> Pixels:
    """An input (channels, height, width) -> (height, width) or (height, width, 3), uint8, to be looked at.

    uint8 is shown as it is; other numbers so that `low` to `high` is black to white. Of 2 or 4 channels the first and the first three. What
    is no picture becomes one: a vector a strip, a series a strip for each channel.
    """
    if image.ndim != 3 or image.shape[0] > 4:
        image = image.reshape(1, 1 if image.ndim == 1 else image.shape[0], -1)
        image = image.repeat(max(1, image.shape[2] // (4 * image.shape[1])), axis=1)
    values = image[:3] if image.shape[0] >= 3 else image[:1]
    if values.dtype != np.uint8:
        spread = (values.astype(np.float64) - low) / (high - low if high > low else 1.0)
        values = (np.clip(spread, 0, 1) * 255).round().astype(np.uint8)
    pixels: Pixels = np.asarray(values[0] if values.shape[0] == 1 else values.transpose(1, 2, 0), np.uint8)
    return pixels


def enlarged(pixels: Pixels, side: int) -> Pixels:
    """Each pixel as a block, so that the longer side has about `side` pixels, and browsers have nothing to smooth."""
    times = max(1, side // max(pixels.shape[:2]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)
