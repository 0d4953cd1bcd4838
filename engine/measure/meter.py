"""What every counter of energy is: windows that are opened and closed, and joules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Reading:
    """What a meter saw of one window."""

    joules: float
    seconds: float


class Meter(Protocol):
    """A counter of energy. `name` is for people, `covers` says what it counts; `update_s`: seconds between two ticks."""

    name: str
    covers: str
    update_s: float

    def begin(self) -> None:
        """Open a window."""
        ...

    def end(self) -> Reading:
        """Close it."""
        ...
