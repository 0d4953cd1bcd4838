"""The embedded series: how a pen moved while it wrote a digit, from an `.npz` file such as users have."""

from __future__ import annotations

from engine.datasets.file_hash import file_sha256
from engine.datasets.items import Gathered
from engine.datasets.npz import gather_npz
from engine.errors import DatasetError
from engine.paths import DATA
from engine.spec.sections import Data

PEN_DIGITS = DATA / "pen_digits.npz"
PEN_DIGITS_SHA256 = "f57421c144284b6d264017596e4e940886d505434a15f857f3e30a87ed07993b"
_RESTORE = "restore it from a fresh clone (`git checkout -- data/pen_digits.npz`)"


def pen_digits_checksum() -> str:
    """SHA-256 of the file, held against the one that it shipped with; raises DatasetError."""
    found = file_sha256(PEN_DIGITS, "data pen_digits", _RESTORE)
    if found != PEN_DIGITS_SHA256:
        raise DatasetError(
            f"{PEN_DIGITS} has the wrong checksum (SHA-256 {found[:12]}…, expected {PEN_DIGITS_SHA256[:12]}…); {_RESTORE}"
        )
    return found


def gather_pen_digits(data: Data) -> Gathered:
    """7,494 digits of 30 writers to train on, 3,498 of 14 others to test on: x and y, 0 to 100, of eight points along the stroke.

    Alpaydin and Alimoglu 1998, doi:10.24432/C5MG6K. Arrays are (n, channels, points), uint8.
    """
    pen_digits_checksum()
    return gather_npz(data if data.kind else data.model_copy(update={"kind": "series"}), data.source, PEN_DIGITS)
