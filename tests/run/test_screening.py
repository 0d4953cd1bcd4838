"""A small sweep run for real with recipes in short: nothing is done twice, what is stopped stays so, a budget is gone on from."""

from __future__ import annotations

from pathlib import Path

from engine.measure.machine import machine
from engine.run.planner import make_plan
from engine.run.run import execute
from engine.run.screening import short_trial
from engine.spec.read import read_sweep
from engine.spec.recipe import Recipe
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.tiny import write_problem

QUICK = ("measure.latency=null", "measure.test_samples=200", "search.method=gain")


def test_a_screened_sweep_is_measured_or_stopped_whole_and_no_node_runs_twice(place: Path):
    spec = write_problem(place)
    screen = ("search.screen.share=0.5", "search.screen.test_samples=60")
    sweep = read_sweep(spec, (*QUICK, *screen))
    store, artifacts, seen = Store.open(), Artifacts.open(), []
    outcome = execute(sweep, store, artifacts, on_progress=seen.append)
    plan = make_plan(sweep, machine())
    assert (outcome.state, outcome.trials_failed, outcome.recipes_left) == ("done", 0, 0)
    assert outcome.trials_done + outcome.trials_stopped == len(sweep.all_recipes) == 6
    assert outcome.nodes_run == len(store.nodes(plan.nodes))
    assert any(p.found is not None for p in seen)
    results = {key: row.result for key, row in store.nodes(plan.nodes).items()}
    shorts = {i: t for i in plan.shorts if (t := short_trial(plan, i, results, artifacts))}
    trained = [i for i, c in plan.shorts.items() if c.recipe.id != i]
    # The first of what trains is seen in short, whatever comes of it.
    assert set(trained) & shorts.keys()
    for trial in shorts.values():
        assert trial.accuracy.n == 60
        assert trial.latency_ms is None
    before = {t.id: t for t in store.trials(sweep.id)}
    stopped = {i: t for i, t in before.items() if t.state == "stopped"}
    assert len(stopped) == outcome.trials_stopped
    # Another run has nothing to do, and what was stopped still says why.
    again = execute(sweep, store, artifacts)
    assert (again.nodes_run, again.trials_done, again.trials_stopped) == (0, outcome.trials_done, len(stopped))
    assert {i: (t.state, t.stopped) for i, t in before.items()} == {
        t.id: (t.state, t.stopped) for t in store.trials(sweep.id)
    }


def test_a_search_within_node_seconds_goes_on_in_the_next_run(place: Path):
    spec = write_problem(place)
    store, artifacts = Store.open(), Artifacts.open()
    none = read_sweep(spec, (*QUICK, "search.node_seconds=0.000001"))
    outcome = execute(none, store, artifacts)
    assert (outcome.state, outcome.trials_done, outcome.recipes_left) == ("done", 0, 6)
    sweep = read_sweep(spec, (*QUICK, "search.trials=2"))
    assert execute(sweep, store, artifacts).trials_done == 2
    assert execute(sweep, store, artifacts).trials_done == 4


def test_a_stopped_trial_reads_back_as_it_was():
    trial = Trial("0" * 12, Recipe(), state="stopped", stopped="stopped after screening: it was hopeless")
    record = trial.to_json()
    assert (record["state"], record["stopped"], record["accuracy"]) == ("stopped", trial.stopped, None)
    assert Trial.from_json(record) == trial
