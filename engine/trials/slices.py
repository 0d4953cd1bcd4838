"""What is said of each slice of the test samples: frozen records, JSON in, JSON out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from engine.trials.evidence import Interval, interval_of

Figure = Literal["accuracy", "score", "fidelity"]
FIGURES: tuple[Figure, ...] = ("score", "accuracy", "fidelity")
"""The figures of a slice; the first that there is says how good a trial is there."""


@dataclass(frozen=True)
class SliceFigure:
    """A number of one slice with its 95 % interval, and its difference to the baseline's on the same samples, None for the baseline."""

    value: float
    low: float
    high: float
    vs_baseline: Interval | None = None

    @property
    def is_certain(self) -> bool:
        """Whether the interval of the change leaves no change out."""
        return self.vs_baseline is not None and (self.vs_baseline.low > 0 or self.vs_baseline.high < 0)

    @classmethod
    def from_json(cls, record: dict[str, Any] | None) -> SliceFigure | None:
        """The inverse of `asdict`, None for None."""
        return None if record is None else cls(**{**record, "vs_baseline": interval_of(record["vs_baseline"])})


@dataclass(frozen=True)
class Slice:
    """The `n` test samples of which the array says `value`.

    `accuracy` is a share; `score` is of the spec's own metric; `fidelity` is there where neither is, the agreement of classes or the
    relative error of values. A figure that has no interval on so few samples, or is not defined for them, is None.
    """

    array: str
    value: str
    n: int
    accuracy: SliceFigure | None = None
    score: SliceFigure | None = None
    fidelity: SliceFigure | None = None

    @property
    def name(self) -> str:
        """`site A`."""
        return f"{self.array} {self.value}"

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Slice:
        """The inverse of `asdict`."""
        figures = {str(name): SliceFigure.from_json(record[name]) for name in FIGURES}
        return cls(**{**record, **figures})


@dataclass(frozen=True)
class WorstSlice:
    """The slice that is worst: its array and value, and its number, whose interval allows for the choice of the worst of many."""

    array: str
    value: str
    interval: Interval

    @classmethod
    def from_json(cls, record: dict[str, Any] | None) -> WorstSlice | None:
        """The inverse of `asdict`, None for None."""
        return None if record is None else cls(**{**record, "interval": Interval(**record["interval"])})


@dataclass(frozen=True)
class Slices:
    """Every slice of the test samples. `key` is the metric by which the worst is told: the spec's own, accuracy, or fidelity.

    `worst` is the slice in which that is worst, `worst_drop` the one that got worse most against the baseline, by how much (negative where
    all got better); None for the baseline, and where no slice has the number.
    """

    key: str
    parts: tuple[Slice, ...]
    worst: WorstSlice | None = None
    worst_drop: WorstSlice | None = None

    @property
    def figure(self) -> Figure:
        """Which figure of a slice `key` is."""
        if self.key == "accuracy":
            return "accuracy"
        return "score" if self.key.startswith("score:") else "fidelity"

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Slices:
        """The inverse of `asdict`."""
        worst = {name: WorstSlice.from_json(record[name]) for name in ("worst", "worst_drop")}
        return cls(record["key"], tuple(Slice.from_json(part) for part in record["parts"]), **worst)
