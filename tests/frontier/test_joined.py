"""Imported points as columns: after the trials, on no frontier unless they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.figures.frontier import frontier_alt, frontier_figure
from engine.figures.frontier_info import frontier_info
from engine.figures.many_metrics_info import matrix_info, parallel_info
from engine.frontier.certainty import certainty
from engine.frontier.columns import Trials
from engine.frontier.joined import is_imported, with_points, without_points
from engine.frontier.recommendation import View, choose
from engine.spec.recipe import Recipe
from engine.spec.steps import Imported
from engine.trials.stated import Stated
from engine.trials.trial import Trial
from tests.frontier.test_certainty import stored
from tests.helpers.trial_factory import INT8, trial

VIEW = View(x="size_bytes", y="accuracy")


def point(name: str = "theirs", device: str | None = None, **values: float) -> Trial:
    recipe = Recipe(steps=(Imported(name=name, sha256="a" * 64),))
    return Trial(recipe.id, recipe, state="done", provenance="imported", stated=Stated(values, device, "r.csv"))


def joined(*points: Trial) -> Trials:
    return with_points(Trials.of([trial(), trial(INT8, accuracy=0.89, size_bytes=50_000)]), points)


def test_they_come_after_the_trials_whole_and_as_columns():
    better = point(accuracy=0.99, size_bytes=10, latency_ms=2.0, device="phone")
    seen = joined(better)
    assert len(seen) == 3
    assert list(seen)[2] == better
    assert seen[2] == better
    assert [t.id for t in seen.take(np.array([2, 0]))] == [better.id, Recipe().id]
    assert is_imported(seen).tolist() == [False, False, True]
    assert seen.devices[-1] == "phone"
    np.testing.assert_array_equal(seen.numbers("latency_ms", "phone").value, [np.nan, np.nan, 2.0])
    assert np.isnan(seen.numbers("latency_ms").value[2])
    assert len(without_points(seen)) == 2
    plain = Trials.of([trial()])
    assert with_points(plain, []) is plain
    assert without_points(plain) is plain


def test_they_count_only_when_asked():
    better = point(accuracy=0.99, size_bytes=10)
    seen = joined(better)
    without, asked = choose(seen, VIEW), choose(seen, View("size_bytes", "accuracy", imported=True))
    assert better.id not in {*without.measured, *without.kept, *without.front, without.best}
    assert (asked.front, asked.best) == ((better.id,), better.id)
    assert without.front == choose(without_points(seen), VIEW).front


def test_the_charts_mark_them_either_way():
    better = point(accuracy=0.99, size_bytes=10)
    for counted in (False, True):
        info = frontier_info(joined(better), View("size_bytes", "accuracy", imported=counted))
        mark = next(p for p in info.points if p.trial_id == better.id)
        assert mark.role == "imported"
        assert "imported, not measured here" in mark.hover
        trace = next(t for t in frontier_figure(info).data if t.name == "imported, not measured here")
        assert (trace.marker.symbol, list(trace.x)) == ("pentagon-open", [0.01])
        assert "1 imported point" in frontier_alt(info)
        keys = ("accuracy", "size_bytes", "macs")
        for made in (parallel_info, matrix_info):
            marks = made(joined(better), info.choice, keys).marks
            assert [m.role for m in marks if m.trial_id == better.id] == ["imported"]
    assert frontier_alt(frontier_info(joined(), VIEW)).startswith(
        "Scatter chart of Accuracy (%) against File size (kB): 2 of 2"
    )


def test_what_is_known_of_the_trials_does_not_change_beside_a_point(tmp_path: Path):
    rng = np.random.default_rng(3)
    common = rng.random(400) < 0.9
    # The second is right wherever the first is, and once more: never told apart but by pairs.
    rights = np.stack([common, common | (np.arange(400) == np.flatnonzero(~common)[0]), common & (np.arange(400) > 9)])
    trials, places = stored(tmp_path, rights, size_bytes=[1000, 2000, 900])
    alone = certainty(trials, ("accuracy", "size_bytes"), {}, find=places.__getitem__)
    worse = point(accuracy=0.1, size_bytes=9000)
    beside = certainty([*trials, worse], ("accuracy", "size_bytes"), {}, find=places.__getitem__)
    assert beside.p_front == alone.p_front
    by_intervals = certainty(trials, ("accuracy", "size_bytes"), {})
    assert by_intervals.p_front != alone.p_front
