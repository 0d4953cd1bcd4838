"""How many units each group loses so that the network loses the share asked for: one knob, turned until it fits, then single steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engine.compress.pruning.structure import Group

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Single steps go on until the share is within half a point, or none helps; from further than this pairs of steps are tried.
_CLOSE, _FAR = 0.005, 0.015


def allowed_counts(group: Group, round_to: int) -> Counts:
    """How many units of a group may stay, rising: all of them, or so many that their channels are a multiple of `round_to`."""
    step = math.lcm(group.multiple, round_to // math.gcd(round_to, group.channels))
    return np.array([*range(step, len(group), step), len(group)])


def nearest(allowed: Counts, wanted: float) -> int:
    """The allowed count next to a wanted one, of two as near the smaller: what was asked for is removal."""
    return int(allowed[np.argmin(np.abs(allowed - wanted))])


def search(
    counts_at: Callable[[float], Counts],
    removed: Callable[[Counts], Floats],
    allowed: list[Counts],
    target: float,
) -> Counts:
    """Units to keep (groups,) so that the share removed is as near `target` as single steps get it.

    `counts_at(x)` are counts that fall as x rises from 0 to 1; `removed` maps counts (…, groups) to the share (…) that goes. Between
    the two settings of the knob on either side of the target, groups change one by one; then any group may go one step further.
    """
    low, high = 0.0, 1.0
    if removed(counts_at(high)) <= target:
        return _step_closer(counts_at(high), removed, allowed, target)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if removed(counts_at(middle)) <= target else (low, middle)
    more, fewer = counts_at(low), counts_at(high)
    between = [a[(a >= f) & (a <= m)] for a, f, m in zip(allowed, fewer, more, strict=True)]
    return _step_closer(_step_closer(more, removed, between, target), removed, allowed, target)


def _step_closer(counts: Counts, removed: Callable[[Counts], Floats], allowed: list[Counts], target: float) -> Counts:
    """Change one group at a time to the next allowed count, always the one that brings the share nearest to the target.

    Where no step helps and the share is far off, one group steps down and another up at once.
    """
    error = abs(float(removed(counts)) - target)
    while error > _CLOSE:
        down, up = (_steps(counts, allowed, by) for by in (-1, 1))
        options = counts + (down if float(removed(counts)) < target else up)
        errors = np.abs(removed(options) - target)
        if errors.min() >= error and error > _FAR:
            pairs = np.flatnonzero(~np.eye(len(counts), dtype=bool))  # of different groups
            options = counts + (down[:, None] + up[None]).reshape(-1, len(counts))[pairs]
            errors = np.abs(removed(options) - target)
        if errors.min(initial=error) >= error:
            break
        best = int(np.argmin(errors))
        counts, error = options[best], float(errors[best])
    return counts


def _steps(counts: Counts, allowed: list[Counts], by: int) -> Counts:
    """(groups, groups): in each row one group's change to its next count in a direction, 0 where there is none."""
    steps = np.zeros((len(counts), len(counts)), np.int64)
    for i, (count, choices) in enumerate(zip(counts, allowed, strict=True)):
        position = int(np.searchsorted(choices, count)) + by
        if 0 <= position < len(choices):
            steps[i, i] = choices[position] - count
    return steps
