"""The built-in metrics, against definitions written out otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from engine.errors import StepError
from engine.quality.task_scores import cosines, edit_distance, of_set, per_sample

ONES = np.ones((1, 60))


def values(n: int = 60, width: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.normal(5, 2, (n, width))
    return targets + rng.normal(0, 0.7, (n, width)), targets


def value(name: str, outputs: np.ndarray, targets: np.ndarray) -> float:
    return float(of_set(name, outputs, targets)(np.ones((1, len(targets))))[0])


def test_errors_of_values():
    given, wanted = values()
    assert per_sample("mae", given, wanted) == pytest.approx(
        [np.mean(np.abs(a - b)) for a, b in zip(given, wanted, strict=True)]
    )
    assert value("rmse", given, wanted) == pytest.approx(np.sqrt(np.mean((given - wanted) ** 2)))
    explained = [1 - ((g - w) ** 2).sum() / ((w - w.mean()) ** 2).sum() for g, w in zip(given.T, wanted.T, strict=True)]
    assert value("r2", given, wanted) == pytest.approx(np.mean(explained))


def test_one_number_of_two_shapes_is_the_same_number():
    given, wanted = values(width=1)
    assert per_sample("mae", given, wanted[:, 0]) == pytest.approx(np.abs(given - wanted)[:, 0])


def test_ranks_with_ties_are_those_of_scipy():
    given, wanted = values()
    given, wanted = np.round(given), np.round(wanted)
    expected = np.mean([scipy.stats.spearmanr(a, b).statistic for a, b in zip(given.T, wanted.T, strict=True)])
    assert value("spearman", given, wanted) == pytest.approx(expected)


def scored_classes(classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, 60)
    return np.round(rng.normal(0, 1, (60, classes)) + 2 * np.eye(classes)[labels], 1), labels


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """By its meaning: how often a positive is above a negative, a tie counting half."""
    above = scores[positive][:, None] - scores[~positive][None]
    return float(np.mean((above > 0) + 0.5 * (above == 0)))


def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order():
    scores, labels = scored_classes(2)
    assert value("auroc", scores, labels) == pytest.approx(auc(scores[:, 1] - scores[:, 0], labels == 1))
    scores, labels = scored_classes(4)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert value("auroc", scores, labels) == pytest.approx(np.mean([auc(shares[:, c], labels == c) for c in range(4)]))


def test_macro_f1_is_the_mean_over_classes():
    scores, labels = scored_classes(4)
    said = scores.argmax(1)
    each = []
    for c in range(4):
        right = ((said == c) & (labels == c)).sum()
        precision, recall = right / (said == c).sum(), right / (labels == c).sum()
        each.append(2 * precision * recall / (precision + recall))
    assert value("macro_f1", scores, labels) == pytest.approx(np.mean(each))


def test_overlap_of_maps_leaves_out_what_does_not_count():
    wanted = np.array([[[0, 0, 1], [1, 1, 255]]])
    scores = np.zeros((1, 2, 2, 3))
    scores[0, 1] = [[-1, 1, 1], [1, -1, 1]]
    # Class 0: 1 place of both, 3 of either; class 1: 2 of 4.
    assert value("iou", scores, wanted) == pytest.approx((1 / 3 + 2 / 4) / 2)
    # One channel is a share or a score of class 1.
    assert value("iou", scores[:, 1:], wanted) == value("iou", scores, wanted)
    assert value("iou", (scores[:, 1:] + 1) / 2, wanted[:, None]) == value("iou", scores, wanted)


def test_perplexity_of_a_guess_is_the_number_of_words():
    targets = np.array([[1, 2, -1], [0, -100, -1]])
    assert value("perplexity", np.zeros((2, 3, 7)), targets) == pytest.approx(7)


def test_texts_are_compared_by_edits():
    assert edit_distance("kitten", "sitting") == 3
    outputs, targets = ["the cat sat", "on mats"], np.array(["the cat sat", "on a mat"])
    assert value("wer", outputs, targets) == pytest.approx(2 / 6)
    assert value("cer", outputs, targets) == pytest.approx(3 / 19)


def test_a_metric_of_drawn_samples_is_that_of_the_samples_drawn():
    scores, labels = scored_classes(3)
    given, wanted = values()
    chosen = np.random.default_rng(2).integers(0, 60, 60)
    weights = np.bincount(chosen, minlength=60)[None].astype(float)
    for name, outputs, targets in (
        ("rmse", given, wanted),
        ("r2", given, wanted),
        ("spearman", np.round(given), np.round(wanted)),
        ("macro_f1", scores, labels),
        ("auroc", scores, labels),
    ):
        drawn = of_set(name, outputs, targets)(weights)[0]
        assert drawn == pytest.approx(value(name, outputs[chosen], targets[chosen])), name


def test_cosines_of_nothing():
    found = cosines(np.array([[1.0, 0], [0, 0], [0, 0], [2, 2]]), np.array([[0.0, 1], [0, 0], [1, 0], [1, 1]]))
    assert found == pytest.approx([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "message"),
    [
        ("mae", np.zeros((5, 2)), np.zeros((5, 3)), "gives 2 numbers for a sample, the targets are 3"),
        ("mae", np.zeros((5, 2, 3)), np.zeros((5, 3, 2)), r"gives \(2, 3\) for a sample, the targets are \(3, 2\), as many"),
        ("r2", np.zeros((5, 1)), np.ones((5, 1)), "a target is the same for all test samples"),
        ("spearman", np.zeros((5, 1)), np.ones((5, 1)), "a target is the same for all test samples"),
        ("auroc", np.zeros((5, 2)), np.zeros(5, int), "all test samples are of one class"),
        ("macro_f1", np.zeros((5, 2, 2)), np.zeros(5, int), r"outputs of shape \(5, 2, 2\)"),
        ("iou", np.zeros((1, 2, 4, 4)), np.zeros((1, 3, 3), int), "make them alike"),
        ("iou", np.zeros((1, 2, 3, 3)), np.zeros((1, 3, 3)), "target maps are float64"),
        ("perplexity", np.zeros((2, 3, 7)), np.full((2, 3), 9), "token 9 of the targets, but only 7"),
        ("perplexity", np.zeros((2, 3, 7)), np.full((2, 3), -1), "no token of the targets counts"),
        ("wer", ["a"], np.array([""]), "all target texts are empty"),
    ],
)  # fmt: skip
def test_what_is_not_defined_is_one_line(name, outputs, targets, message):
    count = per_sample if name == "mae" else of_set
    with pytest.raises(StepError, match=message):
        count(name, outputs, targets)
