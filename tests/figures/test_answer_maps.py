"""Answers of every pixel as pictures: what is a class and what a value, and where two answers are apart."""

from __future__ import annotations

import numpy as np

from engine.figures.answer_maps import answer_map, apart_map, is_map, most_changed, target_map


def test_scores_of_classes_become_the_class_where_the_target_is_one_a_pixel():
    scores = np.zeros((5, 6, 7), np.float32)
    scores[3, 2, 4] = scores[1, 0, 0] = 1.0
    target = np.zeros((6, 7), np.int64)
    found = answer_map(scores, target)
    assert found.shape == (1, 6, 7)
    assert (found[0, 2, 4], found[0, 0, 0], found[0, 5, 5]) == (3, 1, 0)
    # Three classes, too, which without a target would be colours.
    assert answer_map(scores[:3], target).shape == (1, 6, 7)
    assert answer_map(scores[:3], None).shape == (3, 6, 7)
    assert answer_map(scores, None).shape == (1, 6, 7)
    assert target_map(target, scores.shape).shape == (1, 6, 7)


def test_values_of_pixels_stay_values():
    depth = np.random.default_rng(0).random((1, 8, 9)).astype(np.float32)
    assert np.array_equal(answer_map(depth, depth), depth)
    assert np.array_equal(answer_map(depth[0], None), depth)
    picture = np.zeros((3, 8, 9), np.float32)
    assert answer_map(picture, picture).shape == (3, 8, 9)
    assert target_map(np.zeros((4, 4)), (8, 9)) is None


def test_numbers_are_no_map():
    assert not is_map((10,))
    assert not is_map((2, 100))
    assert not is_map((5, 3, 3))
    assert answer_map(np.zeros((2, 100)), None) is None
    assert target_map(None, (8, 9)) is None


def test_where_two_answers_are_apart():
    before, after = np.zeros((3, 4, 5)), np.zeros((3, 4, 5))
    after[2, 1, 3], before[0, 1, 3], after[0, 0, 0] = -0.75, 0.25, 0.5
    apart = apart_map(before, after)
    assert apart.shape == (1, 4, 5)
    assert (apart[0, 1, 3], apart[0, 0, 0], apart.sum()) == (0.75, 0.5, 1.25)
    assert most_changed(before, after) == "at 2, 1, 3: 0 → -0.75"
    assert most_changed(before[0, 0, :3], after[0, 0, :3]) == ""
    assert most_changed(np.full(9, np.nan), np.zeros(9)) == ""
