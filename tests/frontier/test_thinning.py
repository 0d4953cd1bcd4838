"""Of very many points those that matter are drawn, and of the rest some from everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.figures import frontier_info as module
from engine.figures.frontier import frontier_alt, frontier_figure
from engine.figures.frontier_info import drawn_text, frontier_info
from engine.frontier.certainty import Certainty
from engine.frontier.recommendation import View
from engine.frontier.thinning import thin
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune
from engine.trials.trial import Trial
from tests.helpers.trial_factory import trial


def cloud(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 2))


def test_few_points_are_all_drawn():
    assert thin(cloud(50), np.full(50, 2), 50).all()
    assert thin(np.empty((0, 2)), np.empty(0, np.intp), 5).tolist() == []


def test_what_matters_is_drawn_whole_and_there_are_never_too_many():
    points, layer = cloud(5000), np.full(5000, 2)
    layer[::50] = 0
    layer[1::25] = 1
    layer[2::5] = 3
    drawn = thin(points, layer, 1000, all_of=2)
    assert drawn.sum() == 1000
    assert drawn[layer < 2].all()
    assert 0 < drawn[layer == 3].sum() < drawn[layer == 2].sum()
    assert (thin(points, layer, 1000, all_of=2) == drawn).all()
    # More that matter than there is room: the more important ones.
    tight = thin(points, layer, 150, all_of=2)
    assert (tight.sum(), tight[layer == 0].all(), tight[layer >= 2].any()) == (150, True, False)


def test_outliers_stay_and_a_crowd_does_not_take_their_place():
    crowd = np.random.default_rng(1).normal(0, 1e-3, (20_000, 2))
    outliers = np.array([[math.cos(a), math.sin(a)] for a in np.linspace(0, 6, 40)])
    drawn = thin(np.vstack([crowd, outliers]), np.full(20_040, 2), 200)
    assert drawn[20_000:].all()
    assert drawn.sum() == 200


def test_every_part_of_the_plane_that_has_points_has_drawn_ones():
    points = np.random.default_rng(2).random((20_000, 2))
    drawn = thin(points, np.zeros(20_000, np.intp), 1000, all_of=0)
    cells = {tuple(c) for c in np.floor(points[drawn] * 12).astype(int).tolist()}
    assert len(cells) == 144


def test_points_in_one_place_are_thinned_too():
    assert thin(np.ones((500, 2)), np.full(500, 2), 20).sum() == 20


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    monkeypatch.setattr(module, "MOST_DRAWN", 60)
    monkeypatch.setattr(module, "MOST_WORDY", 30)
    monkeypatch.setattr(module, "MOST_RANGES", 40)
    draw = np.random.default_rng(3)
    trials = [trial(Recipe(), accuracy=0.7, size_bytes=400_000, latency_ms=2.0)]
    for number in range(1, 300):
        recipe = Recipe(steps=(Prune(method="magnitude", ratio=number / 1000),))
        latency = float(draw.uniform(0.2, 1))
        accuracy = float(0.8 + 0.02 * latency - abs(draw.normal(0, 0.03)))
        trials.append(trial(recipe, accuracy=accuracy, latency_ms=latency, size_bytes=1000 * number))
    return trials


def test_a_chart_of_many_keeps_what_matters_and_tells_the_true_counts(many):
    view = View(limits={"size_bytes": 200_000})
    plain = frontier_info(many, view)
    tied = frozenset([p.trial_id for p in plain.points if p.role == "beaten"][:3])
    sure = Certainty(100, {}, tied)
    before = {p.trial_id for p in frontier_info(many, view, sure).points}
    lost = next(t.id for t in many if t.id not in before)
    info = frontier_info(many, view, sure, selected=lost)
    drawn = {p.trial_id for p in info.points}
    choice = info.choice
    assert {*choice.front, *tied, choice.baseline, choice.best, choice.knee, lost} - {None} <= drawn
    assert len(info.points) == 61
    assert info.total == 300
    assert info.counts["over"] == 100
    assert sum(info.counts.values()) == 300
    text = drawn_text(info)
    assert "61 of 300 recipes are drawn" in text
    assert f"all {len(choice.front)} on the frontier" in text
    assert "all 3 tied with it" in text
    assert "3 more are statistically tied" in frontier_alt(info)
    assert drawn_text(frontier_info(many[:50], view)) == ""
    # What is in the picture already is selected without changing it.
    again = frontier_info(many, view, sure, selected=choice.front[0])
    assert {p.trial_id for p in again.points} == before


def test_axes_span_all_trials_drawn_or_not(many):
    info = frontier_info(many, View())
    assert info.x_span == pytest.approx((min(t.latency_ms.p50 for t in many), 2.0))
    wide = [*many, trial(Recipe(steps=(Prune(method="magnitude", ratio=0.9),)), latency_ms=90.0, accuracy=0.5)]
    assert frontier_figure(frontier_info(wide, View())).layout.xaxis.type == "log"


def test_many_points_have_short_words_and_few_ranges(many):
    info = frontier_info(many, View())
    by_role = {role: [p for p in info.points if p.role == role] for role in ("front", "beaten")}
    assert all(p.wordy and "Accuracy" in p.hover and p.y_range for p in by_role["front"])
    assert all(not p.wordy and p.hover.startswith(("weights −", "baseline")) for p in by_role["beaten"])
    assert not any(p.y_range or p.x_range for p in by_role["beaten"])
    figure = frontier_figure(info)
    beaten = next(t for t in figure.data if t.name == "beaten by another")
    assert "%{hovertext}" in beaten.hovertemplate
    assert "Latency (ms): %{x:" in beaten.hovertemplate
    assert {shape.legendgroup for shape in figure.layout.shapes} == {"front"}
