"""A metric's numbers with their intervals, and two networks on the same samples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from engine.errors import StepError
from engine.metrics import score_key
from engine.quality.scored import Scored, drawn, score, scored_calls, scored_samples, scored_set
from engine.quality.task_scores import of_set
from engine.trials.evidence import Score

KEY = score_key("Error", "min", "mm")


def test_numbers_of_each_sample_are_compared_pair_by_pair():
    rng = np.random.default_rng(0)
    hard = rng.gamma(1, 10, 400)
    before, after = scored_samples(hard, "x"), scored_samples(hard + rng.normal(0.2, 0.5, 400), "x")
    found = score(KEY, after, 400, before)
    assert found.value == pytest.approx(after.samples.mean())
    # The samples differ by far more than the networks do: alone they could not be told apart, in pairs they are.
    assert found.low < before.value < found.high
    assert found.vs_baseline.value == pytest.approx(found.value - before.value)
    assert 0 < found.vs_baseline.low < found.vs_baseline.high
    assert found.p_vs_baseline < 0.001
    assert not found.tied_with_baseline
    assert Score.from_json(dataclasses.asdict(found)) == found


def test_the_same_network_is_tied_with_itself():
    numbers = scored_samples(np.random.default_rng(0).random(50), "x")
    found = score(KEY, numbers, 50, numbers)
    assert (found.p_vs_baseline, found.vs_baseline.low, found.vs_baseline.high) == (1.0, 0.0, 0.0)


def test_p_is_small_in_so_many_cases_as_it_says():
    rng = np.random.default_rng(3)
    p = []
    for _ in range(200):
        a, b = rng.normal(0, 1, (2, 30))
        p.append(score(KEY, scored_samples(a, "x"), 30, scored_samples(b, "x")).p_vs_baseline)
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.11


def test_a_number_of_the_whole_set_is_drawn_alike_for_all_networks():
    rng = np.random.default_rng(1)
    targets = rng.normal(0, 5, (300, 1))
    noise = rng.normal(0, 1, (300, 1))
    before, after = (scored_set(of_set("rmse", targets + k * noise, targets), 300, "rmse") for k in (1.0, 1.05))
    found = score(KEY, after, 300, before)
    # In every draw the second is worse by a twentieth, however hard the draw is.
    assert found.vs_baseline.low > 0.04
    assert found.p_vs_baseline < 0.01
    assert found.low < before.value < found.high
    # The textbook standard error of the root of a mean square of normal errors.
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 1.05 / np.sqrt(2 * 300), rel=0.25)


def test_calls_of_a_function_see_the_samples_that_weights_would():
    targets = np.random.default_rng(0).normal(0, 1, 40)
    called = scored_calls(
        lambda chosen: float(targets[slice(None) if chosen is None else chosen].mean()), 40, 100, "mean"
    )
    weighted = scored_set(lambda w: w @ targets / w.sum(axis=1), 40, "mean")
    np.testing.assert_allclose(called.draws, weighted.draws[:100])
    assert score(KEY, called, 40, weighted).tied_with_baseline


def test_it_is_kept_as_arrays():
    for found in (scored_samples(np.arange(5.0), "x"), Scored(1.0, draws=np.arange(3.0))):
        again = Scored.of(found.arrays())
        assert again.value == found.value
        np.testing.assert_array_equal(
            again.samples if found.draws is None else again.draws, found.samples if found.draws is None else found.draws
        )
    assert Scored.of({}) is None


def test_draws_are_the_same_every_time():
    assert [c.tolist() for c in drawn(5, 3)] == [c.tolist() for c in drawn(5, 3)]


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: scored_samples(np.array([1.0, np.nan]), "mine"), "metric mine is not a number for 1 of 2 samples, first for sample 1"),
        (lambda: scored_set(lambda w: np.full(len(w), np.inf), 3, "mine"), "metric mine is inf"),
        (lambda: score(KEY, scored_samples(np.ones(3), "x"), 3, scored_samples(np.ones(4), "x")), "3 samples against 4"),
        (lambda: score(KEY, scored_samples(np.ones(3), "x"), 3, Scored(1.0, draws=np.ones(9))), "run the sweep again"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_line(attempt, message):
    with pytest.raises(StepError, match=message):
        attempt()
