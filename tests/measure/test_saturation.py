"""Pairs of products in 16 bits: against exact arithmetic, hand-made cases and plain loops."""

from __future__ import annotations

import numpy as np

from engine.measure.saturation import PairedWeights


def excess_of(codes, weights):
    """Of codes (n, K) and weights (K, outputs): (n, outputs), and the number of pairs that saturated."""
    columns, pairs = np.array(codes, np.uint8).T, PairedWeights(np.array(weights, np.int8))
    found, count = np.zeros((columns.shape[1], pairs.outputs), int), 0
    for image, output, place, amount in pairs.beyond(
        lambda k: columns[k][:, None], columns.max(axis=1), np.zeros((1, 1), int)
    ):
        np.add.at(found, (image, output), amount.astype(int))
        assert not place.any()
        count += len(image)
    return found.tolist(), count


def test_two_products_saturate_as_the_instruction_does():
    # 255·127 + 255·127 = 64770, held at 32767; 255·-128 twice = -65280, held at -32768.
    assert excess_of([[255, 255]], [[127], [127]]) == ([[32767 - 64770]], 1)
    assert excess_of([[255, 255]], [[-128], [-128]]) == ([[-32768 + 65280]], 1)
    # Just inside: 255·64 + 255·64 = 32640; 255·-64 - 255·64 = -32640; what cancels does not saturate.
    assert excess_of([[255, 255]], [[64, -64, 127], [64, -64, -127]]) == ([[0, 0, 0]], 0)
    # The edge itself: 32767 = 255·127 + 191·2, and -32768 = 128·-128 + 128·-128.
    assert excess_of([[255, 191]], [[127], [2]]) == ([[0]], 0)
    assert excess_of([[255, 192]], [[127], [2]]) == ([[-2]], 1)
    assert excess_of([[128, 128]], [[-128], [-128]]) == ([[0]], 0)
    assert excess_of([[128, 129]], [[-128], [-128]]) == ([[128]], 1)


def test_neighbours_are_paired_and_a_last_odd_product_stands_alone():
    assert excess_of([[255, 0, 0, 255, 255]], [[127]] * 5) == ([[0]], 0)
    assert excess_of([[0, 255, 255, 0]], [[127]] * 4) == ([[0]], 0)
    assert excess_of([[255, 255, 255, 255]], [[127]] * 4) == ([[2 * (32767 - 64770)]], 2)


def test_against_int16_arithmetic_written_out():
    rng = np.random.default_rng(0)
    for inner in (1, 2, 23, 64):
        codes, weights = rng.integers(0, 256, (40, inner)), rng.integers(-128, 128, (inner, 9))
        codes[:5], weights[:, 0], weights[:, 1] = 255, 127, -128
        expected, saturated = np.zeros((40, 9), np.int64), 0
        for k in range(0, inner, 2):
            pair = codes[:, k : k + 2] @ weights[k : k + 2]
            held = np.clip(pair, np.iinfo(np.int16).min, np.iinfo(np.int16).max)
            expected, saturated = expected + held, saturated + int((held != pair).sum())
        found, count = excess_of(codes, weights)
        np.testing.assert_array_equal(codes @ weights + np.array(found), expected)
        assert count == saturated
        assert (count > 0) == (inner > 1)


def test_seven_bits_never_saturate():
    rng = np.random.default_rng(1)
    weights = rng.choice([-64, 63], (64, 32))
    assert not PairedWeights(weights).possible
    assert not PairedWeights(weights, channels=8).possible
    assert excess_of(np.full((1, 64), 255), weights) == ([[0] * 32], 0)


def test_taps_that_meet_nothing_add_nothing():
    """Two channels at three positions, a kernel of two taps: its second tap meets position 1 at place 0, its first position 2 nowhere."""
    weights = np.full((4, 1), 127)
    places = np.array([[0, 1, -1], [-1, 0, 1]])
    codes = np.full((1, 2, 3), 255, np.uint8)
    found = np.zeros(2, int)
    for _, _, place, amount in PairedWeights(weights, channels=2).beyond(
        lambda k: codes[:, k], np.full(2, 255), places
    ):
        np.add.at(found, place, amount.astype(int))
    assert found.tolist() == [2 * (32767 - 64770)] * 2
