"""What compression changed in outputs that are values: sample by sample, arrays in, records out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import StepError
from engine.graph.outputs import Parts
from engine.metrics import METRICS
from engine.quality.statistics import Floats
from engine.quality.values import Values, alike


@dataclass(frozen=True)
class Change:
    """A sample's place in the split, what both networks say of it and what it is, as text, and how far apart (see `Changes`)."""

    index: int
    target: str | None
    before: str
    after: str
    change: float


@dataclass(frozen=True)
class Changes:
    """How far each sample's outputs moved, (n,): the metric's number after minus before where it is one of each sample (`by_metric`),
    otherwise the length of the difference as a share of the typical length. `worst`: those that changed for the worse most.
    """

    moved: Floats
    by_metric: bool
    worse: int
    better: int
    worst: tuple[Change, ...]


def changes(
    before: Values, after: Values, targets: npt.NDArray[Any] | None, key: str | None, most: int = 50
) -> Changes:
    """Compare two networks on the same samples; `key` is that of the spec's own metric. Raises StepError where they are of others."""
    if before.outputs.shape != after.outputs.shape:
        raise StepError(f"outputs of {after.outputs.shape} against {before.outputs.shape} of the baseline")
    one, other = (None if x.scored is None else x.scored.samples for x in (before, after))
    if key is not None and one is not None and other is not None:
        moved, by_metric = other - one, True
        worsened = -moved if METRICS[key].maximise else moved
    else:
        b, a = alike(after, before)
        typical = float(np.sqrt(np.square(a - a.mean(axis=0)).sum(axis=1).mean())) or 1.0
        worsened = moved = np.linalg.norm(b - a, axis=1) / typical
        by_metric = False
    order = np.argsort(-worsened, kind="stable")
    order = order[order < len(before.outputs)][:most]
    found = tuple(
        Change(
            int(i),
            None if targets is None else value_text(targets[i]),
            outputs_text(before.outputs[i], before.parts),
            outputs_text(after.outputs[i], after.parts),
            float(moved[i]),
        )
        for i in order
        if worsened[i] > 0
    )
    return Changes(moved, by_metric, int((worsened > 0).sum()), int((worsened < 0).sum()), found)


def value_text(value: Any) -> str:
    """The first few numbers of an output or target."""
    flat = np.atleast_1d(value).ravel()
    some = [str(v)[:20] if flat.dtype.kind == "U" else f"{v:.4g}" for v in flat[:3].tolist()]
    return ", ".join(some) + (", …" if len(flat) > 3 else "")


def outputs_text(outputs: npt.NDArray[Any], parts: Parts) -> str:
    """The first few numbers of what a network gives for a sample; of each output by its name where several lie side by side."""
    if not parts:
        return value_text(outputs)
    ends = np.cumsum([width for _, width in parts])[:-1]
    return "; ".join(
        f"{name} {value_text(part)}" for (name, _), part in zip(parts, np.split(outputs, ends), strict=True)
    )
