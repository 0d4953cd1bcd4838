"""Whether an `.npz` holds arrays of numbers and text, as large as they say, and nothing else; nothing is unpickled."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.uploads import bounds, zips
from engine.uploads.bounds import Refused, size

_KINDS = "biufU"
_MOST_HEADER = 10_000


def look_at(path: Path, told: Callable[[float], None]) -> dict[str, Any]:
    """The arrays, name -> shape and type, each read once to its end; raises Refused. `told` is given the share that is done."""
    found: dict[str, Any] = {}
    with zips.opened(path) as (archive, members):
        other = next((i.filename for i in members if not i.filename.endswith(".npy")), None)
        if other is not None:
            raise Refused(f"holds {other[:80]!r} beside arrays; save arrays alone, with np.savez")
        whole = max(1, sum(info.file_size for info in members))
        done = 0
        for info in members:
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as stream:
                shape, dtype = header(stream, info.file_size, name)
            found[name] = f"{'×'.join(map(str, shape)) or 'one value'} {dtype}"
            done += zips.copied(archive, info, lambda piece: None)
            told(done / whole)
    if not found:
        raise Refused("is empty; save arrays with np.savez")
    return {"arrays": found}


def header(stream: IO[bytes], n_bytes: int, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array, which fill its `n_bytes` to the last; raises Refused, before room is made for what it declares."""
    try:
        shape, _, dtype = _read_header(stream)
    except ValueError as error:
        reason = " ".join(str(error).split())[:100]
        raise Refused(f"holds {name[:80]!r}, which is no array ({reason}); save it again with np.savez") from None
    at = stream.tell()
    if dtype.hasobject or dtype.kind not in _KINDS:
        what = (
            "Python objects (a pickle), which could run code"
            if dtype.hasobject
            else f"{dtype}, which are no plain numbers"
        )
        raise Refused(f"holds {name[:80]!r}, an array of {what}; save plain number arrays with np.savez")
    if len(shape) > bounds.MOST_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise Refused(f"holds {name[:80]!r} with an impossible shape; save it again with np.savez")
    declared = math.prod(shape) * dtype.itemsize
    if declared != n_bytes - at:
        raise Refused(
            f"holds {name[:80]!r}, which says that it has {size(declared)} but has {size(max(0, n_bytes - at))}; save it again "
            "with np.savez"
        )
    if 0 in shape and max(shape) > bounds.MOST_MEMBERS:
        raise Refused(f"holds {name[:80]!r}, which is empty but not small; save at least one item")
    return shape, dtype


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream, max_header_size=_MOST_HEADER)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream, max_header_size=_MOST_HEADER)
    raise ValueError(f"format {version[0]}.{version[1]}")
