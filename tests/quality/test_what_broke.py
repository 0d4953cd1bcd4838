"""What broke: counts by hand on a few images, and against the figures that are computed elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from engine.figures.what_broke import (
    class_alt,
    class_figure,
    confusion_alt,
    confusion_figure,
    reliability_alt,
    reliability_figure,
)
from engine.quality.predictions import from_scores
from engine.quality.statistics import calibration_error
from engine.quality.what_broke import class_changes, confusion_change, flips, reliability

CLASSES = ("cat", "dog", "owl")
LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
BEFORE = np.array([0, 0, 1, 1, 1, 2, 2, 0])
AFTER = np.array([0, 1, 2, 1, 1, 2, 0, 2])


def said(classes: np.ndarray, sureness: float = 2.0):
    """Predictions whose highest score is of the class given, the surer the later."""
    scores = np.eye(3)[classes] * (sureness + np.arange(len(classes))[:, None] / 10)
    return from_scores(scores, LABELS)


PAIR = said(BEFORE), said(AFTER)


def test_recall_by_class_is_counted_and_the_greatest_loss_comes_first():
    changes = class_changes(*PAIR, LABELS, (*CLASSES, "never seen"))
    assert [(c.name, c.images) for c in changes] == [("cat", 3), ("dog", 2), ("owl", 3)]
    assert [(c.before, c.after) for c in changes] == [
        (pytest.approx(2 / 3), pytest.approx(1 / 3)),
        (1.0, 1.0),
        (pytest.approx(2 / 3), pytest.approx(2 / 3)),
    ]
    assert not changes[0].is_certain  # one image of three is chance
    assert changes[0].low <= changes[0].change <= changes[0].high


def test_confusion_counts_what_became_more_frequent_and_no_image_is_lost():
    change = confusion_change(*PAIR, LABELS, 3)
    assert change.tolist() == [[-1, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert (change.sum(axis=1) == 0).all()


def test_flips_are_told_apart_and_the_surest_harm_comes_first():
    found = flips(*PAIR, LABELS)
    assert [(f.index, f.kind) for f in found] == [(6, "harmful"), (1, "harmful"), (2, "neutral"), (7, "helpful")]
    assert (found[0].label, found[0].before, found[0].after) == (2, 2, 0)
    assert found[0].after_confidence > found[1].after_confidence


def test_the_bins_are_those_of_the_calibration_error():
    scores = np.random.default_rng(0).normal(0, 2, (500, 3))
    labels = np.random.default_rng(1).integers(0, 3, 500)
    predictions = from_scores(scores, labels)
    bins = reliability(predictions, labels)
    assert sum(b.images for b in bins) == 500
    error = sum(b.images * abs(b.confidence - b.right) for b in bins) / 500
    assert error == pytest.approx(calibration_error(predictions.confidence, predictions.right))
    assert all(b.low < b.confidence <= b.high + 1e-9 for b in bins)


def test_the_figures_draw_what_was_counted_and_say_it_in_words():
    changes = class_changes(*PAIR, LABELS, CLASSES)
    bars = class_figure(changes)
    assert list(bars.data[0].y) == [0, 1, 2]
    assert list(bars.layout.yaxis.ticktext) == [c[3] for c in bars.data[0].customdata] == ["cat", "dog", "owl"]
    assert "cat −33.3 points" in class_alt(changes)
    change = confusion_change(*PAIR, LABELS, 3)
    # Names that are digits would make a scale of numbers.
    axes = confusion_figure(change, ("0", "1", "2")).layout
    assert (axes.xaxis.type, axes.yaxis.type) == ("category", "category")
    drawn = np.array(confusion_figure(change, CLASSES).data[0].z, float)
    assert np.isnan(np.diag(drawn)).all()  # right answers are no mistakes
    assert drawn[0, 2] == 1
    assert "cat taken for owl, +1 samples" in confusion_alt(change, CLASSES)
    bins = [reliability(p, LABELS) for p in PAIR]
    assert [t.name for t in reliability_figure(*bins).data] == ["as right as sure", "baseline", "this recipe"]
    assert "points too sure" in reliability_alt(bins[1])


def test_without_probabilities_there_is_no_calibration():
    bare = PAIR[0].__class__(PAIR[0].predicted)
    assert reliability(bare, LABELS) == ()
    assert flips(bare, PAIR[1], LABELS)[0].before_confidence is None
