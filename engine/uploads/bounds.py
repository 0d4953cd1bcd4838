"""How much an uploaded file may be, and what looking at it may take."""

from __future__ import annotations

import math
import os
from dataclasses import replace

from engine.datasets.pictures import MOST_PIXELS
from engine.errors import InputError, SetupError
from engine.uploads.limited import Limits

__all__ = ["MOST_PIXELS", "Refused", "kept_at_most", "size"]

MOST_BYTES = 100 << 20
"""Of one file, as it is sent; `.streamlit/config.toml` says the same to the browser."""
MOST_UNPACKED = 1 << 30
MOST_MEMBERS = 50_000
MOST_RATIO, RATIO_FREE_BYTES = 200, 256 << 20
"""Unpacked to packed, above so many bytes; numbers and pictures that somebody measured stay far below."""
MOST_PIXELS_TOGETHER = 4_000_000_000
"""Of all pictures of a zip: a minute or two of decoding, each time that they are read."""
MOST_AXES = 8
MOST_NODES, MOST_DEPTH = 100_000, 8
"""Of a graph with its functions written out, and of branches within branches."""
MOST_VALUE_BYTES = 1 << 30
"""Of a tensor that a graph declares, for one item."""

LOOKING = Limits(memory_bytes=3 << 30, cpu_s=120, wall_s=240, file_bytes=MOST_UNPACKED + (64 << 20))
"""What the process takes at most that looks at a file."""
CHECKING = Limits(memory_bytes=8 << 30, cpu_s=180, wall_s=120, file_bytes=8 << 30)
"""And the one that tries a few samples of uploaded data, which may have to unpack them into a file first."""
UNLIMITED = 1 << 62
_YEARS_S = 10**9  # Linux counts in nanoseconds, and ends what is told more than it can count
OPENING = Limits(memory_bytes=3 << 30, cpu_s=_YEARS_S, wall_s=30, file_bytes=1 << 30)
"""The process that pages open networks in, for each of their questions; its computing is what one question's time allows."""
OPENING_OWN = replace(OPENING, memory_bytes=UNLIMITED, wall_s=600, file_bytes=UNLIMITED)
"""Of networks that lay on the server already."""
_KEPT_GB = 10.0


class Refused(InputError):
    """An uploaded file that is not taken; one line, which says what to do."""


def kept_at_most() -> int:
    """Bytes that all uploads together may take (`PARETOSCOPE_UPLOADS_GB`, 10); SetupError where that is no number."""
    said = os.environ.get("PARETOSCOPE_UPLOADS_GB", "")
    try:
        found = float(said) if said else _KEPT_GB
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise SetupError(f"PARETOSCOPE_UPLOADS_GB is {said!r}; give gigabytes, a number above 0")
    return int(found * 1e9)


def size(n_bytes: float) -> str:
    """Bytes for people, `1.2 GB`."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:,.3g} {unit}" if n_bytes < 1000 * scale else f"{n_bytes / scale:,.0f} {unit}"
    return f"{n_bytes:.0f} bytes"
