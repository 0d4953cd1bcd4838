"""By how much each of many points would add to the hypervolume of a front; all objectives from 0, the reference, upwards."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.frontier import dominance

Floats = npt.NDArray[np.float64]

_AT_ONCE = 500_000
"""Numbers that are held at once: 4 MB, which a cache holds."""


def gains(points: Floats, front: Floats) -> Floats:
    """What each of the points (n, d) alone would add to the volume of a front (m, d), shape (n,).

    Up to three objectives exactly and at once, by the cells between the front's coordinates; of more, one point after the other.
    """
    count, objectives = points.shape
    if objectives > 3:
        return _one_by_one(points, front)
    ones = np.ones((count, 3 - objectives))
    points = np.maximum(np.hstack([points, ones]), 0.0)
    front = np.hstack([front, np.ones((len(front), 3 - objectives))])
    front = front[(front > 0).all(axis=1)]
    if not len(front):
        whole: Floats = points.prod(axis=1)
        return whole
    across, along = (np.unique(np.append(front[:, axis], 0.0)) for axis in (0, 1))
    # How high the front stands over each cell, which begins at an edge: what reaches beyond its beginning covers it whole.
    high = np.zeros((len(across), len(along)))
    np.maximum.at(
        high, (np.searchsorted(across, front[:, 0]) - 1, np.searchsorted(along, front[:, 1]) - 1), front[:, 2]
    )
    high = np.maximum.accumulate(np.maximum.accumulate(high[::-1, ::-1], axis=0), axis=1)[::-1, ::-1]
    found = np.empty(count)
    for begin in range(0, count, size := max(1, _AT_ONCE // high.size)):
        some = points[begin : begin + size]
        wide = np.clip(some[:, :1] - across, 0.0, np.append(np.diff(across), np.inf))
        deep = np.clip(some[:, 1:2] - along, 0.0, np.append(np.diff(along), np.inf))
        over = np.maximum(some[:, 2, None, None] - high, 0.0)
        found[begin : begin + size] = (wide * np.matmul(over, deep[:, :, None])[:, :, 0]).sum(axis=1)
    return found


def _one_by_one(points: Floats, front: Floats) -> Floats:
    up = [True] * points.shape[1]
    reference = np.zeros(points.shape[1])
    before = dominance.hypervolume(front, up, reference)
    return np.array([dominance.hypervolume(np.vstack([front, point]), up, reference) - before for point in points])
