"""Outputs that are values, not classes: kept for every trial, and how close two files' are.

An `.npz` without pickles, arrays in the order of the samples:

    outputs   float32 (k, …)   what the network gives, of the first k of the n samples: all of them unless that were more than 64 MB
    count     int64 ()         n
    names     text (outputs,)  where several outputs count, which lie side by side then, (k, numbers): their names,
    widths    int64 (outputs,) and how many numbers each has

beside what the metric says (`scored.py`).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import SetupError, StepError
from engine.graph.outputs import Parts, levelled
from engine.quality.scored import DRAWS, Scored, drawn
from engine.quality.statistics import Floats, mean_interval
from engine.quality.task_scores import cosines
from engine.trials.evidence import Fidelity, Interval

MOST_NUMBERS = 16_000_000
NEIGHBOURS = 10
# Fewer numbers than this are no embedding, and among fewer samples most are neighbours.
_LEAST_WIDTH, _LEAST_SAMPLES, _MOST_SAMPLES = 8, 30, 2_000
_DAMAGE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Values:
    """Outputs (k, …) of the first samples of `count`, and what the metric says of all of them; `parts` of several, side by side."""

    outputs: npt.NDArray[np.float32]
    count: int
    scored: Scored | None = None
    parts: Parts = ()

    def __len__(self) -> int:
        return self.count

    @property
    def right_count(self) -> None:
        """Values are not right or wrong."""
        return None

    @classmethod
    def of(cls, outputs: npt.NDArray[Any], scored: Scored | None, parts: Parts = ()) -> Values:
        """Of all samples' outputs (n, …), as many as are kept."""
        kept = max(1, MOST_NUMBERS // max(1, outputs[:1].size))
        return cls(np.ascontiguousarray(outputs[:kept], np.float32), len(outputs), scored, parts)

    def save(self, path: Path) -> None:
        """Write the file under exactly this name; the same values give the same bytes."""
        arrays: dict[str, Any] = {"outputs": self.outputs, "count": np.int64(self.count)}
        if self.parts:
            names, widths = zip(*self.parts, strict=True)
            arrays |= {"names": np.array(names), "widths": np.array(widths, np.int64)}
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays, **(self.scored.arrays() if self.scored else {}))

    @classmethod
    def load(cls, path: Path) -> Values:
        """The inverse of `save`; raises SetupError for a missing or damaged file."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            outputs, count = arrays["outputs"], int(arrays["count"])
            if outputs.dtype != np.float32 or not 1 <= len(outputs) <= count:
                raise ValueError("wrong type or shape")
            widths = arrays.get("widths", np.empty(0, np.int64)).tolist()
            parts = tuple(zip(map(str, arrays.get("names", ())), widths, strict=True))
            if parts and outputs.shape[1:] != (sum(widths),):
                raise ValueError("wrong type or shape")
            return cls(outputs, count, Scored.of(arrays), parts)
        except _DAMAGE as error:
            raise SetupError(f"{path} holds no outputs ({error}); delete it and run the sweep again") from None


def value_fidelity(found: Values, baseline: Values | None) -> Fidelity:
    """How close outputs are to the baseline's (None for the baseline itself); raises StepError where samples or shapes differ."""
    other = found if baseline is None else baseline
    mine, theirs = alike(found, other)
    widths = [width for _, width in found.parts] or [theirs.shape[1]]
    ends = np.cumsum(widths)[:-1]
    pairs = list(zip(np.split(mine, ends, axis=1), np.split(theirs, ends, axis=1), strict=True))
    # Of one number a cosine is a sign.
    angled = [pair for pair in pairs if pair[1].shape[1] > 1]
    embeds = [pair for pair in pairs if pair[1].shape[1] >= _LEAST_WIDTH and len(theirs) >= _LEAST_SAMPLES]
    kept = Interval(1.0, 1.0, 1.0)

    def mean(of: Callable[[Floats, Floats], Floats], some: list[tuple[Floats, Floats]]) -> Interval | None:
        if not some:
            return None
        return Interval(*mean_interval(np.mean([of(*pair) for pair in some], axis=0))) if baseline else kept

    return Fidelity(
        relative_error=relative_error(mine, theirs),
        cosine=mean(cosines, angled),
        neighbours=mean(_kept_neighbours, embeds),
    )


def alike(found: Values, other: Values) -> tuple[Floats, Floats]:
    """The kept outputs of two files, (k, numbers) each; of several outputs each divided by how much the other file's varies, so that all
    weigh the same. Raises StepError where samples, shapes or outputs differ.
    """
    widths = [[width for _, width in x.parts] for x in (found, other)]
    if found.outputs.shape != other.outputs.shape or found.count != other.count or widths[0] != widths[1]:
        raise StepError(
            f"fidelity: outputs {found.outputs.shape} of {found.count} against the baseline's {other.outputs.shape} of {other.count}"
        )
    mine, theirs = (x.outputs.reshape(len(x.outputs), -1).astype(np.float64) for x in (found, other))
    if not found.parts:
        return mine, theirs
    units = levelled(theirs, found.parts)
    return mine / units, theirs / units


def relative_error(found: npt.NDArray[Any], reference: npt.NDArray[Any]) -> Interval | None:
    """How far outputs (n, …) are from others, by the bootstrap; None where those are the same for every sample, of which nothing can be a
    share.
    """
    mine, theirs = (x.reshape(len(x), -1).astype(np.float64) for x in (found, reference))
    off = np.square(mine - theirs).sum(axis=1)
    spread = np.square(theirs - theirs.mean(axis=0)).sum(axis=1)
    if not spread.sum() > 0:
        return None
    drawn_sums = np.array([(off[c].sum(), spread[c].sum()) for c in drawn(len(off), DRAWS)])
    usable = drawn_sums[drawn_sums[:, 1] > 0]
    low, high = np.percentile(np.sqrt(usable[:, 0] / usable[:, 1]), [2.5, 97.5])
    return Interval(float(np.sqrt(off.sum() / spread.sum())), float(low), float(high))


def _kept_neighbours(mine: Floats, theirs: Floats) -> Floats:
    """For each of the first samples, the share of its ten nearest, by cosine, that both have; (n,)."""
    nearest = []
    for values in (mine[:_MOST_SAMPLES], theirs[:_MOST_SAMPLES]):
        units = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-300)
        alike = units @ units.T
        np.fill_diagonal(alike, -np.inf)
        nearest.append(np.argsort(-alike, axis=1, kind="stable")[:, :NEIGHBOURS])
    shared = (nearest[0][:, :, None] == nearest[1][:, None, :]).any(axis=2)
    return np.asarray(shared.mean(axis=1), np.float64)
