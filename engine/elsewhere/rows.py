"""What a reader of somebody else's results hands over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One point: its name, its numbers by the keys of metrics in base units, and what else is to be said of it."""

    name: str
    values: Mapping[str, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """All points of a source, what it is called, and what in it was left out, in words."""

    source: str
    rows: tuple[Row, ...]
    left_out: tuple[str, ...] = ()
