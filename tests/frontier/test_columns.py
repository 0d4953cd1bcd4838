"""Columns say of many trials exactly what loops over single ones say, whether they come from trials or from stored records."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import NotFoundError, SpecError
from engine.figures.frontier_info import frontier_info
from engine.frontier.certainty import certainty
from engine.frontier.columns import Trials
from engine.frontier.front import best_under, find_front, objective_points, within_limits
from engine.frontier.knee import knee
from engine.frontier.recommendation import View, choose
from engine.frontier.stored_columns import Block, stored_trials
from engine.graph.demand import Demand
from engine.metrics import METRICS
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.trials.evidence import Interval
from engine.trials.metric_values import measured_metrics, metric_interval, metric_value, slice_metrics
from engine.trials.text import is_estimated
from engine.trials.trial import Trial
from tests.helpers.columns import BOARD, random_trials, stored
from tests.helpers.trial_factory import MACHINE, trial

VIEWS = [
    View(),
    View(x="size_bytes", limits={"latency_ms": 0.8}),
    View(x="macs", y="size_bytes", colour="nll"),
    View(device=BOARD, limits={"energy_mj": 14.0, "accuracy": 0.85}),
    View(x="energy_mj", y="agreement", limits={"worst_class_drop": 0.03, "size_bytes": 60_000}),
    View(x="kl", y="vs_baseline", limits={"accuracy": 0.99}),
    View(x="slice_drop:Accuracy:max:%", y="slice_worst:Accuracy:max:%", limits={"slice_worst:Accuracy:max:%": 0.4}),
]


@pytest.mark.parametrize("seed", range(3))
def test_every_number_and_fact_is_that_of_the_trial(seed: int):
    trials = random_trials(seed)
    for table in (Trials.of(trials), stored(trials), stored(trials).take(np.arange(len(trials)))):
        for device in ("host", BOARD, "a device that nobody has"):
            assert table.measured(device) == measured_metrics(trials, device)
            for key in (*METRICS, *slice_metrics("accuracy"), *slice_metrics("agreement")):
                n = table.numbers(key, device)
                for row, t in enumerate(trials):
                    told = metric_interval(t, key, device)
                    expected = (told.value, told.low, told.high) if isinstance(told, Interval) else (told, None, None)
                    assert [n.value[row], n.low[row], n.high[row]] == pytest.approx(
                        [np.nan if v is None else v for v in expected], rel=1e-15, nan_ok=True
                    )
                    assert n.estimated[row] == is_estimated(t, key, device)
            assert table.fits(device).tolist() == [
                t.projections[device].fits if device in t.projections else True for t in trials
            ]
        assert table.devices == ("host", BOARD)
        known = [d and Demand.from_json(json.loads(d)) for d in table.fact("demand")]
        assert known == [t.demand for t in trials]
        for name in ("id", "label", "state", "provenance", "predictions", "artifact", "seeds", "error"):
            assert table.fact(name).tolist() == [getattr(t, name) for t in trials]
        assert table.fact("tied_with_baseline").tolist() == [
            bool(t.accuracy and t.accuracy.tied_with_baseline) for t in trials
        ]
        assert table.fact("is_baseline").tolist() == [not t.recipe.steps for t in trials]
        assert table.machines == {MACHINE.fingerprint: MACHINE.label}
        assert [list(table), table[3], list(table[5:9])] == [trials, trials[3], trials[5:9]]
        assert list(table.done) == [t for t in trials if t.state == "done"]


def beats(a: list[float], b: list[float], maximise: list[bool]) -> bool:
    gains = [(x - y) if up else (y - x) for x, y, up in zip(a, b, maximise, strict=True)]
    return all(g >= 0 for g in gains) and any(g > 0 for g in gains)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("view", VIEWS, ids=lambda v: f"{v.x} {v.y}")
def test_front_knee_best_and_kept_are_those_of_a_loop_over_trials(view: View, seed: int):
    trials = random_trials(seed)
    done = [t for t in trials if t.state == "done"]

    def keeps(t: Trial) -> bool:
        pairs = [(metric_value(t, k, view.device), limit, METRICS[k].maximise) for k, limit in view.limits.items()]
        return all(v is not None and (v >= limit if up else v <= limit) for v, limit, up in pairs)

    kept = [t for t in done if keeps(t)]
    axes, up = (view.x, view.y), [METRICS[k].maximise for k in (view.x, view.y)]
    values = {t.id: [metric_value(t, k, view.device) for k in axes] for t in kept}
    both = {i: v for i, v in values.items() if None not in v}
    front = {i for i, v in both.items() if not any(beats(w, v, up) for w in both.values())}
    bend = knee([[np.nan if n is None else n for n in values[t.id]] for t in kept], up)
    merit = "accuracy" if any(t.accuracy for t in kept) else "agreement"
    ranked = [(metric_value(t, merit), -(t.size_bytes or 0), t) for t in kept if metric_value(t, merit) is not None]
    best = max(ranked, key=lambda r: r[:2])[2].id if ranked else None

    for table in (trials, stored(trials)):
        choice = choose(table, view)
        assert choice.measured == tuple(t.id for t in done)
        assert choice.kept == {t.id for t in kept}
        assert set(choice.front) == front
        assert len(choice.front) == len(front)
        assert [both[i][0] for i in choice.front] == sorted(both[i][0] for i in front)
        assert choice.knee == (None if bend is None else kept[bend].id)
        assert choice.best == best
        assert choice.baseline == Recipe().id
        told = best_under(table, view.limits, view.device)
        assert (told.id if told else None) == _best_of_all(trials, keeps)
        assert {
            t.id
            for t in find_front(
                Trials.of(table).take(within_limits(table, view.limits, view.device)), axes, view.device
            ).trials
        } == front


def _best_of_all(trials: list[Trial], keeps) -> str | None:
    merit = "accuracy" if any(t.accuracy for t in trials) else "agreement"
    ranked = [(metric_value(t, merit), -(t.size_bytes or 0), t.id) for t in trials if keeps(t)]
    ranked = [r for r in ranked if r[0] is not None]
    return max(ranked, key=lambda r: r[:2])[2] if ranked else None


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: f"{v.x} {v.y}")
def test_what_is_tied_and_drawn_is_the_same_from_records(view: View):
    trials = random_trials(9)
    axes = (view.x, view.y)
    at_hand, read = (certainty(t, axes, view.limits, view.device) for t in (trials, stored(trials)))
    assert at_hand == read
    assert frontier_info(trials, view, at_hand) == frontier_info(stored(trials), view, read)
    done = [t for t in trials if t.state == "done"]
    info = frontier_info(trials, view, at_hand)
    assert {p.trial_id for p in info.points} == {
        t.id for t in done if None not in [metric_value(t, k, view.device) for k in axes]
    }
    assert {p.trial_id for p in info.points if p.role == "tied"} <= at_hand.tied


def test_times_of_two_machines_are_refused_from_columns_too():
    other = replace(MACHINE, fingerprint="e" * 64, cpu="Other CPU")
    trials = [trial(), trial(Recipe(steps=(Prune(method="magnitude", ratio=0.5),)), machine=other)]
    for table in (trials, stored(trials)):
        with pytest.raises(SpecError, match="2 machines"):
            objective_points(table, ("latency_ms",))
        with pytest.raises(SpecError, match="2 machines"):
            objective_points(Trials.of(table).take(np.array([1, 0])), ("latency_ms",))
        assert len(objective_points(Trials.of(table).take(np.array([1])), ("latency_ms",))) == 1


def test_no_trial_is_no_column():
    for table in (Trials.of([]), stored([])):
        assert (len(table), list(table), table.measured(), table.baseline) == (0, [], (), None)
        assert choose(table, View()).front == ()


@pytest.mark.usefixtures("home")
def test_the_store_gives_records_in_order_and_single_trials_by_id():
    store, trials = Store.open(), random_trials(1)
    sweep = parse_sweep({"name": "many", "model": {"source": "resnet8"}})
    store.begin(sweep, trials, nodes_total=1, nodes_done=1)
    revision = store.revision(sweep.id)
    store.save_trial(sweep.id, trials[4])
    table = stored_trials(
        Block.of(text for _, text in store.changed_records(sweep.id)), lambda ids: store.trials_by_id(sweep.id, ids)
    )
    assert table.ids == tuple(t.id for t in trials)
    assert list(table) == trials
    assert [position for position, _ in store.changed_records(sweep.id, revision)] == [4]
    assert store.trial(sweep.id, trials[4].id[:7]) == trials[4]
    with pytest.raises(NotFoundError, match="no trial 00000000 any more"):
        store.trials_by_id(sweep.id, [trials[0].id, "00000000"])
    with pytest.raises(NotFoundError, match="no trial"):
        store.trial(sweep.id, "")
