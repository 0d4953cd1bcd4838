"""The knee of a frontier."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.frontier.dominance import non_dominated
from engine.frontier.knee import knee
from tests.helpers.clouds import clouds


def test_knee_is_farthest_from_the_line_through_the_extremes():
    # Line from (0, 1) to (1, 0): distances (1 - x - y) / √2 are 0, 0.2, 0.7, 0.4, 0 over √2.
    points = [[0.0, 1.0], [0.1, 0.7], [0.1, 0.2], [0.5, 0.1], [1.0, 0.0]]
    assert knee(points, [False, False]) == 2


def test_knee_compares_scaled_objectives_so_units_do_not_matter():
    points = np.array([[0.0, 1.0], [0.1, 0.7], [0.1, 0.2], [0.5, 0.1], [1.0, 0.0]])
    assert knee(points * [1e6, 1e-3] + [5, -2], [False, False]) == 2


def test_knee_ignores_dominated_rows_and_counts_rows_as_given():
    points = [[2.0, 2.0], [0.0, 1.0], [math.nan, 0.0], [0.2, 0.2], [1.0, 0.0]]
    assert knee(points, [False, False]) == 3


def test_knee_with_an_objective_to_maximise():
    # Accuracy against size: half the size for one point of accuracy, then a collapse.
    points = [[0.92, 100.0], [0.91, 50.0], [0.60, 45.0]]
    assert knee(points, [True, False]) == 1


def test_no_knee_on_a_straight_or_a_hollow_front_nor_with_two_points():
    assert knee([[0, 2], [1, 1], [2, 0]], [False, False]) is None
    assert knee([[0, 4], [3, 3], [4, 0]], [False, False]) is None
    assert knee([[0, 1], [1, 0]], [False, False]) is None
    assert knee([], [False, False]) is None


def test_knee_in_three_dimensions():
    # Plane x + y + z = 1 through the unit points; (0.1, 0.1, 0.1) lies deepest below it.
    points = [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0.3, 0.3, 0.2], [0.1, 0.1, 0.1]]
    assert knee(points, [False] * 3) == 4
    assert knee(points[:4], [False] * 3) == 3


@given(clouds(values=st.integers(-20, 20).map(float)))
def test_knee_is_on_the_front_and_is_the_farthest_in_two_dimensions(cloud):
    points, maximise = cloud
    found = knee(points, maximise)
    if found is None:
        return
    front = non_dominated(points, maximise)
    assert front[found]
    if len(maximise) == 2:
        costs = np.where(maximise, -1.0, 1.0) * np.array(points)[front]
        scaled = (costs - costs.min(axis=0)) / np.ptp(costs, axis=0)
        own = np.where(maximise, -1.0, 1.0) * np.array(points)[found]
        own_scaled = (own - costs.min(axis=0)) / np.ptp(costs, axis=0)
        assert own_scaled.sum() == pytest.approx(scaled.sum(axis=1).min())
