"""Predictions are stored small, without pickles, and come back as they were."""

import pickle

import numpy as np
import pytest

from engine.errors import SetupError
from engine.quality.predictions import (
    MOST_FULL_CLASSES,
    TOP_CLASSES,
    Predictions,
    concatenated,
    from_scores,
    load_right,
)


def scores(n, classes, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (n, classes)).astype(np.float32)


def logarithms(logits):
    values = logits.astype(np.float64)
    return values - np.log(np.exp(values).sum(1, keepdims=True))


def same(a, b):
    for name in Predictions.__dataclass_fields__:
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None), name
        if left is not None:
            np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.mark.parametrize("classes", [2, 10, MOST_FULL_CLASSES, MOST_FULL_CLASSES + 1, 500])
@pytest.mark.parametrize("labelled", [True, False])
def test_predictions_come_back_from_a_file_as_they_were(tmp_path, classes, labelled):
    labels = np.random.default_rng(1).integers(0, classes, 301) if labelled else np.full(301, -1)
    predictions = from_scores(scores(301, classes), labels)
    predictions.save(tmp_path / "a.part")
    predictions.save(tmp_path / "b")
    same(Predictions.load(tmp_path / "a.part"), predictions)
    assert (tmp_path / "a.part").read_bytes() == (tmp_path / "b").read_bytes()
    right = load_right(tmp_path / "b")
    if labelled:
        assert np.array_equal(right, predictions.predicted == labels)
    else:
        assert right is None


def test_ten_classes_take_20_bytes_an_image_and_a_thousand_no_more_than_70(tmp_path):
    for classes, most in ((10, 22), (1000, 70)):
        from_scores(scores(5000, classes), np.arange(5000) % classes).save(tmp_path / "p")
        assert (tmp_path / "p").stat().st_size / 5000 < most


@pytest.mark.parametrize("classes", [10, 200])
def test_logarithms_are_those_of_the_softmax(classes):
    logits = scores(50, classes)
    labels = np.arange(50) % classes
    found, exact = from_scores(logits, labels), logarithms(logits)
    kept = exact if found.classes is None else np.take_along_axis(exact, found.classes.astype(int), axis=1)
    np.testing.assert_allclose(found.log_probability, kept, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.label_probability, exact[np.arange(50), labels], rtol=1e-3, atol=1e-6)
    assert found.log_probability.shape[1] == min(classes, TOP_CLASSES if classes > MOST_FULL_CLASSES else classes)


def test_a_sure_answer_keeps_its_digits():
    logits = np.array([[20.0, 0.0], [-40.0, 40.0]], np.float32)
    found = from_scores(logits, np.array([0, 0]))
    assert found.label_probability.astype(float) == pytest.approx([-2.06e-9, -80.0], abs=1e-7)


def test_infinite_scores_are_certain():
    found = from_scores(np.array([[0.0, np.inf], [np.inf, 0.0]], np.float32), np.array([1, 1]))
    assert found.predicted.tolist() == [1, 0]
    assert found.confidence.tolist() == [1, 1]
    assert np.isfinite(found.label_probability).all()


@pytest.mark.parametrize("classes", [10, 200])
def test_top_five_is_that_of_the_scores(classes):
    logits = scores(400, classes)
    labels = np.random.default_rng(3).integers(0, classes, 400)
    expected = (np.argsort(-logits, axis=1)[:, :5] == labels[:, None]).any(axis=1)
    assert (from_scores(logits, labels).top(5, labels) == expected).mean() > 0.99
    assert from_scores(logits[:, :3], labels % 3).top(5, labels % 3) is None


def test_batches_are_put_together_in_order():
    logits, labels = scores(30, 10), np.arange(30) % 10
    whole = from_scores(logits, labels)
    same(concatenated([from_scores(logits[:12], labels[:12]), from_scores(logits[12:], labels[12:])]), whole)


def test_files_of_earlier_versions_hold_the_classes_alone(tmp_path):
    np.savez_compressed(
        tmp_path / "old.npz", predicted=np.arange(4, dtype=np.uint16), confidence=np.ones(4, np.float16)
    )
    old = Predictions.load(tmp_path / "old.npz")
    assert old.predicted.tolist() == [0, 1, 2, 3]
    assert (old.log_probability, old.right, old.confidence) == (None, None, None)
    assert load_right(tmp_path / "old.npz") is None


def test_a_damaged_or_foreign_predictions_file_is_refused(tmp_path):
    whole, path = tmp_path / "whole.npz", tmp_path / "p.npz"
    from_scores(scores(500, 10), np.arange(500) % 10).save(whole)
    objects = tmp_path / "objects.npz"
    np.savez(objects, predicted=np.array([{}], object))
    floats = tmp_path / "floats.npz"
    np.savez(floats, predicted=np.zeros(3))
    short = tmp_path / "short.npz"
    np.savez(short, predicted=np.zeros(30, np.uint16), right=np.zeros(2, np.uint8))
    array = tmp_path / "array.npy"
    np.save(array, np.zeros(3))
    altered = bytearray(whole.read_bytes())
    altered[len(altered) // 4] ^= 0xFF
    contents = [b"", whole.read_bytes()[:-30], bytes(altered), pickle.dumps([1])]
    contents += [other.read_bytes() for other in (objects, floats, short, array)]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(SetupError, match="holds no predictions"):
            Predictions.load(path)
    with pytest.raises(SetupError, match="holds no predictions"):
        Predictions.load(tmp_path / "missing.npz")
    assert load_right(tmp_path / "missing.npz") is None
