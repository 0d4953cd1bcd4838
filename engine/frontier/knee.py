"""The knee of a frontier: where giving up more in one objective stops buying much in the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.frontier.dominance import Bools, Floats, checked, non_dominated

# Below this distance, in coordinates where the frontier spans 1, a bulge is rounding and not a knee.
KNEE_MIN_DISTANCE = 1e-9


def knee(points: npt.ArrayLike, maximise: Sequence[bool]) -> int | None:
    """The row after which giving up more in one objective stops buying much in the others, or None.

    It is the front's row farthest, towards the ideal point, from the line (plane) through the front's extremes, after
    scaling each objective to [0, 1] over the front (Das 1999, "On characterizing the 'knee' of the Pareto curve based
    on normal-boundary intersection", Structural Optimization 18). None where the front has fewer than three distinct
    points, does not vary in some objective, or nowhere bulges towards the ideal. Of equal rows the first is named.
    """
    array, directions = checked(points, maximise)
    return knee_of_front(array, np.flatnonzero(non_dominated(array, maximise)), directions)


def knee_of_front(array: Floats, rows: npt.NDArray[np.intp], directions: Bools) -> int | None:
    """As `knee`, where the rows of the front are known."""
    costs, first = _distinct(np.where(directions, -array[rows], array[rows]))
    if len(costs) < 3:
        return None
    low = costs.min(axis=0)
    with np.errstate(over="ignore"):
        span = costs.max(axis=0) - low
    if not (span > 0).all() or not np.isfinite(span).all():
        return None
    scaled = (costs - low) / span
    normal = _plane_normal(scaled)
    distances = (1 - scaled @ normal) / np.linalg.norm(normal)
    best = int(np.argmax(distances))
    return int(rows[first[best]]) if distances[best] > KNEE_MIN_DISTANCE else None


def _distinct(rows: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """The different rows in their order, first column first, and where each is found first: `np.unique` in a tenth of its time."""
    order = np.lexsort(rows.T[::-1])
    ordered = rows[order]
    new = np.ones(len(rows), np.bool_)
    new[1:] = np.logical_or.reduce(ordered[1:] != ordered[:-1], axis=1)
    return ordered[new], order[new]


def _plane_normal(scaled: Floats) -> Floats:
    """The normal n of the plane n·x = 1 through the best row of each objective; `scaled` (n, d) in [0, 1], less is better.

    Where those rows make no plane that faces the ideal point (one row best in two objectives, say), the plane through
    the unit points stands in, as in NSGA-III (Deb and Jain 2014, IEEE TEVC 18(4), section IV-C). In two dimensions the
    two are the same line.
    """
    d = scaled.shape[1]
    if d == 2:
        return np.ones(d)
    extremes = scaled[[np.lexsort((scaled.sum(axis=1), scaled[:, k]))[0] for k in range(d)]]
    if np.linalg.matrix_rank(extremes) == d:
        normal = np.asarray(np.linalg.solve(extremes, np.ones(d)), np.float64)
        if (normal > 0).all():
            return normal
    return np.ones(d)
