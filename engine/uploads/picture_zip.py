"""A zip of pictures, in class folders or not, unpacked into a folder as `engine/datasets/picture_folder.py` reads it."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from engine.datasets.picture_files import SUFFIXES
from engine.uploads import bounds, zips
from engine.uploads.bounds import Refused, size

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# What computers put into zips by themselves.
_LITTER = {"thumbs.db", "desktop.ini"}


def unpack(path: Path, target: Path, told: Callable[[float], None]) -> dict[str, Any]:
    """Unpack and decode every picture; how many there are, of which classes. Raises Refused; `told` is given the share that is done."""
    with zips.opened(path) as (archive, members):
        wanted = {info: _parts(info) for info in members if not _is_litter(info)}
        if not wanted:
            raise Refused("is empty; zip pictures, in folders named as their classes or without any")
        for info, parts in wanted.items():
            _check_kind(info, parts)
        wanted = _without_wrapping(wanted)
        pixels = 0
        for n, (info, parts) in enumerate(wanted.items(), 1):
            place = target.joinpath(*parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                zips.copied(archive, info, file.write)
            pixels += _decoded(place, info.filename)
            if pixels > bounds.MOST_PIXELS_TOGETHER:
                raise Refused(
                    f"holds pictures of more than {bounds.MOST_PIXELS_TOGETHER / 1e9:g} billion pixels together; make them smaller first"
                )
            told(n / len(wanted))
    classes = Counter(parts[-2] for parts in wanted.values() if len(parts) > 1)
    return {"pictures": len(wanted), "folders": dict(classes.most_common(20)), "folder_count": len(classes)}


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    return PurePosixPath(info.filename).parts


def _is_litter(info: zipfile.ZipInfo) -> bool:
    """What is no one's: files and folders that begin with a dot, and `__MACOSX`."""
    parts = _parts(info)
    return any(part.startswith((".", "__")) for part in parts) or parts[-1].lower() in _LITTER


def _check_kind(info: zipfile.ZipInfo, parts: tuple[str, ...]) -> None:
    suffix = Path(parts[-1]).suffix.lower()
    if suffix in SUFFIXES:
        return
    name = info.filename[:80]
    if suffix in zips.ARCHIVES:
        raise Refused(f"holds another archive, {name!r}; zip the pictures themselves")
    kinds = ", ".join(sorted(s[1:] for s in SUFFIXES))
    raise Refused(f"holds {name!r}, which is no picture ({kinds}); zip pictures alone, or upload an .npz")


def _without_wrapping(wanted: dict[zipfile.ZipInfo, tuple[str, ...]]) -> dict[zipfile.ZipInfo, tuple[str, ...]]:
    """Paths without the one folder that holds all of them: who zips a folder zips its name too, which is no class."""
    while all(len(parts) > 1 for parts in wanted.values()) and len({parts[0] for parts in wanted.values()}) == 1:
        wanted = {info: parts[1:] for info, parts in wanted.items()}
    return wanted


def _decoded(place: Path, name: str) -> int:
    """The pixels of a picture, once it has been decoded whole; raises Refused."""
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; their size is checked here.
            warnings.simplefilter("ignore")
            with Image.open(place, formats=FORMATS) as opened:
                width, height = opened.size
                pixels = width * height
                if pixels <= bounds.MOST_PIXELS:
                    opened.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file makes of them
        reason = "" if "cannot identify" in str(error) else f" ({' '.join(str(error).split())[:80]})"
        raise Refused(
            f"holds {name[:80]!r}, which is no whole picture{reason}; save it again, or leave it out"
        ) from None
    if pixels > bounds.MOST_PIXELS:
        raise Refused(
            f"holds {name[:80]!r} of {width} × {height} pixels ({size(3 * pixels)} once it is read); at most "
            f"{bounds.MOST_PIXELS // 1_000_000} million pixels a picture are taken: save it smaller"
        )
    return pixels
