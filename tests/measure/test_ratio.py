"""The statistics of a ratio: against known values, and by simulation."""

import numpy as np
import pytest

from engine.measure.ratio import block_logs, midmean, pooled, student_t, undisturbed


def test_students_t_is_that_of_the_tables():
    """Percentiles 97.5 of Student's t, Abramowitz & Stegun, table 26.10, and between its rows."""
    known = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 9: 2.262, 12: 2.179, 20: 2.086, 60: 2.000}
    for degrees, quantile in known.items():
        assert student_t(degrees) == pytest.approx(quantile, rel=0.002)
    assert student_t(1e9) == pytest.approx(1.95996, abs=1e-4)


def test_the_midmean_is_the_mean_of_the_middle_half():
    assert midmean(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert midmean(np.array([7.0])) == 7
    np.testing.assert_allclose(midmean(np.array([[1.0, 3], [5, 7]])), [2, 6])


def test_block_logs_are_ratios_of_neighbours():
    np.testing.assert_allclose(np.exp(block_logs([(1, 2, 3), (4.0,)], [(4, 4), (2, 2, 9)])), [0.5, 2.0])
    np.testing.assert_allclose(np.exp(block_logs([(1, 2, 3), (4.0,)], ())), [2, 4])


def test_disturbed_blocks_are_left_out_unless_too_few_others_are_left():
    assert undisturbed([0, 3, 0, 0]).tolist() == [True, False, True, True]
    assert undisturbed([0, 3, 1, 2]).all()
    assert undisturbed([0] * 10 + [1] * 90).sum() == 10
    assert undisturbed([0] * 9 + [1] * 90).all()


def _coverage(between, processes=3, blocks=40, noise=0.05, runs=400):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(runs):
        shifts = between * rng.standard_normal(processes)
        found = pooled([np.log(0.6) + shift + noise * rng.standard_normal(blocks) for shift in shifts])
        covered += found.low <= 0.6 <= found.high
    return covered / runs


def test_the_interval_covers_the_true_ratio_in_about_95_percent():
    assert 0.93 <= _coverage(between=0, processes=1) <= 0.97
    assert 0.95 <= _coverage(between=0) <= 0.99  # the wider of two


def test_what_only_processes_differ_in_is_part_of_the_interval():
    """A bootstrap over blocks alone would cover the true ratio half the time."""
    assert 0.93 <= _coverage(between=0.03) <= 0.97
    assert 0.93 <= _coverage(between=0.03, processes=6) <= 0.97
    assert 0.93 <= _coverage(between=0.008) <= 0.99


def test_one_block_of_one_process_claims_no_precision():
    found = pooled([np.log([0.5])])
    assert (found.value, found.half_width) == (pytest.approx(0.5), None)


def test_single_blocks_of_several_processes_have_the_spread_between_them():
    found = pooled([np.log([v]) for v in (0.5, 0.51, 0.49)])
    half = 4.3027 * np.log([0.5, 0.51, 0.49]).std(ddof=1) / np.sqrt(3)
    assert found.half_width == pytest.approx(np.expm1(half), rel=0.01)


def test_a_process_that_hardly_ran_does_not_decide():
    rng = np.random.default_rng(0)
    steady = [np.log(0.5) + 0.02 * rng.standard_normal(50) for _ in range(3)]
    starved = np.log(0.2) + 0.8 * rng.standard_normal(4)
    assert pooled([*steady, starved]).value == pytest.approx(0.5, rel=0.02)
    assert pooled([*steady, starved[:2]]).value == pooled(steady).value
