"""How sure a choice is: against probabilities known by hand, and against worlds in which the truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import NotFoundError
from engine.frontier.certainty import DRAWS, bootstrap, certainty, optimism
from engine.frontier.dominance import non_dominated
from engine.frontier.knee import knee
from engine.frontier.redraws import beaten_shares, front_and_knee_shares, never_beaten_for_sure
from engine.quality.predictions import Predictions
from engine.quality.statistics import wilson
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune
from engine.trials.evidence import Accuracy, Interval
from engine.trials.trial import Trial
from tests.helpers.trial_factory import trial


def recipe(number: int) -> Recipe:
    return Recipe(steps=(Prune(method="magnitude", ratio=round(number / 1000, 3)),)) if number else Recipe()


def test_shares_are_counted_over_the_draws():
    draws = np.array([[[1.0, 5.0], [2.0, 4.0]], [[3.0, 5.0], [2.0, 4.0]], [[3.0, 5.0], [2.0, 4.0]]])
    assert front_and_knee_shares(draws, [True, False])[0].tolist() == [2 / 3, 1.0]
    # The second beats the first where it is more and costs less.
    assert beaten_shares(draws, draws[:, 1], [True, False]).tolist() == [1 / 3, 0]
    assert front_and_knee_shares(np.zeros((0, 3, 2)), [True, False])[0].tolist() == [0, 0, 0]


def test_the_knee_share_counts_the_draws_that_agree():
    sharp = [[0.0, 1.0], [0.1, 0.2], [1.0, 0.0]]
    straight = [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    assert front_and_knee_shares(np.array([sharp, sharp, straight, sharp]), [False, False], 1)[1] == 0.75


@pytest.mark.parametrize("directions", [[True, False], [False, False]])
def test_fronts_and_knees_of_many_draws_are_those_of_each(directions: list[bool]):
    rng = np.random.default_rng(1)
    for number in range(150):
        rows = int(rng.integers(0, 14))
        draws = rng.random((6, rows, 2))
        if number % 3:
            # Ties, rows that are the same, fronts without a bend.
            draws = np.round(draws * 4) / 4
        draws[rng.random(draws.shape) < 0.04] = rng.choice([np.nan, np.inf, -np.inf])
        if number % 10 == 0:
            draws *= 1e308
        fronts = [np.flatnonzero(non_dominated(points, directions)) for points in draws]
        knees = [knee(points, directions) for points in draws]
        shares = np.mean([np.isin(np.arange(rows), front) for front in fronts], axis=0)
        for row in range(rows):
            found, same = front_and_knee_shares(draws, directions, row)
            assert found.tolist() == pytest.approx(shares.tolist(), abs=1e-15)
            assert same == pytest.approx(np.mean([k == row for k in knees]), abs=1e-15)


def test_rows_without_a_chance_are_those_beaten_at_their_best_by_others_at_their_worst():
    points = np.array([[1.0, 10.0], [0.9, 20.0], [0.5, 20.0], [np.nan, 1.0]])
    slack = np.array([[0.08, 0.0], [0.08, 0.0], [0.08, 0.0], [0.0, 0.0]])
    assert never_beaten_for_sure(points, slack, [True, False]).tolist() == [True, True, False, False]
    assert never_beaten_for_sure(points, slack * 0, [True, False]).tolist() == [True, False, False, False]
    rng = np.random.default_rng(0)
    cloud, spread = rng.random((60, 3)), rng.random((60, 3)) * 0.05
    chance = never_beaten_for_sure(cloud, spread, [True, False, False])
    for _ in range(50):
        moved = cloud + rng.uniform(-1, 1, cloud.shape) * spread
        assert not (non_dominated(moved, [True, False, False]) & ~chance).any()


def measured(
    number: int, accuracy: float, size: int, latency: float = 1.0, spread: float = 0.0, **fields: object
) -> Trial:
    return trial(
        recipe(number),
        accuracy=accuracy,
        size_bytes=size,
        latency_ms=latency,
        latency_ratio=Interval(latency, latency - spread, latency + spread),
        **fields,
    )


def test_a_trial_that_is_surely_beaten_has_no_chance_and_one_that_is_not_is_tied():
    # Half-width of the accuracy's interval: 0.6 points at 90 % of 10,000.
    trials = [measured(0, 0.90, 1000), measured(1, 0.8999, 1001), measured(2, 0.70, 1002), measured(3, 0.80, 500)]
    sure = certainty(trials, ("accuracy", "size_bytes"), {})
    assert sure.p_front[trials[0].id] == 1
    assert sure.p_front[trials[3].id] == 1
    # The difference of two independent normals of equal spread, a hair's breadth apart.
    assert sure.p_front[trials[1].id] == pytest.approx(0.5, abs=0.07)
    assert trials[2].id not in sure.p_front
    assert sure.tied == {trials[1].id}
    assert sure.groups == {trials[0].id: (trials[1].id,)}
    assert sure.draws == DRAWS


def test_the_probability_is_that_of_the_normal_distribution():
    from statistics import NormalDist

    slower = measured(1, 0.9, 1000, latency=1.01, spread=0.0196)
    trials = [measured(0, 0.9, 1000, latency=1.0, spread=0.0196), slower]
    sure = certainty(trials, ("size_bytes", "latency_ms"), {})
    # Standard deviation 0.01 each; on the front when it comes out no slower.
    assert sure.p_front[slower.id] == pytest.approx(NormalDist(0, 0.01 * 2**0.5).cdf(-0.01), abs=0.06)


def test_the_same_clock_moves_latency_and_what_is_made_of_it():
    a, b = (measured(i, 0.9, 1000 - i, latency=1.0, spread=0.2) for i in range(2))
    sure = certainty([a, b], ("latency_ms", "latency_ratio"), {})
    # One number under two names: of two trials exactly one is on the front in each draw.
    assert sum(sure.p_front.values()) == pytest.approx(1)


def stored(folder: Path, rights: np.ndarray, **fields: list) -> tuple[list[Trial], dict[str, Path]]:
    """Trials whose predictions are (trials, images) right or wrong."""
    trials, places = [], {}
    for number, right in enumerate(rights):
        name, path = f"{number:064x}.npz", folder / f"{number}.npz"
        Predictions((~right).astype(np.uint16), right=right).save(path)
        low, high = wilson(int(right.sum()), len(right))
        own = {k: v[number] for k, v in fields.items()}
        trials.append(trial(recipe(number), accuracy=None, predictions=name, **own))
        trials[-1] = Trial(**{**vars(trials[-1]), "accuracy": Accuracy(float(right.mean()), low, high, len(right))})
        places[name] = path
    return trials, places


def world(trials: int, images: int, share: float, truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Networks of these true accuracies that give the same answer, right or wrong, on `share` of the images."""
    common = rng.random(images) < truth.mean()
    own = rng.random((trials, images)) < truth[:, None]
    return np.where(rng.random((trials, images)) < share, common, own)


def test_pairing_tells_apart_what_single_intervals_cannot(tmp_path: Path):
    rng = np.random.default_rng(0)
    better = rng.random(10_000) < 0.93
    worse = better & (rng.random(10_000) > 0.004)
    trials, places = stored(tmp_path, np.array([better, worse]), size_bytes=[1000, 1000])
    paired = certainty(trials, ("accuracy", "size_bytes"), {}, find=places.__getitem__)
    single = certainty(trials, ("accuracy", "size_bytes"), {})
    assert trials[1].id not in paired.p_front
    assert paired.best == 1
    assert single.p_front[trials[1].id] > 0.1
    assert single.best < 0.95


def test_predictions_that_are_gone_fall_back_to_intervals():
    def gone(name: str) -> Path:
        raise NotFoundError(name)

    trials = [measured(0, 0.9, 1000, predictions="0" * 64), measured(1, 0.8999, 1001, predictions="1" * 64)]
    sure = certainty(trials, ("accuracy", "size_bytes"), {}, find=gone)
    assert sure.optimism is None
    assert 0.4 < sure.p_front[trials[1].id] < 0.6


def test_bootstrap_accuracies_have_the_spread_of_a_share_and_what_was_not_drawn_is_independent():
    rights = np.random.default_rng(0).random((3, 2000)) < 0.9
    drawn, left_out = bootstrap(rights, 2000)
    assert drawn.mean(axis=0) == pytest.approx(rights.mean(axis=1), abs=1e-3)
    assert drawn.std(axis=0) == pytest.approx(np.sqrt(rights.mean(axis=1) * (1 - rights.mean(axis=1)) / 2000), rel=0.08)
    assert left_out.mean(axis=0) == pytest.approx(rights.mean(axis=1), abs=1e-3)
    # Against a plain bootstrap of one of them, drawn by hand with the same seed.
    from engine.frontier import certainty as module

    rng = np.random.default_rng(module._SEED)
    chosen = rng.integers(0, 2000, 2000)
    assert drawn[0] == pytest.approx(rights[:, chosen].mean(axis=1), abs=1e-6)
    outside = np.setdiff1d(np.arange(2000), chosen)
    assert left_out[0] == pytest.approx(rights[:, outside].mean(axis=1), abs=1e-6)


@pytest.mark.parametrize(("trials", "span"), [(20, 0.0), (60, 0.0), (20, 0.08)])
def test_the_expected_optimism_is_what_picking_the_best_really_gave(trials: int, span: float):
    rng = np.random.default_rng(1)
    truth = 0.93 - span * np.linspace(0, 1, trials)
    real, told = [], []
    for _ in range(30):
        rights = world(trials, 1000, 0.0, truth, rng)
        found = rights.mean(axis=1)
        best = found.argmax()
        real.append(found[best] - truth[best])
        told.append(optimism(rights, 80))
    assert np.mean(real) > 0.004
    assert np.mean(told) == pytest.approx(np.mean(real), rel=0.3)


def test_one_candidate_was_not_picked_and_a_clear_winner_hardly():
    rng = np.random.default_rng(2)
    assert optimism(rng.random((1, 500)) < 0.9) == 0
    clear = np.array([rng.random(2000) < 0.95, rng.random(2000) < 0.5, rng.random(2000) < 0.5])
    assert optimism(clear) < 0.002
    assert optimism(np.array([[True], [False]])) == 0


def test_the_recommendation_is_among_those_within_the_limits(tmp_path: Path):
    rng = np.random.default_rng(3)
    rights = world(12, 2000, 0.5, np.full(12, 0.9), rng)
    trials, places = stored(tmp_path, rights, size_bytes=[1000 * (i + 1) for i in range(12)])
    everyone = certainty(trials, ("accuracy", "size_bytes"), {}, find=places.__getitem__)
    few = certainty(trials, ("accuracy", "size_bytes"), {"size_bytes": 2500}, find=places.__getitem__)
    assert (everyone.candidates, few.candidates) == (12, 2)
    assert everyone.optimism > few.optimism
    assert few.best > everyone.best
    nobody = certainty(trials, ("accuracy", "size_bytes"), {"size_bytes": 1}, find=places.__getitem__)
    assert (nobody.best, nobody.optimism, nobody.p_front) == (None, None, {})


def test_nothing_measured_is_nothing_known():
    assert certainty([], ("accuracy", "size_bytes"), {}).p_front == {}
    pending = Trial(id="x", recipe=Recipe())
    assert certainty([pending], ("accuracy",), {"accuracy": 0.5}).best is None
    lone = trial(accuracy=None, latency_ms=None, size_bytes=5)
    assert certainty([lone], ("size_bytes",), {}).p_front == {lone.id: 1.0}


def test_the_same_trials_give_the_same_figures():
    trials = [measured(i, 0.9 - 0.001 * (i % 5), 1000 + 13 * i, 1 + 0.01 * i, 0.02) for i in range(30)]
    first, second = (certainty(trials, ("accuracy", "size_bytes", "latency_ms"), {"latency_ms": 1.2}) for _ in range(2))
    assert first == second


def test_many_trials_are_drawn_fewer_times_and_from_their_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from engine.frontier import certainty as module

    rights = world(12, 2000, 0.5, np.full(12, 0.9), np.random.default_rng(4))
    trials, places = stored(tmp_path, rights, size_bytes=[1000 + i for i in range(12)])
    monkeypatch.setattr(module, "MOST_VECTORS", 5)
    monkeypatch.setattr(module, "MOST_ROWS_DRAWN", 12 * 150)
    sure = certainty(trials, ("accuracy", "size_bytes"), {}, find=places.__getitem__)
    assert sure.draws == 150
    # Only the five most accurate are candidates, and the front is drawn from the intervals of all.
    assert sure.candidates == 5
    assert sure.p_front == certainty(trials, ("accuracy", "size_bytes"), {}).p_front
