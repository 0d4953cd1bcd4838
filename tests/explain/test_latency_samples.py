"""Every timed call behind a latency."""

from __future__ import annotations

import statistics
from dataclasses import replace

from engine.explain import latency_samples
from engine.run.planner import make_plan
from engine.store import example as example_module
from engine.store.rows import NodeRow


def test_raw_samples_of_the_example_ship_with_it_and_are_those_that_its_latency_was_made_of(example):
    store, _, sweep, ids = example
    spec, trials = store.spec(sweep), store.trials(sweep)
    for trial in trials:
        found = latency_samples.latency_samples(store, spec, trial)
        assert len(found.trial_ms) > 500
        if trial.id == ids["baseline"]:
            assert found.baseline_ms == ()
            continue
        ratio = statistics.median(found.trial_ms) / statistics.median(found.baseline_ms)
        # The interval is of ratios block by block; whole medians lie close to it.
        assert trial.latency_ratio.low * 0.9 < ratio < trial.latency_ratio.high * 1.1


def test_each_example_has_samples_of_its_own_under_the_same_ids(example):
    store, *_ = example
    medians = []
    for row in store.sweeps():
        baseline = store.trials(row.id)[0]
        found = latency_samples.latency_samples(store, store.spec(row.id), baseline)
        medians.append(statistics.median(found.trial_ms))
        assert baseline.latency_ms.p50 * 0.7 < medians[-1] < baseline.latency_ms.p50 * 1.4
    assert len(set(medians)) == 2


def test_raw_samples_of_a_latency_are_found_through_the_plan_on_the_machine_that_took_them(
    example, monkeypatch, tmp_path
):
    store, _, sweep, ids = example
    monkeypatch.setattr(example_module, "EXAMPLES", (tmp_path,))
    spec, trials = store.spec(sweep), {t.id: t for t in store.trials(sweep)}
    for label in ("int8", "baseline"):
        trial = trials[ids[label]]
        # What ships of the example are its records, not its nodes.
        assert latency_samples.latency_samples(store, spec, trial) is None
        plan = make_plan(spec, trial.machine)
        key = next(c.latency for c in plan.chains if c.recipe == trial.recipe)
        blocks = [[[0.1, 0.2], [0.3]], [[0.4]]]
        processes = [{"candidate_ms": b, "baseline_ms": [[1.0]] if label == "int8" else []} for b in blocks]
        store.save_node(NodeRow(key, "latency", 1.0, 1.0, {"processes": processes}))
        found = latency_samples.latency_samples(store, spec, trial)
        assert found.trial_ms == (0.1, 0.2, 0.3, 0.4)
        assert found.baseline_ms == ((1.0, 1.0) if label == "int8" else ())
        elsewhere = replace(trial, machine=replace(trial.machine, fingerprint="0" * 64))
        assert latency_samples.latency_samples(store, spec, elsewhere) is None
        assert latency_samples.latency_samples(store, spec, replace(trial, timing=None)) is None
