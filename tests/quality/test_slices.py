"""Figures by slice against formulas and simulation, and the worst of them."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from engine.errors import StepError
from engine.measure.task_metric import scored
from engine.metrics import METRICS, score_key, short_name
from engine.quality.predictions import Predictions, from_scores
from engine.quality.scored import Scored, scored_samples
from engine.quality.slices import by_slice
from engine.quality.statistics import paired_difference, wilson
from engine.quality.values import Values
from engine.quality.worst_of_many import lowest_value
from engine.spec.metric import MetricChoice
from engine.trials.evidence import Interval
from engine.trials.metric_values import own_metrics, slice_interval, slice_metrics
from engine.trials.slices import Slices

ERROR, R2 = score_key("Error", "min", "mm"), MetricChoice(name="r2").key
NONE = np.full(400, -1)


def values(samples=None, scored_by=None):
    return Values(np.zeros((400, 1), np.float32), 400, scored_samples(samples, "x") if scored_by is None else scored_by)


def test_accuracy_of_a_slice_is_counted_on_its_images():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    before, after = (Predictions(np.where(rng.random(300) < p, labels, 0).astype(np.uint16)) for p in (0.9, 0.8))
    site, device = np.array(["a", "b", "c"])[rng.integers(0, 3, 300)], rng.integers(0, 2, 300).astype(str)
    found = by_slice(after, before, labels, {"site": site, "device": device}, None)
    assert [(s.array, s.value) for s in found.parts] == [("site", c) for c in "abc"] + [
        ("device", "0"),
        ("device", "1"),
    ]
    for part in found.parts:
        mine = (site if part.array == "site" else device) == part.value
        right, other = (p.predicted[mine] == labels[mine] for p in (after, before))
        assert (part.n, part.accuracy.value) == (mine.sum(), right.mean())
        assert (part.accuracy.low, part.accuracy.high) == wilson(int(right.sum()), len(right))
        assert dataclasses.astuple(part.accuracy.vs_baseline) == paired_difference(right, other)
        assert part.score is None
    assert found.key == "accuracy"
    assert found.worst.interval.value == min(p.accuracy.value for p in found.parts)
    least = next(p for p in found.parts if (p.array, p.value) == (found.worst.array, found.worst.value))
    assert found.worst.interval.low <= least.accuracy.low
    assert found.worst_drop.interval.value == max(-p.accuracy.vs_baseline.value for p in found.parts)
    assert Slices.from_json(json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_a_mean_has_the_interval_of_student():
    rng = np.random.default_rng(1)
    before, after = rng.gamma(2, 1, (2, 400))
    site = np.array(["a"] * 390 + ["b"] * 10)
    found = by_slice(values(after), values(before), NONE, {"site": site}, ERROR)
    b = found.parts[1].score
    half = 2.262157 * after[390:].std(ddof=1) / math.sqrt(10)
    assert (b.value, b.high) == pytest.approx((after[390:].mean(), after[390:].mean() + half))
    change = after[390:] - before[390:]
    assert b.vs_baseline.low == pytest.approx(change.mean() - 2.262157 * change.std(ddof=1) / math.sqrt(10))
    assert found.parts[1].accuracy is None


def test_less_is_better_of_an_error():
    numbers, site = np.repeat([1.0, 3.0], 200), np.array(["a"] * 200 + ["b"] * 200)
    noise = np.random.default_rng(0).normal(0, 0.1, 400)
    found = by_slice(
        values(numbers + noise + np.repeat([0.0, 0.5], 200)), values(numbers + noise), NONE, {"s": site}, ERROR
    )
    assert (found.worst.value, found.worst_drop.value) == ("b", "b")
    assert found.worst.interval.low < 3.5 < found.worst.interval.high
    assert found.worst_drop.interval.value == pytest.approx(0.5)
    worst, drop = slice_metrics(found.key)
    assert (METRICS[worst].name, METRICS[worst].maximise, METRICS[drop].maximise) == (
        "Error of the worst slice",
        False,
        False,
    )
    assert (short_name(worst), short_name(drop)) == ("worst_slice", "worst_slice_drop")
    assert own_metrics(ERROR, found.key) == (ERROR, ERROR.replace("score", "score_change"), worst, drop)
    assert slice_interval(found, worst, False) == found.worst.interval
    assert slice_interval(found, slice_metrics("accuracy")[0], False) is None


def test_the_baseline_dropped_nowhere():
    found = by_slice(values(np.arange(400.0)), None, NONE, {"s": (np.arange(400) % 2).astype(str)}, ERROR)
    _, drop = slice_metrics(ERROR)
    assert found.worst_drop is None
    assert slice_interval(found, drop, True) == 0.0
    assert slice_interval(found, drop, False) is None
    assert all(part.score.vs_baseline is None for part in found.parts)


def test_few_samples_say_so_through_the_interval():
    rng = np.random.default_rng(2)
    numbers = rng.gamma(2, 1, 400)
    site = np.array(["many"] * 395 + ["three"] * 3 + ["two"] + ["one"])
    site[0] = "two"
    numbers[395:398] = 5.0
    parts = {p.value: p.score for p in by_slice(values(numbers), None, NONE, {"site": site}, ERROR).parts}
    # One has no interval, so no number; two are known to an order of magnitude; three that are alike are not taken for certain.
    assert parts["one"] is None
    assert parts["two"].high - parts["two"].value > 5 * abs(numbers[0] - numbers[398])
    assert parts["three"].high > 5.5
    assert parts["three"].low < 4.5


def test_right_or_wrong_by_a_metric_of_the_users_own_is_a_share():
    right = np.ones(400)
    right[:30] = 0
    site = np.array(["a"] * 395 + ["b"] * 5)
    hits = score_key("Hits", "max", "%")
    found = by_slice(values(right), values(np.ones(400)), NONE, {"site": site}, hits)
    assert (found.parts[1].score.low, found.parts[1].score.high) == wilson(5, 5)
    # No pair of the five differs, which says little of others.
    assert found.parts[1].score.vs_baseline.low < -0.3
    misses = by_slice(values(1 - right), values(np.zeros(400)), NONE, {"site": site}, score_key("Misses", "min", "%"))
    assert misses.worst.interval.value == pytest.approx(1 - found.worst.interval.value)
    assert misses.worst.interval.high == pytest.approx(1 - found.worst.interval.low)
    assert misses.worst_drop.interval.value == pytest.approx(found.worst_drop.interval.value)


def set_scored(name, noise, slices, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.normal(0, 5, (400, 1)).astype(np.float32)
    outputs = targets + noise * np.random.default_rng(9).normal(0, 1, (400, 1)).astype(np.float32)
    places = [np.flatnonzero(slices == v) for v in np.unique(slices)]
    return outputs, targets, scored(MetricChoice(name=name), outputs, targets, places)[0]


def test_a_metric_of_the_set_is_counted_on_the_slice_itself():
    site = np.array(["a"] * 300 + ["b"] * 98 + ["c"] * 2)
    outputs, targets, after = set_scored("r2", 2.0, site)
    _, _, before = set_scored("r2", 1.9, site)
    found = by_slice(values(scored_by=after), values(scored_by=before), NONE, {"site": site}, R2)
    for part in found.parts[:2]:
        mine = site == part.value
        y, f = targets[mine, 0].astype(float), outputs[mine, 0].astype(float)
        assert part.score.value == pytest.approx(1 - ((y - f) ** 2).sum() / ((y - y.mean()) ** 2).sum(), abs=1e-5)
        assert part.score.low < part.score.value < part.score.high <= 1
        # Worse by about a tenth of the lost share in every draw.
        assert part.score.vs_baseline.high < 0
    few = found.parts[2].score
    assert few is None or few.high - few.low > 0.5
    assert Scored.of(after.arrays()).part_counts.tolist() == [300, 98, 2]
    with pytest.raises(StepError, match="counted on other parts"):
        by_slice(values(scored_by=after), None, NONE, {"site": np.roll(site, 1), "d": site}, R2)


def test_a_slice_on_which_a_metric_is_not_defined_has_none():
    labels = np.array([0, 1] * 195 + [1] * 10)
    scores = np.random.default_rng(0).normal(0, 1, (400, 2)) + np.eye(2)[labels]
    site = np.array(["a"] * 390 + ["b"] * 10)
    choice = MetricChoice(name="auroc")
    counted, _ = scored(choice, scores, labels, [np.flatnonzero(site == v) for v in "ab"])
    found = by_slice(
        dataclasses.replace(from_scores(scores, labels), scored=counted), None, labels, {"site": site}, choice.key
    )
    assert found.parts[0].score is not None
    assert found.parts[1].score is None
    assert found.parts[1].accuracy is not None
    assert found.worst.value == "a"


def test_a_function_of_the_users_own_is_called_on_each_slice(tmp_path):
    (tmp_path / "own.py").write_text("def worst(outputs, targets):\n    return float(abs(outputs - targets).max())\n")
    choice = MetricChoice(source=f"{tmp_path / 'own.py'}:worst", higher_is_better=False)
    outputs = np.arange(40.0)[:, None]
    counted, _ = scored(choice, outputs, np.zeros((40, 1)), [np.arange(10), np.arange(10, 40)])
    assert counted.part_values.tolist() == [9.0, 39.0]
    assert counted.part_draws.shape[0] == 2
    assert np.nanmax(counted.part_draws[0]) <= 9


def test_without_labels_slices_say_how_close_answers_are():
    rng = np.random.default_rng(0)
    before = Predictions(rng.integers(0, 3, 400).astype(np.uint16))
    after = Predictions(np.where(np.arange(400) < 20, 9, before.predicted).astype(np.uint16))
    site = np.array(["a"] * 40 + ["b"] * 360)
    found = by_slice(after, before, NONE, {"site": site}, None)
    assert (found.key, found.parts[0].fidelity.value, found.worst.value) == ("agreement", 0.5, "a")
    assert METRICS[slice_metrics(found.key)[0]].name == "Agreement of the worst slice"
    # The baseline agrees with itself everywhere, so what a slice lacks is what it lost.
    worst, drop = found.worst.interval, found.worst_drop
    assert (drop.value, drop.interval) == ("a", Interval(1 - worst.value, 1 - worst.high, 1 - worst.low))
    outputs = rng.normal(0, 1, (400, 3)).astype(np.float32)
    off = outputs + np.where(np.arange(400)[:, None] < 40, 0.5, 0.01).astype(np.float32)
    near = by_slice(Values(off, 400), Values(outputs, 400), NONE, {"site": site}, None)
    assert (near.key, near.worst.value) == ("relative_error", "a")
    assert near.worst_drop == near.worst
    assert (
        slice_interval(
            by_slice(Values(outputs, 400), None, NONE, {"site": site}, None), slice_metrics(near.key)[1], True
        )
        == 0
    )
    mine, theirs = off[:40].astype(float), outputs[:40].astype(float)
    share = np.sqrt(((mine - theirs) ** 2).sum() / ((theirs - theirs.mean(axis=0)) ** 2).sum())
    assert near.parts[0].fidelity.value == pytest.approx(share)


def test_nothing_without_slices_and_nothing_of_other_samples():
    assert by_slice(values(np.arange(400.0)), None, NONE, {}, ERROR) is None
    with pytest.raises(StepError, match="cover"):
        by_slice(values(np.arange(400.0)), None, NONE, {"s": np.array(["a"] * 399)}, ERROR)


@pytest.mark.parametrize(
    ("means", "counts"),
    [([1.0] * 8, [60] * 8), ([0.5] + [1.0] * 7, [60] * 8), ([1.0] * 8, [4, 200, 200, 200, 10, 50, 50, 50])],
    ids=["all alike", "one stands out", "of very different size"],
)
def test_the_worst_mean_is_covered(means, counts):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(600):
        seen = [rng.normal(m, 1, n) for m, n in zip(means, counts, strict=True)]
        errors = np.array([s.std(ddof=1) / math.sqrt(len(s)) for s in seen])
        low, high = lowest_value(np.array([s.mean() for s in seen]), errors, np.array(counts) - 1.0)
        covered += low <= min(means) <= high
    assert covered / 600 >= 0.93


def test_the_interval_of_the_slice_that_looks_worst_does_not_do():
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(400):
        seen = rng.normal(0, 1, (8, 60))
        worst = seen[seen.mean(axis=1).argmin()]
        missed += worst.mean() + 1.96 * worst.std(ddof=1) / math.sqrt(60) < 0
    assert missed / 400 > 0.1
