"""The recommendation in one sentence: the right recipe, nothing claimed that measurements do not tell, and how far off the nearest is."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from engine.frontier.certainty import certainty
from engine.frontier.columns import Trials
from engine.frontier.front import best_under, find_front
from engine.frontier.verdict import Verdict, missed_target, verdict, verdict_for
from engine.quality.predictions import load_right
from engine.quality.statistics import paired_difference
from engine.spec.goals import Target
from engine.spec.recipe import Recipe
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.evidence import Fidelity, Interval, Score
from engine.trials.trial import Trial
from tests.helpers.trial_factory import CUT, FOUR, INT8, MACHINE, sweep_trials, trial

AXES = ("accuracy", "size_bytes")


@pytest.fixture
def shipped(home: object) -> dict[str, Trial]:
    store = Store.open()
    return {t.id: t for t in store.trials(store.sweep("example-resnet8").id)}


def points(text: str) -> tuple[float, float, float]:
    number = r"([−+]?[\d.]+)"
    found = re.search(rf"{number} points \[{number}, {number}\]", text)
    assert found, text
    value, low, high = (float(v.replace("−", "-")) for v in found.groups())
    return value, low, high


@pytest.mark.parametrize("limit", [8_000, 15_000, 20_000, 30_000, 40_000, 60_000, 80_000, 120_000, 250_000])
def test_under_limits_it_is_the_best_and_claims_only_what_a_paired_test_tells(
    shipped: dict[str, Trial], limit: int
) -> None:
    trials, find = list(shipped.values()), Artifacts.open().local
    found = verdict(trials, AXES, {"size_bytes": limit}, find=find)
    best = best_under(trials, {"size_bytes": limit})
    assert best is not None
    assert found.trial == best.id
    others = [t for t in trials if t.id != best.id]
    second = best_under(others, {"size_bytes": limit})
    assert found.runner_up == (second and second.id)
    right = {t.id: load_right(find(t.predictions or "")) for t in trials}
    lead, cost, *rest = found.sentence.split("; ")
    if best.recipe.steps:
        assert best.label in lead
        baseline = next(t for t in trials if not t.recipe.steps)
        expected = [100 * v for v in paired_difference(right[best.id], right[baseline.id])]
        assert points(cost) == pytest.approx(expected, abs=0.0051)
        assert ("accuracy within chance" in cost) == (expected[1] <= 0 <= expected[2])
    if second:
        expected = [100 * v for v in paired_difference(right[second.id], right[best.id])]
        assert points(rest[0]) == pytest.approx(expected, abs=0.0051)
        assert ("not told apart" in rest[0] or "measured the same" in rest[0]) == (expected[1] <= 0 <= expected[2])


def test_without_limits_it_is_the_knee_with_how_sure_that_is(shipped: dict[str, Trial]) -> None:
    trials, find = list(shipped.values()), Artifacts.open().local
    sure = certainty(trials, AXES, {}, find=find)
    found = verdict(trials, AXES, {}, find=find, sure=sure)
    front = find_front(trials, AXES)
    assert found.trial == front.knee
    assert found.runner_up in {t.id for t in front.trials} - {front.knee}
    assert "the knee of the frontier of accuracy and file size" in found.sentence
    assert f"{sure.knee:.0%}".replace("%", " %") in found.sentence
    assert found.sentence.endswith(".")


def test_a_front_without_a_knee_has_its_best() -> None:
    trials = [trial(size_bytes=100), trial(INT8, accuracy=0.8, size_bytes=50), trial(CUT, accuracy=0.7, size_bytes=60)]
    found = verdict(trials, AXES, {})
    assert (found.trial, found.runner_up) == (trials[0].id, INT8.id)
    assert "which has no knee" in found.sentence
    assert "the baseline" in found.sentence
    only = verdict(trials[:1], AXES, {})
    assert "no other recipe is on the frontier" in only.sentence


def test_the_nearest_of_those_that_miss_is_told_with_how_far_off_it_is() -> None:
    trials = sweep_trials()
    limits = {"size_bytes": 5_000.0, "accuracy": 0.93}
    found = verdict(trials, AXES, limits)
    worst = [max(t.size_bytes / 5_000 - 1, 1 - t.accuracy.value / 0.93) for t in trials]
    nearest = trials[int(np.argmin(worst))]
    assert (found.trial, found.nearest) == (None, nearest.id)
    assert found.sentence.startswith("No measured recipe keeps file size ≤ 5.00 kB, accuracy ≥ 93.00 %; the nearest is")
    assert (
        f"{nearest.size_bytes / 1000:.2f} kB" in found.sentence
        or f"{nearest.size_bytes / 1000:.1f} kB" in found.sentence
    )
    assert f"{100 * (0.93 - nearest.accuracy.value):.2f} points below the limit" in found.sentence
    lacking = verdict(trials, AXES, {"cost_per_million": 1.0})
    assert "No recipe has cost per million measured" in lacking.sentence
    assert lacking.trial is lacking.nearest is None


def test_a_limit_within_the_interval_of_the_chosen_one_is_said_to_be_chance() -> None:
    trials = sweep_trials()
    best = max(trials, key=lambda t: t.accuracy.value)
    close = verdict(trials, AXES, {"accuracy": best.accuracy.value - 0.0001})
    assert "whether it truly keeps that of accuracy is within chance" in close.sentence
    far = verdict(trials, AXES, {"accuracy": best.accuracy.low - 0.01})
    assert "truly" not in far.sentence


def test_times_within_chance_are_no_saving() -> None:
    slow = trial(INT8, size_bytes=40_000, latency_ms=0.99, latency_ratio=Interval(0.99, 0.97, 1.01))
    quick = trial(FOUR, size_bytes=30_000, latency_ms=0.6, latency_ratio=Interval(0.6, 0.59, 0.61))
    base = trial(latency_ratio=Interval(1.0, 1.0, 1.0))
    text = verdict([base, slow], AXES, {"size_bytes": 50_000}).sentence
    assert "latency within chance (×0.99 [0.97, 1.01])" in text
    text = verdict([base, quick], AXES, {"size_bytes": 50_000}).sentence
    assert "×0.60 [0.59, 0.61] latency" in text
    assert "−70 % file size" in text


def test_sweeps_that_are_judged_otherwise_are_told_in_their_own_unit() -> None:
    key = "score:MAE:min:K"
    base = trial(accuracy=None, score=Score(key, 2.0, 1.9, 2.1, 500))
    other = trial(
        INT8, accuracy=None, size_bytes=9_000, score=Score(key, 2.5, 2.4, 2.6, 500, 0.01, Interval(0.5, 0.4, 0.6))
    )
    text = verdict([base, other], (key, "size_bytes"), {"size_bytes": 10_000}).sentence
    assert "the lowest MAE that keeps" in text
    assert "+0.500 K [+0.400 K, +0.600 K] MAE" in text or "+0.500 K [+0.400, +0.600] MAE" in text
    faithful = [
        replace(trial(r, accuracy=None, size_bytes=s), fidelity=Fidelity(agreement=Interval(a, a - 0.01, a + 0.01)))
        for r, s, a in ((INT8, 9_000, 0.97), (Recipe(), 100_000, 1.0))
    ]
    text = verdict(faithful, ("agreement", "size_bytes"), {"size_bytes": 10_000}).sentence
    assert "97.00 % [96.00, 98.00]" in text


def test_nothing_measured_is_nothing_said() -> None:
    assert verdict([], AXES, {}) == Verdict()
    assert verdict(Trials.of([]), AXES, {"size_bytes": 1.0}) == Verdict()


def test_times_of_two_machines_are_said_to_allow_no_recommendation() -> None:
    mixed = [replace(t, machine=replace(MACHINE, fingerprint=f"{i % 2}" * 64)) for i, t in enumerate(sweep_trials())]
    aim = Target(limits={"latency_ms": 1.0})
    found = verdict_for(mixed, AXES, aim, "host")
    assert found.trial is None
    assert found.sentence.startswith("No recommendation: latency was measured on 2 machines")
    # On another device the target says nothing, and sizes can be compared.
    plain = verdict_for(mixed, AXES, replace_device(aim), "host")
    assert plain.trial == find_front(mixed, AXES).knee
    assert "latency" not in plain.sentence


def replace_device(target: Target) -> Target:
    return target.model_copy(update={"device": "stm32h7a3-xcubeai"})


def test_what_comes_second_is_said_to_be_a_knee_only_where_it_is_one(shipped: dict[str, Trial]) -> None:
    alone = verdict([trial(), trial(INT8, accuracy=0.89, size_bytes=30_000)], AXES, {}).sentence
    assert "which has no knee" in alone
    assert "second is “int8”, the highest accuracy of the rest of the frontier: compared with the first, −1.00" in alone
    three = [trial(), trial(INT8, accuracy=0.89, size_bytes=30_000), trial(CUT, accuracy=0.8, size_bytes=20_000)]
    ends = verdict(three, AXES, {}).sentence
    assert "the knee of the frontier" in ends
    assert "second is the baseline, the highest accuracy of the rest of the frontier" in ends
    assert "the knee of the rest of the frontier" in verdict(list(shipped.values()), AXES, {}).sentence


def test_limits_are_named_as_the_metrics_are_and_of_nothing_there_is_no_share() -> None:
    key = "score:MAE:min:K"
    base = trial(accuracy=None, score=Score(key, 2.0, 1.9, 2.1, 500))
    told = verdict([base], (key, "size_bytes"), {key: 1.0, "macs": 1e6}).sentence
    assert told.startswith("No measured recipe keeps MAE ≤ 1.00 K, MACs ≤ 1.00 M; the nearest is")
    assert "MAE 2.00 K is 1.00 K (100 %) above the limit" in told
    none = verdict([base], (key, "size_bytes"), {"size_bytes": 0.0}).sentence
    assert none.endswith("file size 100 kB is 100 kB above the limit.")


def test_a_baseline_that_was_filtered_away_is_still_what_it_is_compared_with(shipped: dict[str, Trial]) -> None:
    whole, find = list(shipped.values()), Artifacts.open().local
    kept = [t for t in whole if t.recipe.steps and (t.size_bytes or 0) < 60_000]
    found = verdict(kept, AXES, {}, find=find, whole=whole)
    chosen, baseline = shipped[found.trial or ""], next(t for t in whole if not t.recipe.steps)
    rights = [load_right(find(t.predictions or "")) for t in (chosen, baseline)]
    assert rights[0] is not None
    assert rights[1] is not None
    cost = found.sentence.split("; second is ")[0]
    assert "there is no baseline" in verdict(kept, AXES, {}, find=find).sentence
    assert points(cost) == pytest.approx([100 * v for v in paired_difference(rights[0], rights[1])], abs=0.0051)
    assert f"−{1 - (chosen.size_bytes or 0) / (baseline.size_bytes or 1):.0%}".replace("%", " %") in cost
    # Nothing else about it is another.
    alone = verdict(kept, AXES, {}, find=find)
    assert (alone.trial, alone.runner_up) == (found.trial, found.runner_up)
    assert alone.sentence.split("; second is ")[1] == found.sentence.split("; second is ")[1]


def test_a_missed_target_names_the_nearest_and_each_limit_it_misses_in_its_own_unit():
    near, far = trial(INT8, accuracy=0.88, size_bytes=50_000), trial(CUT, accuracy=0.7, size_bytes=20_000)
    target = Target(limits={"accuracy": 0.9, "size_bytes": 45_000})
    found = missed_target(target, [trial(accuracy=0.95, size_bytes=300_000), near, far])
    assert found is not None
    assert found.nearest == near.id
    assert "accuracy 88.00 % is 2.00 points below the limit" in found.sentence
    assert "file size 50.0 kB is 5.00 kB (11 %) above the limit" in found.sentence
    assert missed_target(target, [near, trial(FOUR, accuracy=0.9, size_bytes=45_000)]) is None
    assert missed_target(Target(), [near]) is None
    assert missed_target(None, [near]) is None
    assert missed_target(target, []) is None
    # What was not measured cannot be shown to be near.
    unknown = missed_target(Target(limits={"latency_ms": 1.0}), [trial(INT8, latency_ms=None)])
    assert unknown == Verdict("No recipe has latency measured, so none can keep latency ≤ 1.00 ms.")
