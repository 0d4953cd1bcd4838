"""Which of many points to draw, so that the picture stays true: all that matter, and of the rest some from everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.frontier.dominance import Bools, Floats

_FINEST = 512


def thin(points: Floats, layer: npt.NDArray[np.intp], most: int, all_of: int = 1) -> Bools:
    """Which rows of `points` (n, 2) to draw, at most `most` of them: bool (n,); the same each time.

    `points` are finite, in the coordinates of the screen (logarithms where the axis has them). `layer` (n,) says how much a row matters,
    0 most: the layers below `all_of` are drawn whole as far as there is room, one after the other. Of the others the plane is divided into
    cells, as fine as there is room to draw one row of every layer in every cell, so that whatever lies apart stays; what room is left
    goes round the cells again.
    """
    chosen = np.zeros(len(points), np.bool_)
    room = most
    for matter in range(all_of):
        rows = np.flatnonzero(layer == matter)
        chosen[_spread(points, rows, layer, room)] = True
        room = most - int(chosen.sum())
    chosen[_spread(points, np.flatnonzero(layer >= all_of), layer, room)] = True
    return chosen


def _spread(
    points: Floats, rows: npt.NDArray[np.intp], layer: npt.NDArray[np.intp], most: int
) -> npt.NDArray[np.intp] | Sequence[int]:
    if len(rows) <= most:
        return rows
    if most <= 0:
        return []
    low = points[rows].min(axis=0)
    span = points[rows].max(axis=0) - low
    places = (points[rows] - low) / np.where(span > 0, span, 1.0)
    cells = np.zeros(len(rows), np.intp)
    finest = _FINEST
    while finest >= 1:
        across, up = np.minimum((places * finest).astype(np.intp), finest - 1).T
        cells = (layer[rows] * finest + up) * finest + across
        taken = np.zeros((layer.max() + 1) * finest * finest, np.bool_)
        taken[cells] = True
        if taken.sum() <= most:
            break
        finest = finest * 3 // 4
    # The how-manieth of its cell each row is: first ones first.
    order = np.argsort(cells, kind="stable")
    starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
    turn = np.empty(len(rows), np.intp)
    turn[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return rows[np.argsort(turn, kind="stable")[:most]]
