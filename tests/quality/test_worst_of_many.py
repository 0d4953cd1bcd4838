"""Intervals of the worst of several: by simulation, at the true value, and where the usual ones fail."""

import numpy as np
import pytest

from engine.quality.statistics import calibration_error, wilson
from engine.quality.worst_of_many import calibration_range, largest_drop, lowest_share

SWEEPS = 1_000


def coverage(ends, truth):
    low, high = np.array(ends).T
    return float(np.mean((low <= truth) & (truth <= high)))


@pytest.mark.parametrize(
    ("recall", "images", "most"),
    [([0.77] + [0.9] * 9, 1_000, 0.97), ([0.9] * 10, 1_000, 1), (np.linspace(0.85, 0.95, 10), 1_000, 1), ([0.8] * 10, 30, 1)],
    ids=["one stands out", "all alike", "spread", "few images"],
)  # fmt: skip
def test_the_lowest_recall_is_covered(recall, images, most):
    rng = np.random.default_rng(1)
    counts = np.full(len(recall), images)
    ends = [lowest_share(rng.binomial(counts, recall), counts) for _ in range(SWEEPS)]
    assert 0.93 <= coverage(ends, min(recall)) <= most


def test_the_interval_of_the_class_that_looks_worst_does_not_do():
    rng = np.random.default_rng(2)
    hits = rng.binomial(1_000, np.full((SWEEPS, 10), 0.9))
    assert coverage([wilson(int(h.min()), 1_000) for h in hits], 0.9) < 0.85


@pytest.mark.parametrize(
    ("lost", "gained", "images", "most"),
    [([0.08] + [0.02] * 9, [0.01] + [0.02] * 9, 1_000, 0.97), ([0.01] * 10, [0.01] * 10, 1_000, 1), ([0.05] * 10, [0.02] * 10, 40, 1)],
    ids=["one stands out", "nothing lost", "few images"],
)  # fmt: skip
def test_the_largest_drop_is_covered(lost, gained, images, most):
    rng = np.random.default_rng(3)
    shares = np.stack([lost, gained, 1 - np.add(lost, gained)], axis=1)
    found = []
    for _ in range(SWEEPS):
        drawn = rng.multinomial(images, shares)
        found.append(largest_drop(drawn[:, 0], drawn[:, 1], np.full(len(lost), images)))
    assert 0.93 <= coverage(found, np.subtract(lost, gained).max()) <= most


@pytest.mark.parametrize(
    ("too_sure", "images", "most"),
    [(0.0, 2_000, 1), (0.01, 2_000, 1), (0.05, 2_000, 1), (0.08, 10_000, 0.985)],
    ids=["as right as sure", "hardly", "some", "much"],
)
def test_the_calibration_error_is_covered_although_its_estimate_is_too_high(too_sure, images, most):
    rng = np.random.default_rng(4)
    ends, values = [], []
    for _ in range(SWEEPS // 2):
        confidence = rng.beta(6, 1, images) * 0.8 + 0.2
        right = rng.random(images) < confidence - too_sure
        ends.append(calibration_range(confidence, right))
        values.append(calibration_error(confidence, right))
    assert 0.93 <= coverage(ends, too_sure) <= most
    assert np.mean(values) > too_sure
    assert all(low <= v <= high for (low, high), v in zip(ends, values, strict=True))


def test_one_class_has_wilsons_interval():
    assert lowest_share(np.array([90]), np.array([100])) == pytest.approx(wilson(90, 100))


@pytest.mark.parametrize("hits", [[0, 0], [10, 10], [0, 10]])
def test_the_ends_of_shares_stay_in_range_and_around_what_was_seen(hits):
    low, high = lowest_share(np.array(hits), np.array([10, 10]))
    assert 0 <= low <= min(hits) / 10 <= high <= 1


def test_a_class_of_one_image_and_one_without_any():
    images = np.array([1, 0, 500])
    low, high = largest_drop(np.array([1, 0, 5]), np.array([0, 0, 5]), images)
    assert -1 <= low <= 1 <= high <= 1
    assert lowest_share(np.array([1, 0, 400]), images)[0] < 0.21


def test_without_images_there_is_nothing_to_say():
    none = np.array([0, 0])
    with pytest.raises(ValueError, match="no class"):
        lowest_share(none, none)
    with pytest.raises(ValueError, match="no images"):
        calibration_range(np.array([]), np.array([], bool))
