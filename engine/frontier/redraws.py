"""Dominance over many redraws of the same rows: how often each is on the front, and which might be. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import moocore
import numpy as np
import numpy.typing as npt

from engine.frontier.columns import Rows
from engine.frontier.dominance import Bools, Floats, checked, finite_rows, non_dominated
from engine.frontier.knee import KNEE_MIN_DISTANCE, knee_of_front

_AT_ONCE = 1_000_000
_FEW_ROWS = 1_000


def front_and_knee_shares(draws: Floats, maximise: Sequence[bool], row: int | None = None) -> tuple[Floats, float]:
    """In which share of `draws` (k, n, d), k versions of the same rows, each row is on the front (n,), and the given row is the knee.

    Shares are in [0, 1], and 0 for k = 0; draws without a knee count as against it, and no row is no knee.
    """
    if draws.shape[2] == 2 and draws.shape[1] <= _FEW_ROWS:
        on_front, knees = _in_a_plane(np.where(maximise, -draws, draws))
        same = 0 if row is None else int((knees == row).sum())
        return on_front.sum(axis=0) / max(1, len(draws)), same / max(1, len(draws))
    hits, same = np.zeros(draws.shape[1]), 0
    for points, front in zip(draws, _fronts(draws, maximise), strict=True):
        hits[front] += 1
        same += row is not None and knee_of_front(points, front, np.asarray(maximise)) == row
    return hits / max(1, len(draws)), same / max(1, len(draws))


def _fronts(draws: Floats, maximise: Sequence[bool]) -> Iterator[npt.NDArray[np.intp]]:
    """The rows of the front in each of `draws` (k, n, d)."""
    if draws.shape[2] != 2 or not np.isfinite(draws).all():
        yield from (np.flatnonzero(non_dominated(points, maximise)) for points in draws)
        return
    front = np.zeros(0, np.intp)
    for points in np.where(maximise, -draws, draws):
        front = _front_near(points, front)
        yield front


def _in_a_plane(draws: Floats) -> tuple[Bools, Rows]:
    """Which rows of each draw (k, n, 2) are on its front (k, n), and which is the knee (k,), -1 for none; less is better.

    One sort for all draws, where each has few rows; the knee is that of `knee_of_front`.
    """
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
    ordered: Bools = np.take_along_axis(least > y, first, 1) & np.take_along_axis(finite, order, 1)
    on_front = np.empty(y.shape, np.bool_)
    np.put_along_axis(on_front, order, ordered, 1)
    return on_front, _knees(x, y, ordered, ordered & ~again, order)


def _knees(x: Floats, y: Floats, on_front: Bools, distinct: Bools, order: Rows) -> Rows:
    """The knee of each draw, whose rows are in `order`; all of shape (k, n). `distinct`: the first of rows that are the same."""
    if not x.shape[1]:
        return np.full(len(x), -1, np.intp)
    far = np.zeros(x.shape)
    bent = distinct.sum(axis=1) > 2
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for costs in (x, y):
            low = np.where(on_front, costs, np.inf).min(axis=1)
            span = np.where(on_front, costs, -np.inf).max(axis=1) - low
            bent &= (span > 0) & np.isfinite(span)
            far += (costs - low[:, None]) / span[:, None]
        distances = np.where(distinct & bent[:, None], (1 - far) / np.linalg.norm(np.ones(2)), -np.inf)
    best = distances.argmax(axis=1)
    found = np.take_along_axis(distances, best[:, None], 1)[:, 0] > KNEE_MIN_DISTANCE
    return np.where(found, np.take_along_axis(order, best[:, None], 1)[:, 0], -1)


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
    array, directions = checked(points, maximise)
    signed = np.where(directions, -array, array)
    rows = finite_rows(array)
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
