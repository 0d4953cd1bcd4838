"""What points add to a front's volume is what moocore says it is, one point at a time."""

from __future__ import annotations

import numpy as np
import pytest

from engine.frontier import dominance
from engine.search.volume import gains


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("front", [0, 1, 12])
def test_gains_are_differences_of_exact_volumes(objectives: int, front: int):
    chance = np.random.default_rng([objectives, front])
    # Some beyond the ideal, some short of the reference, some on a coordinate of the front.
    points, others = chance.random((40, objectives)) * 1.3 - 0.1, chance.random((front, objectives))
    points[:front] = others[: len(points)]
    up, zero = [True] * objectives, np.zeros(objectives)
    before = dominance.hypervolume(others, up, zero)
    exact = [dominance.hypervolume(np.vstack([others, point]), up, zero) - before for point in points]
    assert gains(points, others) == pytest.approx(exact, abs=1e-12)


def test_many_points_are_worked_out_in_parts(monkeypatch: pytest.MonkeyPatch):
    chance = np.random.default_rng(0)
    points, front = chance.random((30, 3)), chance.random((6, 3))
    whole = gains(points, front)
    monkeypatch.setattr("engine.search.volume._AT_ONCE", 100)
    assert gains(points, front) == pytest.approx(whole, abs=1e-15)
