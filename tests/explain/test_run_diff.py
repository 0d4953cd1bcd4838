"""What changed between two runs: matched, told against brute force, the regressions first."""

from dataclasses import replace

import numpy as np
import pytest

from engine.explain.compare import holm
from engine.explain.run_changes import Tolerance
from engine.explain.run_diff import matched, run_diff
from engine.explain.run_texts import summary_text
from engine.metrics import score_key
from engine.quality.predictions import Predictions
from engine.quality.scored import score, scored_samples
from engine.quality.statistics import mcnemar_midp, paired_difference, wilson
from engine.quality.values import Values
from engine.spec.recipe import Recipe
from engine.spec.steps import Imported, Prune, Quantize
from engine.trials.evidence import Accuracy, Fidelity, Interval, Score
from engine.trials.trial import Trial
from tests.helpers.trial_factory import CUT, FOUR, INT8, MACHINE, sweep_trials, trial

N = 2_000
RECIPES = [Recipe(), *(Recipe(steps=(Prune(method="channel", ratio=r / 100),)) for r in range(10, 60, 5))]


def run(folder, accuracies, labels, seed, recipes=RECIPES, **fields):
    """A run whose trials are right at random so often, with their answers in files; and what finds these."""
    rng = np.random.default_rng(seed)
    trials = []
    for place, (recipe, share) in enumerate(zip(recipes, accuracies, strict=True)):
        said = np.where(rng.random(len(labels)) < share, labels, (labels + 1) % 10).astype(np.uint16)
        name = f"{seed}-{place}.npz"
        Predictions(said, np.zeros((len(labels), 1), np.float16), None, None, said == labels).save(folder / name)
        right = int((said == labels).sum())
        found = Accuracy(right / len(labels), *wilson(right, len(labels)), len(labels))
        trials.append(replace(trial(recipe, **fields), accuracy=found, predictions=name))
    return trials, lambda name: folder / name


def rights(folder, seed, place):
    return Predictions.load(folder / f"{seed}-{place}.npz").right


LABELS = np.random.default_rng(9).integers(0, 10, N)


def test_paired_changes_are_those_of_the_two_tests_one_by_one_corrected_for_all(tmp_path):
    shares = np.full(len(RECIPES), 0.9)
    worse = shares.copy()
    worse[3] -= 0.06
    then, find_then = run(tmp_path, shares, LABELS, 1)
    now, find_now = run(tmp_path, worse, LABELS, 2)
    found = run_diff(then, now, find_then, find_now)
    by_id = {r.now.id: r for r in found.recipes}
    p = []
    for place, recipe in enumerate(RECIPES):
        change = next(c for c in by_id[recipe.id].changes if c.key == "accuracy")
        old, new = rights(tmp_path, 1, place), rights(tmp_path, 2, place)
        assert (change.estimate.value, change.estimate.low, change.estimate.high) == pytest.approx(
            paired_difference(new, old)
        )
        assert change.paired
        p.append(mcnemar_midp(new, old))
        assert change.p == p[-1]
    corrected = holm(p)
    assert [next(c.p_holm for c in by_id[r.id].changes if c.key == "accuracy") for r in RECIPES] == pytest.approx(
        corrected
    )
    # The one that is worse comes first, and nothing else is told: neither by its corrected test alone.
    assert [r.now.id for r in found.of("regression")] == [RECIPES[3].id]
    assert {r.id for r, q in zip(RECIPES, corrected, strict=True) if q < 0.05} == {RECIPES[3].id}
    assert found.has_regressions
    assert summary_text(found) == "1 worse, 0 failed now, 0 better, 10 unchanged"
    # The other way round it is an improvement.
    back = run_diff(now, then, find_now, find_then)
    assert [r.now.id for r in back.of("improvement")] == [RECIPES[3].id]
    assert not back.has_regressions


def test_many_recipes_that_did_not_change_are_not_told_as_changed(tmp_path):
    recipes = [Recipe(steps=(Prune(method="channel", ratio=r / 100),)) for r in range(1, 81)]
    alarms = 0
    for seed in range(10):
        then, now = (run(tmp_path, np.full(80, 0.8), LABELS[:400], 10 + 2 * seed + side, recipes)[0] for side in (0, 1))
        # Without the answers, which makes them two measurements that know nothing of each other.
        alarms += run_diff(then, now).has_regressions
    # At 5 % without a correction nearly every one of the ten would be one: 1 − 0.95^80 = 98 %.
    assert alarms <= 2


def test_without_answers_the_interval_is_that_of_two_measurements(tmp_path):
    then, _ = run(tmp_path, [0.9, 0.9], LABELS, 1, RECIPES[:2])
    now, _ = run(tmp_path, [0.9, 0.8], LABELS, 2, RECIPES[:2])
    change = next(c for c in run_diff(then, now).of("regression")[0].changes if c.key == "accuracy")
    old, new = then[1].accuracy.value, now[1].accuracy.value
    # The usual normal interval of two independent shares.
    half = 1.96 * np.sqrt(old * (1 - old) / N + new * (1 - new) / N)
    assert not change.paired
    assert (change.estimate.low, change.estimate.high) == pytest.approx((new - old - half, new - old + half), abs=1e-3)


def test_other_test_samples_are_told_and_not_compared_in_pairs(tmp_path):
    then, find_then = run(tmp_path, [0.9, 0.9], LABELS, 1, RECIPES[:2])
    now, find_now = run(tmp_path, [0.9, 0.9], LABELS[::-1].copy(), 2, RECIPES[:2])
    found = run_diff(then, now, find_then, find_now)
    assert not any(c.paired for r in found.recipes for c in r.changes if c.key == "accuracy")
    assert "The test samples are not the same as then" in found.left_out[0]


def test_a_size_is_exact_and_a_little_more_is_none():
    then = [trial(), trial(INT8, size_bytes=50_000)]
    assert run_diff(then, [trial(), trial(INT8, size_bytes=50_400)]).of("regression") == ()
    assert [r.label for r in run_diff(then, [trial(), trial(INT8, size_bytes=50_600)]).of("regression")] == ["int8"]
    assert (
        run_diff(then, [trial(), trial(INT8, size_bytes=50_600)], tolerance=Tolerance(growth=0.02)).of("regression")
        == ()
    )
    assert run_diff(then, [trial(), trial(INT8, size_bytes=40_000)]).of("improvement")


def timed(low, value, high, recipe=INT8, **fields):
    return replace(trial(recipe), latency_ratio=Interval(value, low, high), **fields)


def test_times_are_compared_as_ratios_to_the_baseline_on_one_kind_of_machine():
    then, now = timed(0.49, 0.50, 0.51), timed(0.58, 0.60, 0.62)
    found = run_diff([trial(), then], [trial(), now])
    change = next(c for c in found.of("regression")[0].changes if c.key == "latency_ratio")
    # Logarithms: the distances to the ends add up as squares.
    logs = np.log([0.49, 0.50, 0.51, 0.58, 0.60, 0.62])
    low = logs[4] - logs[1] - np.hypot(logs[4] - logs[3], logs[2] - logs[1])
    high = logs[4] - logs[1] + np.hypot(logs[5] - logs[4], logs[1] - logs[0])
    assert (change.estimate.value, change.estimate.low, change.estimate.high) == pytest.approx(
        (1.2, np.exp(low), np.exp(high))
    )
    # Up to 5 % is no change, however sure.
    assert run_diff([trial(), then], [trial(), timed(0.5199, 0.52, 0.5201)]).of("regression") == ()
    # New versions on the same machine are what is looked for; another CPU is not.
    updated = replace(MACHINE, fingerprint="0" * 64, versions={"onnxruntime": "1.99.0"})
    assert run_diff([trial(), then], [trial(), replace(now, machine=updated)]).of("regression")
    other = run_diff([trial(), then], [trial(), replace(now, machine=replace(MACHINE, cpu="Other CPU"))])
    assert not other.of("regression")
    assert "Times are not compared: then they were measured on Test CPU" in other.left_out[0]


def test_recipes_are_matched_by_id_then_by_a_label_that_is_the_only_one():
    ours = Recipe(steps=(Imported(name="ours", sha256="a" * 64),))
    again = Recipe(steps=(Imported(name="ours", sha256="b" * 64),))
    assert ours.label == again.label
    then, now = [trial(), trial(ours), trial(CUT)], [trial(), trial(again), trial(INT8)]
    assert [(a.id, b.id) for a, b in matched(then, now)] == [(then[0].id, now[0].id), (ours.id, again.id)]
    found = run_diff(then, now)
    assert [t.label for t in found.new] == ["int8"]
    assert [t.id for t in found.gone] == [CUT.id]
    # Two of one label on a side are nobody's.
    third = Recipe(steps=(Imported(name="ours", sha256="c" * 64),))
    assert len(matched([trial(), trial(ours), trial(third)], now)) == 1


def test_failures_that_are_new_come_after_what_is_worse_and_old_ones_are_unchanged():
    def failed(recipe):
        return Trial(recipe.id, recipe, state="failed", error="no such kernel")

    eight = Recipe(steps=(Quantize(weight_bits=8, activation_bits=32),))
    then = [trial(), trial(INT8), trial(FOUR), failed(CUT), failed(eight)]
    now = [trial(), failed(INT8), trial(FOUR, size_bytes=300_000), trial(CUT), failed(eight)]
    found = run_diff(then, now)
    assert [r.standing for r in found.recipes] == ["regression", "new failure", "improvement", "unchanged", "unchanged"]


def test_a_run_against_itself_has_nothing_to_tell_and_what_is_still_to_come_is_not_gone():
    whole = sweep_trials()
    found = run_diff(whole, whole)
    assert {r.standing for r in found.recipes} == {"unchanged"}
    assert not found.new
    assert not found.gone
    some = run_diff(whole, sweep_trials(pending=3))
    assert [len(x) for x in (some.pending, some.gone, some.new)] == [3, 0, 0]
    stopped = [
        replace(t, state="stopped", stopped="stopped after screening") if t.state == "pending" else t
        for t in sweep_trials(pending=3)
    ]
    assert (run_diff(whole, stopped).pending, len(run_diff(whole, stopped).recipes)) == (
        tuple(t for t in stopped if t.stopped),
        21,
    )
    assert [t.id for t in run_diff(stopped, whole).new] == [t.id for t in stopped if t.stopped]
    assert [len(x) for x in (run_diff(sweep_trials(pending=3), whole).new, some.recipes)] == [3, 21]
    assert run_diff([], []).recipes == ()


def test_an_own_metric_of_which_less_is_better_is_compared_sample_by_sample(tmp_path):
    key = score_key("MAE", "min", "K")
    rng = np.random.default_rng(0)
    then, now = [], []
    errors = np.abs(rng.normal(2.0, 0.5, 400))
    for place, recipe in enumerate(RECIPES[:3]):
        # The second answers worse by a little on every sample: as two measurements nobody could tell.
        for side, run_, shift in ((0, then, 0.0), (1, now, 0.02 if place == 1 else 0.0)):
            noise = rng.normal(0, 0.05, 400)
            samples = errors + noise + shift
            name = f"{side}-{place}.npz"
            Values(np.zeros((400, 1), np.float32), 400, scored_samples(samples, "mae")).save(tmp_path / name)
            told = score(key, scored_samples(samples, "mae"), 400, None)
            bare = trial(
                recipe, accuracy=None, predictions=name, fidelity=Fidelity(None, None, Interval(0.1, 0.1, 0.1))
            )
            run_.append(replace(bare, score=told))

    def find(name):
        return tmp_path / name

    found = run_diff(then, now, find, find)
    assert [r.now.id for r in found.of("regression")] == [RECIPES[1].id]
    change = next(c for c in found.of("regression")[0].changes if c.key == key)
    old, new = (Values.load(tmp_path / f"{side}-1.npz").scored.samples for side in (0, 1))
    half = 1.96 * (new - old).std(ddof=1) / 20
    assert change.paired
    assert (change.estimate.value, change.estimate.low, change.estimate.high) == pytest.approx(
        ((new - old).mean(), (new - old).mean() - half, (new - old).mean() + half), rel=1e-3
    )
    assert not run_diff(then, now).has_regressions
    # Within what is allowed it is none, in the metric's own unit.
    assert not run_diff(then, now, find, find, Tolerance(drop=0.1)).has_regressions


def test_runs_that_are_judged_by_different_metrics_are_not_compared_by_them():
    key = score_key("MAE", "min", "K")
    own = [replace(t, score=Score(key, 1.0, 0.9, 1.1, 100)) for t in (trial(), trial(INT8))]
    found = run_diff([trial(), trial(INT8)], own)
    assert "judged by different metrics (Accuracy then, MAE now)" in found.left_out[0]
    assert not any(c.key in (key, "accuracy") for r in found.recipes for c in r.changes)
