"""Beliefs: measurements are kept to, what adds up is expected where nothing was measured, and other sources say what they are worth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from engine.search.belief import Alike, Points, believed

CODES = np.array(list(itertools.product(range(3), range(4), range(2))), np.int64)
ALIKE = Alike(np.array([3, 4, 2]), np.array([False, True, False]), (0.1,))
EFFECTS = (np.array([0.0, -1.0, 0.5]), np.array([0.0, 0.2, 0.5, 1.1]), np.array([0.0, 0.7]))
TRUTH = sum(effect[CODES[:, axis]] for axis, effect in enumerate(EFFECTS))


def seen(rows: np.ndarray, source: int = 0) -> Points:
    return Points(CODES[rows], np.full(len(rows), source, np.int64))


def test_what_was_measured_without_noise_is_believed_and_the_rest_is_less_sure():
    rows = np.array([0, 3, 9, 13, 20])
    mean, sd = believed(ALIKE, seen(rows), TRUTH[rows], np.zeros(5)).at(CODES)
    others = np.setdiff1d(np.arange(len(CODES)), rows)
    assert mean[rows] == pytest.approx(TRUTH[rows], abs=0.02)
    assert sd[others].min() > sd[rows].max()


def test_the_posterior_is_that_of_the_dense_formula():
    rows, noise = np.array([0, 5, 11, 17]), np.array([0.1, 0.0, 0.3, 0.2])
    found = believed(ALIKE, seen(rows), TRUTH[rows], noise)
    parts = ALIKE.parts(seen(np.arange(len(CODES))), seen(np.arange(len(CODES))))
    prior = np.einsum("p,pnm->nm", found.scales, parts)
    inner = np.linalg.inv(prior[np.ix_(rows, rows)] + np.diag(noise**2 + found.own))
    mean = TRUTH[0] + prior[:, rows] @ inner @ (TRUTH[rows] - TRUTH[0])
    variance = np.diag(prior) + found.own - np.einsum("nr,rs,ns->n", prior[:, rows], inner, prior[:, rows])
    assert found.at(CODES)[0] == pytest.approx(mean, abs=1e-8)
    assert found.at(CODES)[1] ** 2 == pytest.approx(variance, abs=1e-8)


def test_effects_that_add_up_are_found_for_combinations_that_nobody_measured():
    rows = np.array([r for r, code in enumerate(CODES) if (code > 0).sum() <= 1])
    rest = np.setdiff1d(np.arange(len(CODES)), rows)
    mean, sd = believed(ALIKE, seen(rows), TRUTH[rows], np.zeros(len(rows))).at(CODES)
    assert np.corrcoef(mean[rest], TRUTH[rest])[0, 1] > 0.95
    assert np.abs(mean[rest] - TRUTH[rest]).max() < 3 * sd[rest].max()


def test_figures_in_thousands_are_believed_as_well_in_their_own_unit():
    rows = np.array([0, 3, 9, 13, 20])
    near, far = (believed(ALIKE, seen(rows), k * TRUTH[rows], np.zeros(5), k).at(CODES) for k in (1.0, 1e6))
    assert far[0] == pytest.approx(1e6 * near[0])
    assert far[1] == pytest.approx(1e6 * near[1])


def test_figures_far_from_their_unit_are_no_overflow():
    mean, sd = believed(ALIKE, seen(np.arange(24)), 1e6 * TRUTH, np.zeros(24)).at(CODES)
    assert np.isfinite(mean).all()
    assert np.isfinite(sd).all()


def test_another_source_that_is_off_by_a_constant_says_nearly_all_and_one_of_chance_nothing():
    own, there = np.array([0, 2, 8, 14, 21]), np.arange(len(CODES))
    points = Points(np.vstack([CODES[own], CODES]), np.repeat([0, 1], [len(own), len(CODES)]))
    rest = np.setdiff1d(there, own)

    def error(figures: np.ndarray) -> float:
        values, noise = np.concatenate([TRUTH[own], figures]), np.zeros(len(points))
        return float(np.abs(believed(ALIKE, points, values, noise).at(CODES)[0][rest] - TRUTH[rest]).mean())

    alone = float(
        np.abs(believed(ALIKE, seen(own), TRUTH[own], np.zeros(len(own))).at(CODES)[0][rest] - TRUTH[rest]).mean()
    )
    assert error(TRUTH - 0.8) < alone / 3
    assert error(np.random.default_rng(0).normal(size=len(CODES))) < 2 * alone


def test_an_axis_of_one_value_and_a_single_measurement_are_no_trouble():
    alike = Alike(np.array([2]), np.array([True]))
    points = Points(np.array([[0]]), np.array([0]))
    mean, sd = believed(alike, points, np.array([3.0]), np.array([0.0])).at(np.array([[0], [1]]))
    assert mean == pytest.approx([3.0, 3.0])
    assert sd[1] > 10 * sd[0]
