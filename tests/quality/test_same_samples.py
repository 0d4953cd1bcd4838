"""Whether two files' answers can be of the same samples: against labels that are known."""

import numpy as np

from engine.quality.predictions import from_scores
from engine.quality.same_samples import load_answers, same_labels


def answers(labels, right_share, seed):
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(labels)) < right_share, labels, rng.integers(0, 10, len(labels)))
    return said.astype(np.uint16), said == labels


def test_answers_to_the_same_labels_fit_whoever_gave_them_and_others_do_not():
    rng = np.random.default_rng(0)
    labels, others = rng.integers(0, 10, (2, 500))
    assert same_labels(answers(labels, 0.9, 1), answers(labels, 0.6, 2))
    assert same_labels(answers(labels, 0.0, 1), answers(labels, 0.0, 2))
    assert not same_labels(answers(labels, 0.9, 1), answers(others, 0.9, 2))
    # One label that was corrected is enough, where one of the two had it right.
    corrected = labels.copy()
    corrected[7] = (labels[7] + 1) % 10
    assert not same_labels(answers(labels, 1.0, 1), answers(corrected, 1.0, 2))
    assert not same_labels(answers(labels, 0.9, 1), answers(labels[:499], 0.9, 2))


def test_answers_are_read_from_a_file_of_predictions(tmp_path):
    labels = np.arange(30) % 5
    scores = np.random.default_rng(0).normal(size=(30, 5))
    kept = from_scores(scores, labels)
    kept.save(tmp_path / "p.npz")
    said, right = load_answers(tmp_path / "p.npz")
    assert said.tolist() == scores.argmax(axis=1).tolist()
    assert right.tolist() == (scores.argmax(axis=1) == labels).tolist()
    from_scores(scores, np.full(30, -1)).save(tmp_path / "unlabelled.npz")
    assert load_answers(tmp_path / "unlabelled.npz") is None
    assert load_answers(tmp_path / "gone.npz") is None
