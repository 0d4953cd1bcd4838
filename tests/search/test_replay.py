"""The search by gain, replayed on a part of a space that was measured whole: the record of `tests/benchmarks/bench_frugal_search.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.spec.goals import Target
from engine.spec.sweep import parse_sweep
from tests.benchmarks.bench_frugal_search import Record, Volume, greedy, played

RECORD = Path(__file__).resolve().parents[1] / "benchmarks" / "search_resnet8.json.xz"


@pytest.fixture(scope="module")
def record() -> Record:
    """The half of it that is not distilled: 105 recipes of seven networks, six of them trained."""
    whole = Record.read(RECORD)
    kept = [i for i, t in whole.trials.items() if all(s.step != "distill" for s in t.recipe.steps)]
    listed = [whole.trials[i].recipe.to_json() for i in kept if whole.trials[i].recipe.steps]
    sweep = parse_sweep(whole.plan.sweep.model_dump() | {"space": {}, "recipes": listed})
    parts = {name: {i: getattr(whole, name)[i] for i in kept} for name in ("needs", "short_needs", "shorts", "trials")}
    return replace(whole, plan=replace(whole.plan, sweep=sweep), **parts)


def reached(record: Record, volume: Volume, method: str, limits: dict[str, float]) -> float:
    """The share of the volume after a quarter of the cost."""
    more: dict[str, Any] = {"search": {"method": method}, "target": Target(limits=limits).model_dump()}
    sweep, share = parse_sweep(record.plan.sweep.model_dump() | more), 0.0
    for spent, finished, _ in played(record, sweep, False, record.cost_s / 4):
        share = volume.share(finished) if spent <= record.cost_s / 4 else share
    return share


@pytest.mark.parametrize("limits", [{}, {"accuracy": 0.93}], ids=["free", "within"])
def test_a_quarter_of_the_cost_finds_nearly_all_and_more_than_chance_and_nsga2(
    record: Record, limits: dict[str, float]
):
    volume = Volume(record, limits)
    found = reached(record, volume, "gain", limits)
    assert found > 0.98
    assert found > max(reached(record, volume, "random", limits), reached(record, volume, "nsga2", limits))


def test_a_single_lucky_latency_counts_for_nothing_where_files_that_compute_the_same_are_pooled(record: Record):
    done = record.done
    lucky = next(i for i, t in done.items() if t.recipe.steps[-1:] and t.recipe.steps[-1].step == "quantize")
    latency = done[lucky].latency_ms
    faster = replace(done[lucky], latency_ms=replace(latency, p50=latency.p50 / 2))
    luckier = replace(record, trials={**record.trials, lucky: faster})
    alone = {pooled: Volume(luckier, {}, pooled).share([i for i in done if i != lucky]) for pooled in (False, True)}
    assert alone[False] < 0.9
    assert alone[True] == pytest.approx(Volume(record, {}, True).share([i for i in done if i != lucky]), abs=0.01)


def test_whoever_knows_all_figures_is_no_worse(record: Record):
    volume, best = Volume(record, {}), 0.0
    for spent, finished, _ in greedy(record, volume):
        best = volume.share(finished) if spent <= record.cost_s / 4 else best
    assert best >= reached(record, volume, "gain", {}) - 0.005
