"""Dominance against brute force, knees and volumes against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.frontier.dominance import hypervolume, non_dominated, within, worst_corner
from tests.helpers.clouds import clouds


def beats(a, b, maximise) -> bool:
    """The definition: nowhere worse, somewhere better."""
    signed = [(x, y) if more else (-x, -y) for x, y, more in zip(a, b, maximise, strict=True)]
    return all(x >= y for x, y in signed) and any(x > y for x, y in signed)


def brute_force_front(points, maximise) -> list[bool]:
    finite = [all(math.isfinite(v) for v in p) for p in points]
    return [
        finite[i] and not any(finite[j] and beats(points[j], points[i], maximise) for j in range(len(points)) if j != i)
        for i in range(len(points))
    ]


@given(clouds())
def test_front_is_the_brute_force_front(cloud):
    points, maximise = cloud
    assert non_dominated(points, maximise).tolist() == brute_force_front(points, maximise)


@given(clouds())
def test_front_does_not_depend_on_the_order_of_rows(cloud):
    points, maximise = cloud
    assert non_dominated(points[::-1], maximise).tolist()[::-1] == non_dominated(points, maximise).tolist()


def test_equal_points_are_on_the_front_together():
    assert non_dominated([[1, 2], [1, 2], [0, 3]], [True, False]).tolist() == [True, True, False]


def test_a_row_that_was_not_measured_is_never_on_the_front_and_beats_nothing():
    assert non_dominated([[math.nan, 0], [0.5, 9]], [True, False]).tolist() == [False, True]


def test_no_points_have_no_front():
    assert non_dominated([], [True, False]).shape == (0,)


@pytest.mark.parametrize("points", [[[1, 2, 3]], [1, 2], [[[1, 2]]]])
def test_points_that_do_not_fit_the_objectives_are_refused(points):
    with pytest.raises(ValueError, match="do not fit 2 objectives"):
        non_dominated(points, [True, False])


def test_limits_bound_from_below_where_more_is_better_and_from_above_elsewhere():
    points = [[0.90, 100], [0.92, 300], [0.80, 50]]
    assert within(points, [True, False], [0.9, 100]).tolist() == [True, False, False]
    assert within(points, [True, False], [None, 100]).tolist() == [True, False, True]
    assert within(points, [True, False], [None, None]).tolist() == [True, True, True]


def test_what_was_not_measured_keeps_no_limit_on_it():
    points = [[0.9, math.nan], [0.9, 5]]
    assert within(points, [True, False], [None, 10]).tolist() == [False, True]
    assert within(points, [True, False], [0.5, None]).tolist() == [True, True]


def test_hypervolume_of_rectangles_added_up_by_hand():
    # Less is better, reference (4, 4): 3×1 + 2×1 (new part) + 1×1 (new part) = 6.
    assert hypervolume([[1, 3], [2, 2], [3, 1]], [False, False], [4, 4]) == pytest.approx(6)
    # Accuracy up, size down, reference (0.5, 200): (0.9, 100) covers 0.4 × 100, and (0.8, 50) adds 0.3 × 50.
    assert hypervolume([[0.9, 100], [0.8, 50]], [True, False], [0.5, 200]) == pytest.approx(55)


def test_hypervolume_of_boxes_in_three_dimensions():
    # Two boxes up to (2, 2, 2): 1×2×2 and 2×1×1, which share 1×1×1.
    assert hypervolume([[1, 0, 0], [0, 1, 1]], [False] * 3, [2, 2, 2]) == pytest.approx(4 + 2 - 1)


def test_hypervolume_counts_only_what_beats_the_reference():
    assert hypervolume([[3, 1], [1, 2], [math.nan, 0]], [False, False], [2, 2]) == 0
    assert hypervolume([], [False, False], [2, 2]) == 0


@given(clouds(values=st.integers(-9, 9).map(float)), st.integers(0, 24))
def test_hypervolume_never_shrinks_when_a_point_is_added(cloud, split):
    points, maximise = cloud
    reference = np.where(maximise, -10.0, 10.0)
    assert hypervolume(points, maximise, reference) >= hypervolume(points[:split], maximise, reference) - 1e-6


@given(clouds(values=st.integers(0, 5).map(float)))
def test_hypervolume_counts_unit_cells(cloud):
    points, maximise = cloud
    d = len(maximise)
    best = np.where(maximise, np.array(points).reshape(-1, d), 5 - np.array(points).reshape(-1, d))
    cells = np.indices((5,) * d).reshape(d, -1).T
    dominated = (best[:, None, :] >= cells[None] + 1).all(axis=2).any(axis=0).sum() if len(points) else 0
    assert hypervolume(points, maximise, np.where(maximise, 0.0, 5.0)) == pytest.approx(dominated)


def test_a_reference_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="2 finite numbers"):
        hypervolume([[1, 1]], [False, False], [math.nan, 2])


def test_worst_corner_is_the_worst_of_each_objective():
    assert worst_corner([[0.9, 100], [0.8, 50], [math.nan, 999]], [True, False]).tolist() == [0.8, 100]
    assert np.isnan(worst_corner([], [True, False])).all()


def test_a_limit_is_not_missed_by_rounding():
    assert within([[0.9 - 0.7], [0.2001]], [False], [0.2]).tolist() == [True, False]
    assert within([[0.1 + 0.2 - 1e-16], [0.2999]], [True], [0.3]).tolist() == [True, False]
