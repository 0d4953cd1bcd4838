"""Dominance, limits, knee and hypervolume: numpy in, numpy out, `moocore` inside.

Throughout, `points` has shape (n, d), one row per trial and one column per objective in its own unit; `maximise` has
shape (d,) and is True where more is better. A row with a NaN (something not measured) or an infinity takes part in
nothing. Every function raises ValueError for shapes that do not fit each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import moocore
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# Below this distance, in coordinates where the frontier spans 1, a bulge is rounding and not a knee.
KNEE_MIN_DISTANCE = 1e-9
_AT_ONCE = 1_000_000
_FEW_ROWS = 1_000


def _checked(points: npt.ArrayLike, maximise: Sequence[bool]) -> tuple[Floats, Bools]:
    """Points as float64 (n, d) and directions (d,)."""
    array = np.asarray(points, np.float64)
    if array.size == 0:
        array = array.reshape(0, len(maximise))
    if array.ndim != 2 or array.shape[1] != len(maximise) or not len(maximise):
        raise ValueError(f"points of shape {array.shape} do not fit {len(maximise)} objectives")
    return array, np.asarray(maximise, np.bool_)


def _finite(points: Floats) -> npt.NDArray[np.intp]:
    """The numbers of the rows in which everything was measured."""
    return np.flatnonzero(np.isfinite(points).all(axis=1))


def non_dominated(points: npt.ArrayLike, maximise: Sequence[bool]) -> Bools:
    """Which rows no other row beats: bool of shape (n,).

    A row beats another when it is at least as good in every objective and better in one, so equal rows stay or go
    together. Rows that are not finite are never on the front.
    """
    array, directions = _checked(points, maximise)
    front = np.zeros(len(array), np.bool_)
    rows = _finite(array)
    if len(rows):
        front[rows] = moocore.is_nondominated(array[rows], maximise=directions.tolist(), keep_weakly=True)
    return front


ROUNDING = 1e-9
"""Relative: limits come from addresses with nine digits, values from sums and differences of shares."""


def within(points: npt.ArrayLike, maximise: Sequence[bool], limits: Sequence[float | None]) -> Bools:
    """Which rows keep every limit: bool of shape (n,).

    `limits` has one entry per objective: the least allowed value where more is better, otherwise the greatest; None for
    no limit. A value that was not measured cannot be shown to keep a limit, so it does not. What is beyond a limit by rounding alone, as
    0.9 - 0.7 is beyond 0.2, keeps it.
    """
    array, directions = _checked(points, maximise)
    kept = np.ones(len(array), np.bool_)
    for column, (more_is_better, limit) in enumerate(zip(directions, limits, strict=True)):
        if limit is not None:
            values = array[:, column]
            room = ROUNDING * abs(limit)
            kept &= values >= limit - room if more_is_better else values <= limit + room
    return kept


def knee(points: npt.ArrayLike, maximise: Sequence[bool]) -> int | None:
    """The row after which giving up more in one objective stops buying much in the others, or None.

    It is the front's row farthest, towards the ideal point, from the line (plane) through the front's extremes, after
    scaling each objective to [0, 1] over the front (Das 1999, "On characterizing the 'knee' of the Pareto curve based
    on normal-boundary intersection", Structural Optimization 18). None where the front has fewer than three distinct
    points, does not vary in some objective, or nowhere bulges towards the ideal. Of equal rows the first is named.
    """
    array, directions = _checked(points, maximise)
    return _knee_of_front(array, np.flatnonzero(non_dominated(array, maximise)), directions)


def _knee_of_front(array: Floats, rows: npt.NDArray[np.intp], directions: Bools) -> int | None:
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


def worst_corner(points: npt.ArrayLike, maximise: Sequence[bool]) -> Floats:
    """The worst value seen in each objective, shape (d,): the reference for `hypervolume` where nothing better is known.

    NaN in every place where no row is finite.
    """
    array, directions = _checked(points, maximise)
    finite = array[_finite(array)]
    if not len(finite):
        return np.full(len(directions), np.nan)
    worst: Floats = np.where(directions, finite.min(axis=0), finite.max(axis=0))
    return worst


def hypervolume(points: npt.ArrayLike, maximise: Sequence[bool], reference: npt.ArrayLike) -> float:
    """The volume that the points dominate up to `reference` (d,), in the product of the objectives' units; 0 for none.

    Rows that are not finite, and rows that do not beat the reference in every objective, add nothing. (Zitzler and
    Thiele 1998, PPSN V; exact algorithms of moocore.) Raises ValueError too for a reference that is not finite.
    """
    array, directions = _checked(points, maximise)
    corner = np.asarray(reference, np.float64)
    if corner.shape != directions.shape or not np.isfinite(corner).all():
        raise ValueError(f"reference {reference!r} is not {len(directions)} finite numbers")
    finite = array[_finite(array)]
    inside = finite[np.where(directions, finite > corner, finite < corner).all(axis=1)]
    return float(moocore.hypervolume(inside, corner, maximise=directions.tolist())) if len(inside) else 0.0


def front_and_knee_shares(draws: Floats, maximise: Sequence[bool], row: int | None = None) -> tuple[Floats, float]:
    """In which share of `draws` (k, n, d), k versions of the same rows, each row is on the front (n,), and the given row is the knee.

    Shares are in [0, 1], and 0 for k = 0; draws without a knee count as against it, and no row is no knee.
    """
    hits, same = np.zeros(draws.shape[1]), 0
    for points, front in zip(draws, _fronts(draws, maximise), strict=True):
        hits[front] += 1
        same += row is not None and _knee_of_front(points, front, np.asarray(maximise)) == row
    return hits / max(1, len(draws)), same / max(1, len(draws))


def _fronts(draws: Floats, maximise: Sequence[bool]) -> Iterator[npt.NDArray[np.intp]]:
    """The rows of the front in each of `draws` (k, n, d)."""
    if draws.shape[2] == 2 and draws.shape[1] <= _FEW_ROWS:
        yield from map(np.flatnonzero, _on_front_in_a_plane(np.where(maximise, -draws, draws)))
        return
    if draws.shape[2] != 2 or not np.isfinite(draws).all():
        yield from (np.flatnonzero(non_dominated(points, maximise)) for points in draws)
        return
    front = np.zeros(0, np.intp)
    for points in np.where(maximise, -draws, draws):
        front = _front_near(points, front)
        yield front


def _on_front_in_a_plane(draws: Floats) -> Bools:
    """Which rows of each draw (k, n, 2) are on its front, less being better: (k, n). One sort for all draws, where each has few rows."""
    finite = np.logical_and.reduce(np.isfinite(draws), axis=2)
    x, y = np.where(finite[:, :, None], draws, np.inf).transpose(2, 0, 1)
    order = np.lexsort((y, x), axis=1)
    x, y = np.take_along_axis(x, order, 1), np.take_along_axis(y, order, 1)
    # Of the rows before one, in the order of x and then y, any that is no worse in y beats it, except where it is the very same.
    least = np.full_like(y, np.inf)
    np.minimum.accumulate(y[:, :-1], axis=1, out=least[:, 1:])
    again = np.zeros(y.shape, np.bool_)
    again[:, 1:] = (x[:, 1:] == x[:, :-1]) & (y[:, 1:] == y[:, :-1])
    first = np.maximum.accumulate(np.where(again, 0, np.arange(y.shape[1])), axis=1)
    on_front = np.empty(y.shape, np.bool_)
    np.put_along_axis(on_front, order, np.take_along_axis(least > y, first, 1), 1)
    kept: Bools = on_front & finite
    return kept


def _front_near(points: Floats, guess: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The rows of the front of `points` (n, 2), in order; all are finite, and less is better.

    Where many rows are beaten by those of the `guess`, these are not compared any further.
    """
    if not len(guess):
        return np.flatnonzero(moocore.is_nondominated(points, keep_weakly=True))
    rivals = points[guess]
    rivals = rivals[moocore.is_nondominated(rivals, keep_weakly=False)]
    rows = np.flatnonzero(~_beaten_in_a_plane(rivals, points))
    front: npt.NDArray[np.intp] = rows[moocore.is_nondominated(points[rows], keep_weakly=True)]
    return front


def beaten_shares(draws: Floats, winner: Floats, maximise: Sequence[bool]) -> Floats:
    """In which share of `draws` (k, n, d) the row `winner` (k, d) of the same draw beats each row: shape (n,), in [0, 1]."""
    gain = np.where(np.asarray(maximise), 1.0, -1.0) * (winner[:, None] - draws)
    shares: Floats = ((gain >= 0).all(axis=2) & (gain > 0).any(axis=2)).mean(axis=0)
    return shares


def never_beaten_for_sure(points: npt.ArrayLike, slack: Floats, maximise: Sequence[bool]) -> Bools:
    """Which rows might be on the front when every value may move by `slack` (n, d), each as it pleases: bool (n,).

    A row that is beaten by another although all its values move to its favour and all of the other's against it has no chance.
    """
    array, directions = _checked(points, maximise)
    signed = np.where(directions, -array, array)
    rows = _finite(array)
    worst = signed[rows] + slack[rows]
    worst = worst[moocore.is_nondominated(worst, keep_weakly=False)] if len(rows) else worst
    best = signed[rows] - slack[rows]
    kept = np.zeros(len(array), np.bool_)
    kept[rows] = ~(_beaten_in_a_plane(worst, best) if array.shape[1] == 2 else _beaten(worst, best))
    return kept


def reached(draws: Floats, points: Floats, maximise: Sequence[bool]) -> Bools:
    """Which of the points (m, 2) the front of some draw of `draws` (k, n, 2) does not beat: bool (m,). All are finite."""
    signed = np.where(maximise, -points, points)
    found = np.zeros(len(points), np.bool_)
    front = np.zeros(0, np.intp)
    for drawn in np.where(maximise, -draws, draws):
        front = _front_near(drawn, front)
        found[~found] = ~_beaten_in_a_plane(np.unique(drawn[front], axis=0), signed[~found])
    return found


def _beaten_in_a_plane(front: Floats, points: Floats) -> Bools:
    """Which of the points (n, 2) some row of `front` (m, 2) beats, less being better and no row of the front beating another."""
    front = front[np.argsort(front[:, 0])]
    # Of the rows that are no worse in the first, the last is the best in the second; before all of them stands one that beats nothing.
    x, y = np.ascontiguousarray(points.T)
    rival_x, rival_y = np.concatenate([[[np.inf, np.inf]], front]).T
    last = np.searchsorted(rival_x[1:], x, side="right")
    found = rival_y[last]
    beats: Bools = found < y
    same = found == y
    if same.any():
        beats |= same & (rival_x[last] < x)
    return beats


def _beaten(front: Floats, points: Floats) -> Bools:
    """As `_beaten_in_a_plane`, for any number of objectives."""
    found = np.zeros(len(points), np.bool_)
    for start in range(0, len(points), step := max(1, _AT_ONCE // max(1, len(front)))):
        some = points[start : start + step, None]
        beats = np.asarray((front <= some).all(axis=2) & (front < some).any(axis=2), np.bool_)
        found[start : start + step] = beats.any(axis=1)
    return found
