"""What options do, held against pandas, least squares and draws that are made without the code under test."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from engine.errors import SpecError
from engine.frontier.columns import Trials
from engine.frontier.contrasts import WITHOUT
from engine.frontier.effect_texts import effect_text, effects_json, name_text, strongest_together, together_text
from engine.frontier.effects import Effect, Effects, effects
from engine.frontier.estimates import Estimate
from engine.quality.predictions import load_right
from engine.quality.statistics import paired_difference
from engine.spec.recipe import Recipe
from engine.spec.space import expand_space
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.evidence import Interval
from engine.trials.measurements import Latency
from engine.trials.trial import Trial
from tests.helpers.trial_factory import MACHINE, sweep_trials, trial

Z = stats.norm.ppf(0.975)


def by_name(found: Effects) -> dict[str, Effect]:
    return {name_text(e): e for e in found.effects}


def table(trials: list[Trial]) -> pd.DataFrame:
    """The recipes of `sweep_trials` as a grid of labels, with their numbers."""
    rows = []
    for t in trials:
        parts = {"distill": "", "prune": "", "quantize": ""}
        for step in t.recipe.steps:
            kind = "prune" if step.step == "finetune" else step.step
            label = Recipe(steps=(step,)).label
            parts[kind] = f"{parts[kind]} · {label}" if parts[kind] else label
        rows.append(
            parts
            | {"accuracy": t.accuracy.value, "size_bytes": t.size_bytes, "latency_ms": t.latency_ms.p50}
            | {"noise": (t.accuracy.high - t.accuracy.low) / (2 * Z)}
        )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("slot", ["distill", "prune", "quantize"])
def test_main_effects_are_the_mean_over_brute_force_pairs_with_its_interval(slot: str) -> None:
    trials = sweep_trials()
    found, grid = by_name(effects(trials)), table(trials)
    others = [s for s in ("distill", "prune", "quantize") if s != slot]
    for level in sorted(set(grid[slot]) - {""}):
        pairs = grid[grid[slot] == ""].merge(grid[grid[slot] == level], on=others, suffixes=("_a", "_b"))
        assert len(pairs) == found[level].pairs == len(grid) / grid[slot].nunique()
        change = pairs.accuracy_b - pairs.accuracy_a
        t = stats.t.ppf(0.975, len(change) - 1) * change.sem()
        half = math.hypot(t, Z * np.hypot(pairs.noise_a, pairs.noise_b).mean())
        got = found[level].estimates["accuracy"]
        assert (got.value, got.low, got.high) == pytest.approx(
            (change.mean(), change.mean() - half, change.mean() + half)
        )
        logs = np.log(pairs.size_bytes_b / pairs.size_bytes_a)
        half = stats.t.ppf(0.975, len(logs) - 1) * logs.sem()
        got = found[level].estimates["size_bytes"]
        expected = [math.exp(logs.mean() + s * half) for s in (0, -1, 1)]
        assert (got.value, got.low, got.high) == pytest.approx(expected)
        assert got.value == pytest.approx(stats.gmean(pairs.size_bytes_b / pairs.size_bytes_a))


def test_on_a_balanced_grid_they_are_the_coefficients_of_least_squares() -> None:
    trials = sweep_trials()
    found, grid = by_name(effects(trials)), table(trials)
    dummies = pd.get_dummies(grid[["distill", "prune", "quantize"]], prefix="", prefix_sep="").drop(columns=[""])
    x = np.column_stack([np.ones(len(grid)), dummies.to_numpy(float)])
    fitted = np.linalg.lstsq(x, grid.accuracy.to_numpy(), rcond=None)[0][1:]
    for label, coefficient in zip(dummies.columns, fitted, strict=True):
        assert found[label].estimates["accuracy"].value == pytest.approx(coefficient, abs=1e-12)


def test_pair_effects_are_differences_of_differences() -> None:
    trials = sweep_trials()
    result, grid = effects(trials), table(trials).set_index(["distill", "prune", "quantize"])
    keys = {e.key: e for e in result.effects}
    seen = 0
    for one in result.together:
        a, b = (keys[k] for k in (one.first, one.second))
        if {a.instead, b.instead} != {WITHOUT} or {a.group, b.group} != {"quantize", "prune and finetune"}:
            continue
        q, p = (a.name, b.name) if a.group == "quantize" else (b.name, a.name)
        fours = [
            grid.accuracy[d, p, q] - grid.accuracy[d, p, ""] - grid.accuracy[d, "", q] + grid.accuracy[d, "", ""]
            for d in ("", "distil ds_cnn")
        ]
        assert one.pairs == 2
        assert one.estimates["accuracy"].value == pytest.approx(np.mean(fours), abs=1e-12)
        seen += 1
    assert seen == 6


def test_right_and_wrong_per_image_make_the_interval_where_they_are_stored(home: object) -> None:
    store, artifacts = Store.open(), Artifacts.open()
    trials = {t.label: t for t in store.trials(store.sweep("example-resnet8").id)}
    found = by_name(effects(list(trials.values()), find=artifacts.local, metrics=("accuracy",)))
    rights = {label: load_right(artifacts.local(t.predictions or "")) for label, t in trials.items()}
    pairs = [
        (rights[a], rights[b])
        for b, a in ((n, n.removesuffix(" · int8") if " · " in n else "baseline") for n in trials if n.endswith("int8"))
    ]
    per_image = np.mean([b.astype(float) - a for a, b in pairs], axis=0)
    changes = [b.mean() - a.mean() for a, b in pairs]
    n = len(per_image)
    measured = Z * math.hypot(per_image.std() / math.sqrt(n), Z / (n + Z**2))
    half = math.hypot(stats.t.ppf(0.975, len(pairs) - 1) * stats.sem(changes), measured)
    got = found["int8"].estimates["accuracy"]
    assert (got.value, got.high - got.value, got.pairs) == pytest.approx((np.mean(changes), half, 8))
    # Two trials alone: their own paired interval.
    alone = by_name(effects([trials["baseline"], trials["int8"]], find=artifacts.local, metrics=("accuracy",)))
    expected = paired_difference(rights["int8"], rights["baseline"])
    got = alone["int8"].estimates["accuracy"]
    assert (got.value, got.low, got.high) == pytest.approx(expected)
    # Without the files the interval is wider, never narrower.
    blind = by_name(effects(list(trials.values()), metrics=("accuracy",)))["int8"].estimates["accuracy"]
    assert blind.high - blind.low > 2 * half


def test_intervals_of_time_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    bits = [{"weight_bits": b, "activation_bits": 8} for b in (8, 6)]
    recipes = expand_space(
        {"prune": [None, *({"method": "magnitude", "ratio": r} for r in (0.2, 0.4, 0.6))], "quantize": [None, *bits]}
    )
    made, covered, alone = [trial(r) for r in recipes], 0, 0
    for _ in range(150):
        run = []
        for t in made:
            truth = 0.7 if any(s.step == "quantize" for s in t.recipe.steps) else 1.0
            ms = truth * math.exp(rng.normal(0, 0.02))
            ratio = Interval(ms, ms * math.exp(-Z * 0.02), ms * math.exp(Z * 0.02))
            run.append(replace(t, latency_ms=Latency(ms, ms, ms), latency_ratio=ratio))
        got = by_name(effects(run, metrics=("latency_ms",)))["int8"].estimates["latency_ms"]
        covered += got.low <= 0.7 <= got.high
        got = by_name(effects([t for t in run if len(t.recipe.steps) < 2], metrics=("latency_ms",)))["int8"].estimates[
            "latency_ms"
        ]
        alone += got.low <= 0.7 <= got.high
    assert covered >= 0.93 * 150
    assert 0.89 * 150 <= alone < 150


def test_what_a_step_fills_in_by_itself_is_no_difference_of_its_own() -> None:
    recipes = expand_space(
        {"quantize": {"weight_bits": [8, 4, 3], "activation_bits": 8, "method": "qat", "calibration": ["auto", "mse"]}}
    )
    # Learning rate and the bits at the ends follow from the weights' bits.
    assert {r.steps[0].learning_rate for r in recipes if r.steps} == {0.001, 0.01}
    found = by_name(effects([trial(r, accuracy=0.9 - 0.01 * i) for i, r in enumerate(recipes)]))
    wanted = {
        "quantize weight bits 4 instead of 8",
        "quantize weight bits 3 instead of 4",
        "quantize calibration mse instead of auto",
    }
    assert wanted == {name for name in found if "instead" in name}
    assert [found[name].pairs for name in sorted(wanted)] == [3, 2, 2]
    assert found["quantize weight bits 4 instead of 8"].trials == tuple(
        r.id for r in recipes if r.steps and r.steps[0].weight_bits == 4
    )


def test_a_step_that_is_never_left_out_is_held_against_the_commonest_of_its_kind() -> None:
    recipes = expand_space(
        {
            "prune": [{"method": "magnitude", "ratio": r} for r in (0.2, 0.4)],
            "quantize": [{"weight_bits": 8, "activation_bits": 8}, {"method": "block"}],
        }
    )
    found = by_name(effects([trial(r, size_bytes=1000 * (i + 1)) for i, r in enumerate(recipes)]))
    assert found["4-bit blocks of 32 instead of int8"].pairs == 2
    assert found["4-bit blocks of 32 instead of int8"].estimates["size_bytes"].value == pytest.approx(
        math.sqrt(3 / 2 * 5 / 4)
    )


def test_a_searched_sweep_is_told_by_regression_and_says_so() -> None:
    # A Latin square: no two of its recipes differ in one step alone.
    students = [None, *({"step": "distill", "student": "self", "width": w} for w in (0.75, 0.5, 0.25))]
    cuts = [None, *({"step": "prune", "method": "magnitude", "ratio": r} for r in (0.3, 0.5, 0.7))]
    bits = [None, *({"step": "quantize", "weight_bits": b, "activation_bits": 8} for b in (8, 6, 4))]
    chosen, worth = [], {}
    for i, j in itertools.product(range(4), repeat=2):
        k = (i + j) % 4
        steps = [s for s in (students[i], cuts[j], bits[k]) if s]
        recipe = Recipe.from_json(steps)
        worth |= {
            Recipe.from_json([s]).label: w for s, w in zip(steps, [0.01 * n for n in (i, j, k) if n], strict=True)
        }
        chosen.append(trial(recipe, accuracy=0.95 - 0.01 * (i + j + k)))
    found = effects(chosen, metrics=("accuracy",))
    assert not found.factorial
    assert {e.name for e in found.effects} == set(worth)
    for e in found.effects:
        assert (e.basis, e.pairs) == ("regression", 0)
        assert e.estimates["accuracy"].value == pytest.approx(-worth[e.name], abs=1e-9)
    told = effects_json(found)["effects"][0]
    assert told["basis"] == "regression"
    # The interval is that of least squares on recipes with chance in them, worked out by another way.
    rng = np.random.default_rng(3)
    noisy = [trial(t.recipe, accuracy=t.accuracy.value + rng.normal(0, 0.003)) for t in chosen]
    names = list(worth)
    x = np.array(
        [[1.0, *(float(any(Recipe(steps=(s,)).label == n for s in t.recipe.steps)) for n in names)] for t in noisy]
    )
    y = np.array([t.accuracy.value for t in noisy])
    coefficients, rest = np.linalg.lstsq(x, y, rcond=None)[:2]
    free = len(y) - x.shape[1]
    error = np.sqrt(np.linalg.inv(x.T @ x)[1, 1] * rest[0] / free)
    got = by_name(effects(noisy, metrics=("accuracy",)))[names[0]].estimates["accuracy"]
    assert (got.value, got.high - got.value) == pytest.approx((coefficients[1], stats.t.ppf(0.975, free) * error))


def test_what_always_comes_together_is_not_told_apart() -> None:
    both = Recipe.from_json(
        [{"step": "distill", "student": "ds_cnn"}, {"step": "quantize", "weight_bits": 8, "activation_bits": 8}]
    )
    assert effects([trial(), trial(both), trial(both, id="again")]).effects == ()


def test_times_of_two_machines_are_left_out_and_refused_where_asked_for() -> None:
    trials = sweep_trials()
    mixed = [
        replace(t, machine=replace(MACHINE, fingerprint="e" * 64, cpu="Other")) if i % 2 else t
        for i, t in enumerate(trials)
    ]
    assert not {"latency_ms", "latency_ratio", "energy_mj"} & set(effects(mixed).metrics)
    with pytest.raises(SpecError, match="2 machines"):
        effects(mixed, metrics=("latency_ms",))


def test_stored_records_and_trials_at_hand_say_the_same(home: object) -> None:
    from pydantic_core import to_json

    from engine.frontier.stored_columns import Block, stored_trials

    store = Store.open()
    trials = list(store.trials(store.sweep("example-transformer").id))
    block = Block.of(to_json(t.to_json()).decode() for t in trials)
    stored = stored_trials(block, lambda ids: {t.id: t for t in trials if t.id in set(ids)})
    assert effects(stored) == effects(Trials.of(trials))
    assert len(effects(stored).effects) > 20


def test_the_words() -> None:
    changes = {
        "accuracy": Estimate(-0.001, -0.002, 0.0, 4),
        "size_bytes": Estimate(0.27, None, None, 4, exact=True),
        "latency_ms": Estimate(0.69, 0.6, 0.8, 4),
    }
    one = Effect("k", "int8", WITHOUT, "quantize", "pairs", 4, (), changes)
    assert effect_text(one, tuple(changes)) == "int8: −0.10 points [−0.20, 0.00], −73 % bytes, ×0.69 time"
    assert not changes["accuracy"].told_apart("accuracy")
    assert changes["latency_ms"].told_apart("latency_ms")
    assert changes["size_bytes"].told_apart("size_bytes")


def test_strong_pairs_of_options_are_told_and_chance_is_not() -> None:
    found = effects(sweep_trials())
    told = strongest_together(found, "size_bytes", most=100)
    assert all(t.estimates["size_bytes"].told_apart("size_bytes") for t in told)
    assert together_text(found, told[0], "size_bytes").endswith("times the product of the two")
    assert list(itertools.islice(strongest_together(found, "size_bytes", most=1), 2)) == told[:1]
