"""Intervals and tests against published values, against their definitions, and by simulation."""

import itertools
import math

import numpy as np
import pytest

from engine.quality.statistics import calibration_error, mcnemar_midp, mean_interval, paired_difference, tango, wilson


# Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(correct, n, low, high):
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("correct", "n"), [(9250, 10_000), (1, 3), (500, 1000)])
def test_wilson_ends_are_where_the_score_test_turns(correct, n):
    for end in wilson(correct, n):
        assert abs(correct / n - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(1.959964, rel=1e-6)


def test_wilson_stays_within_zero_and_one_and_holds_the_share():
    for n in (1, 2, 7, 100):
        for correct in range(n + 1):
            low, high = wilson(correct, n)
            assert 0 <= low <= correct / n <= high <= 1
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.935])
def test_wilson_covers_the_truth_in_about_95_percent(share):
    draws = np.random.default_rng(1).binomial(1000, share, 4000)
    bounds = {c: wilson(int(c), 1000) for c in set(draws.tolist())}
    covered = np.mean([bounds[c][0] <= share <= bounds[c][1] for c in draws.tolist()])
    assert 0.93 <= covered <= 0.97


def _discordant(only_a, only_b, both=3, neither=0):
    a = np.array([True] * only_a + [False] * only_b + [True] * both + [False] * neither)
    b = np.array([False] * only_a + [True] * only_b + [True] * both + [False] * neither)
    return a, b


# Fagerland, Lydersen, Laake 2013, BMC Med Res Methodol 13:91: the airway and the consolidation example.
@pytest.mark.parametrize(("only_a", "only_b", "p"), [(1, 7, 0.039), (6, 16, 0.03469)])
def test_mcnemar_gives_the_published_mid_p(only_a, only_b, p):
    assert mcnemar_midp(*_discordant(only_a, only_b)) == pytest.approx(p, abs=5e-4)


@pytest.mark.parametrize(("only_a", "only_b"), list(itertools.product(range(6), range(6))))
def test_mcnemar_agrees_with_every_way_the_disagreements_could_have_fallen(only_a, only_b):
    n = only_a + only_b
    distance = abs(only_a - only_b)
    # Of 2^n equally likely outcomes: those further from even count whole, those as far count half.
    outcomes = [abs(n - 2 * sum(bits)) for bits in itertools.product((0, 1), repeat=n)]
    brute = sum(1.0 if d > distance else 0.5 if d == distance else 0.0 for d in outcomes) / 2**n
    # At an even split the two tails are one and the same outcome, and the test says 1.
    expected = 1.0 if distance == 0 else brute
    assert mcnemar_midp(*_discordant(only_a, only_b)) == pytest.approx(expected)


def test_mcnemar_of_many_disagreements_is_near_the_normal_approximation():
    p = mcnemar_midp(*_discordant(4900, 5100))
    assert p == pytest.approx(math.erfc(200 / math.sqrt(10_000) / math.sqrt(2)), rel=0.01)


# The consolidation (Cavo et al. 2012) and the airway example (Bentur et al. 2009) of Fagerland, Lydersen, Laake, "Statistical Analysis of
# Contingency Tables" (2017), chapter 8, as their R package `contingencytables` prints them.
@pytest.mark.parametrize(
    ("table", "estimate", "low", "high"),
    [((59, 6, 16, 80), -0.0621, -0.1240, -0.0054), ((1, 1, 7, 12), -0.2857, -0.517, -0.026)],
)
def test_the_paired_difference_has_tangos_published_interval(table, estimate, low, high):
    both, only_a, only_b, neither = table
    found = paired_difference(*_discordant(only_a, only_b, both, neither))
    assert found[0] == pytest.approx(estimate, abs=5e-5)
    assert found[1:] == pytest.approx((low, high), abs=5e-4 if len(str(low)) < 7 else 5e-5)


def test_without_disagreement_the_interval_is_what_can_be_said_from_none():
    # From b = c = 0 the score limits are ± z² / (n + z²) (Tango 1998).
    limit = 1.959964**2 / (100 + 1.959964**2)
    assert tango(0, 0, 100) == pytest.approx((-limit, limit), abs=1e-6)
    assert paired_difference(np.array([True]), np.array([True]))[0] == 0
    assert tango(5, 0, 5)[1] == 1
    with pytest.raises(ValueError, match="no images"):
        paired_difference(np.zeros(0, bool), np.zeros(0, bool))


def test_the_interval_of_a_against_b_is_that_of_b_against_a_turned_round():
    for a, b, n in ((12, 30, 1000), (0, 9, 50), (3, 3, 10)):
        low, high = tango(a, b, n)
        assert tango(b, a, n) == pytest.approx((-high, -low), abs=1e-9)
        assert low < (a - b) / n < high


@pytest.mark.parametrize(
    ("n", "only_a", "only_b"), [(1000, 0.02, 0.02), (1000, 0.01, 0.03), (10_000, 0.001, 0.002), (300, 0.05, 0.05)]
)
def test_the_paired_interval_covers_the_truth_in_about_95_percent(n, only_a, only_b):
    draws = np.random.default_rng(0).multinomial(n, [only_a, only_b, 1 - only_a - only_b], size=3000)[:, :2]
    bounds = {pair: tango(*pair, n) for pair in {tuple(row) for row in draws.tolist()}}
    covered = np.mean([bounds[a, b][0] <= only_a - only_b <= bounds[a, b][1] for a, b in draws.tolist()])
    assert 0.93 <= covered <= 0.97


def test_a_mean_has_the_textbook_interval_and_it_covers():
    values = np.arange(1.0, 6.0)
    half = 1.959964 * math.sqrt(2.5) / math.sqrt(5)
    assert mean_interval(values) == pytest.approx((3, 3 - half, 3 + half), rel=1e-6)
    assert mean_interval(np.array([2.0])) == (2, 2, 2)
    samples = np.random.default_rng(0).exponential(0.3, (2000, 2000))
    ends = np.array([mean_interval(row)[1:] for row in samples])
    assert 0.93 <= ((ends[:, 0] <= 0.3) & (ends[:, 1] >= 0.3)).mean() <= 0.97


def test_calibration_error_by_hand():
    # Bins (0.6, 0.667] and (0.867, 0.933]: 4 of confidence 0.65 of which 2 are right, 6 of 0.9 of which all are.
    confidence = np.array([0.65] * 4 + [0.9] * 6)
    right = np.array([True, True, False, False] + [True] * 6)
    assert calibration_error(confidence, right) == pytest.approx(0.4 * 0.15 + 0.6 * 0.1)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0
    with pytest.raises(ValueError, match="no images"):
        calibration_error(np.zeros(0), np.zeros(0, bool))


def test_a_calibrated_network_has_an_error_near_zero_and_a_sure_one_has_not():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 50_000)
    right = rng.random(50_000) < confidence
    assert calibration_error(confidence, right) < 0.01
    assert calibration_error(np.sqrt(confidence), right) > 0.1
