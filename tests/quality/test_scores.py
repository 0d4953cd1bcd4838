"""Figures made of predictions, against counts by hand and against the definitions on exact probabilities."""

import itertools

import numpy as np
import pytest

from engine.errors import StepError
from engine.metrics import METRICS
from engine.quality.predictions import Predictions, from_scores
from engine.quality.scores import accuracy, divergence_of, fidelity, quality
from engine.quality.statistics import wilson
from engine.spec.recipe import Recipe
from engine.spec.steps import Quantize
from engine.trials.evidence import Interval
from engine.trials.metric_values import metric_value
from engine.trials.text import metric_range
from engine.trials.trial import Trial
from tests.helpers.trial_factory import trial

NAMES = tuple("abcdefg")


def answers(classes, labels=None, of=7):
    """Predictions that say these classes, quite sure."""
    classes = np.asarray(classes)
    labels = np.zeros(len(classes), np.int64) if labels is None else np.asarray(labels)
    return from_scores(4.0 * np.eye(of, dtype=np.float32)[classes], labels)


def test_accuracy_pairs_the_trial_with_the_baseline_image_by_image():
    labels = np.zeros(100, np.int64)
    baseline = answers([1] * 8 + [0] * 92)
    tried = answers([0] * 7 + [1] + [0] * 91 + [1])
    found = accuracy(tried, labels, baseline)
    assert (found.value, found.n) == (0.98, 100)
    assert (found.low, found.high) == wilson(98, 100)
    # 7 images only the trial has right, 1 only the baseline.
    assert found.p_vs_baseline == pytest.approx(0.0390625)
    assert found.vs_baseline.value == pytest.approx(0.06)
    assert 0 < found.vs_baseline.low < 0.06 < found.vs_baseline.high
    assert found.tied_with_baseline is False
    assert accuracy(baseline, labels, None).p_vs_baseline is None
    itself = accuracy(baseline, labels, baseline)
    assert (itself.p_vs_baseline, itself.tied_with_baseline) == (1, True)


def test_predictions_of_other_images_are_refused():
    with pytest.raises(StepError, match=r"cover \[3, 4\] images"):
        accuracy(answers([0] * 3), np.zeros(4, np.int64), None)
    with pytest.raises(StepError, match=r"cover \[2, 3\] images"):
        quality(answers([0] * 3), np.zeros(3, np.int64), answers([0] * 2), NAMES)
    with pytest.raises(StepError, match="3 predictions against 2"):
        fidelity(answers([0] * 3), answers([0] * 2))


def test_flips_recall_and_the_class_that_lost_most_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
    baseline = answers([0, 0, 0, 1, 1, 1, 2, 2, 0, 0], labels)
    tried = answers([0, 0, 0, 0, 1, 0, 2, 1, 1, 0], labels)
    found = quality(tried, labels, baseline, NAMES)
    # Other answers: images 3 (wrong to right), 5 and 7 (right to wrong), 8 (wrong to wrong).
    assert found.flip_rate.value == 0.4
    assert found.harmful_flip_rate == Interval(0.2, *wilson(2, 10))
    assert found.class_recall == (1.0, 0.5, 0.25, None, None, None, None)
    assert found.lowest_recall == 0.25
    assert (found.worst_class.name, found.worst_class.drop) == ("b", 0.5)
    assert fidelity(tried, baseline).agreement.value == 0.6
    own = quality(baseline, labels, None, NAMES)
    assert (own.flip_rate.value, own.harmful_flip_rate.value, own.worst_class) == (0, 0, None)
    assert fidelity(baseline, None).agreement.value == 1


def test_likelihood_and_calibration_are_those_of_the_probabilities():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (2000, 7)), rng.integers(0, 7, 2000)
    logarithms = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    found = quality(from_scores(logits, labels), labels, None, NAMES)
    nll = -logarithms[np.arange(2000), labels]
    assert found.nll.value == pytest.approx(nll.mean(), rel=1e-3)
    assert found.nll.high - found.nll.value == pytest.approx(1.96 * nll.std() / np.sqrt(2000), rel=0.01)
    confidence, right = np.exp(logarithms.max(1)), logits.argmax(1) == labels
    edges = np.linspace(0, 1, 16)
    bins = [(confidence > low) & (confidence <= high) for low, high in itertools.pairwise(edges)]
    expected = sum(abs(confidence[b].mean() - right[b].mean()) * b.mean() for b in bins if b.any())
    assert found.ece == pytest.approx(expected, abs=2e-3)
    top5 = (np.argsort(-logits, axis=1)[:, :5] == labels[:, None]).any(1).mean()
    assert found.top5.value == pytest.approx(top5, abs=2e-3)


def exact_divergence(p_logits, q_logits):
    p, q = (v - np.log(np.exp(v).sum(1, keepdims=True)) for v in (p_logits, q_logits))
    return (np.exp(p) * (p - q)).sum(1)


@pytest.mark.parametrize("noise", [0.01, 0.3, 3.0])
def test_divergence_from_the_baseline_is_that_of_the_probabilities(noise):
    rng = np.random.default_rng(1)
    before = rng.normal(0, 3, (500, 10))
    after = before + rng.normal(0, noise, before.shape)
    labels = np.full(500, -1)
    baseline, tried = from_scores(before, labels), from_scores(after, labels)
    expected = exact_divergence(before, after).mean()
    assert fidelity(tried, baseline).kl.value == pytest.approx(expected, rel=0.02, abs=1e-5)
    assert fidelity(baseline, baseline).kl.value == 0


def test_divergence_over_the_likeliest_of_many_classes_is_never_too_high():
    rng = np.random.default_rng(2)
    before = rng.normal(0, 3, (300, 400))
    after = before + rng.normal(0, 0.5, before.shape)
    labels = np.full(300, -1)
    exact = exact_divergence(before, after)
    found = divergence_of(from_scores(before, labels), from_scores(after, labels))
    assert (found <= exact + 2e-3).all()
    assert found.mean() > 0.5 * exact.mean()


def test_without_labels_there_is_fidelity_alone():
    labels = np.full(6, -1)
    baseline, tried = answers([0, 1, 2, 3, 4, 5], labels), answers([0, 1, 2, 3, 4, 0], labels)
    assert accuracy(tried, labels, baseline) is None
    assert quality(tried, labels, baseline, NAMES) is None
    found = fidelity(tried, baseline)
    assert found.agreement == Interval(5 / 6, *wilson(5, 6))
    assert found.kl.value > 0


def test_predictions_of_an_earlier_version_give_what_needs_no_probabilities():
    labels = np.array([0, 1, 1])
    old = Predictions(np.array([0, 1, 0], np.uint16))
    found = quality(old, labels, old, NAMES)
    assert (found.nll, found.ece, found.top5) == (None, None, None)
    assert found.class_recall[:2] == (1.0, 0.5)
    assert fidelity(old, old).kl is None


def test_one_image_is_enough():
    labels = np.array([3])
    baseline, tried = answers([3], labels), answers([2], labels)
    assert accuracy(tried, labels, baseline).value == 0
    found = quality(tried, labels, baseline, NAMES)
    assert (found.lowest_recall, found.worst_class.name, found.harmful_flip_rate.value) == (0.0, "d", 1.0)
    assert found.nll.low == found.nll.high


def full(recipe=None) -> Trial:
    labels = np.arange(40) % 7
    baseline, tried = answers(labels, labels), answers(np.where(np.arange(40) < 3, 6, labels), labels)
    return trial(
        recipe,
        accuracy=None,
        quality=quality(tried, labels, baseline, NAMES),
        fidelity=fidelity(tried, baseline),
    )


def test_every_figure_survives_the_record_and_is_a_metric():
    made = full(Recipe(steps=(Quantize(weight_bits=8, activation_bits=8),)))
    assert Trial.from_json(made.to_json()) == made
    for key in (
        "top5",
        "lowest_recall",
        "worst_class_drop",
        "flip_rate",
        "harmful_flip_rate",
        "nll",
        "ece",
        "agreement",
        "kl",
    ):
        assert METRICS[key].help
        assert metric_value(made, key) is not None, key
    assert metric_value(made, "flip_rate") == 3 / 40


def test_the_worst_of_several_has_an_interval_of_its_own_around_it():
    from engine.trials.metric_values import metric_interval

    made = full(Recipe(steps=(Quantize(weight_bits=8, activation_bits=8),)))
    for key in ("lowest_recall", "worst_class_drop", "ece"):
        found = metric_interval(made, key)
        assert found.value == metric_value(made, key)
        assert found.low <= found.value <= found.high
        assert found.low < found.high
    own = quality(answers([0, 1]), np.array([0, 1]), None, NAMES)
    assert set(own.intervals) == {"lowest_recall", "ece"}


def test_a_record_of_before_these_intervals_has_the_values_alone():
    record = full(Recipe(steps=(Quantize(weight_bits=8, activation_bits=8),))).to_json()
    values = {key: record["quality"]["intervals"].pop(key)["value"] for key in list(record["quality"]["intervals"])}
    del record["quality"]["intervals"]
    old = Trial.from_json(record)
    assert old.quality.intervals == {}
    assert {key: metric_value(old, key) for key in values} == values
    assert all(metric_range(old, key) is None for key in values)


def test_a_record_of_an_earlier_version_has_the_new_figures_unmeasured():
    record = full().to_json()
    for name in ("quality", "fidelity", "confirmation", "seeds", "predictions", "tied_with_baseline"):
        del record[name]
    old = Trial.from_json(record)
    assert (old.quality, old.fidelity, old.seeds) == (None, None, None)
    assert metric_value(old, "top5") is None
