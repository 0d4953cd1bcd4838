"""Dominance, limits, knee and hypervolume: numpy in, numpy out, `moocore` inside.

Throughout, `points` has shape (n, d), one row per trial and one column per objective in its own unit; `maximise` has
shape (d,) and is True where more is better. A row with a NaN (something not measured) or an infinity takes part in
nothing. Every function raises ValueError for shapes that do not fit each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def checked(points: npt.ArrayLike, maximise: Sequence[bool]) -> tuple[Floats, Bools]:
    """Points as float64 (n, d) and directions (d,)."""
    array = np.asarray(points, np.float64)
    if array.size == 0:
        array = array.reshape(0, len(maximise))
    if array.ndim != 2 or array.shape[1] != len(maximise) or not len(maximise):
        raise ValueError(f"points of shape {array.shape} do not fit {len(maximise)} objectives")
    return array, np.asarray(maximise, np.bool_)


def finite_rows(points: Floats) -> npt.NDArray[np.intp]:
    """The numbers of the rows in which everything was measured."""
    return np.flatnonzero(np.isfinite(points).all(axis=1))


def non_dominated(points: npt.ArrayLike, maximise: Sequence[bool]) -> Bools:
    """Which rows no other row beats: bool of shape (n,).

    A row beats another when it is at least as good in every objective and better in one, so equal rows stay or go
    together. Rows that are not finite are never on the front.
    """
    array, directions = checked(points, maximise)
    front = np.zeros(len(array), np.bool_)
    rows = finite_rows(array)
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
    array, directions = checked(points, maximise)
    kept = np.ones(len(array), np.bool_)
    for column, (more_is_better, limit) in enumerate(zip(directions, limits, strict=True)):
        if limit is not None:
            values = array[:, column]
            room = ROUNDING * abs(limit)
            kept &= values >= limit - room if more_is_better else values <= limit + room
    return kept


def worst_corner(points: npt.ArrayLike, maximise: Sequence[bool]) -> Floats:
    """The worst value seen in each objective, shape (d,): the reference for `hypervolume` where nothing better is known.

    NaN in every place where no row is finite.
    """
    array, directions = checked(points, maximise)
    finite = array[finite_rows(array)]
    if not len(finite):
        return np.full(len(directions), np.nan)
    worst: Floats = np.where(directions, finite.min(axis=0), finite.max(axis=0))
    return worst


def hypervolume(points: npt.ArrayLike, maximise: Sequence[bool], reference: npt.ArrayLike) -> float:
    """The volume that the points dominate up to `reference` (d,), in the product of the objectives' units; 0 for none.

    Rows that are not finite, and rows that do not beat the reference in every objective, add nothing. (Zitzler and
    Thiele 1998, PPSN V; exact algorithms of moocore.) Raises ValueError too for a reference that is not finite.
    """
    array, directions = checked(points, maximise)
    corner = np.asarray(reference, np.float64)
    if corner.shape != directions.shape or not np.isfinite(corner).all():
        raise ValueError(f"reference {reference!r} is not {len(directions)} finite numbers")
    finite = array[finite_rows(array)]
    inside = finite[np.where(directions, finite > corner, finite < corner).all(axis=1)]
    return float(moocore.hypervolume(inside, corner, maximise=directions.tolist())) if len(inside) else 0.0
