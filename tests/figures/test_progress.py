"""Hypervolume over time: against an area counted by hand, in the order in which recipes were finished."""

from __future__ import annotations

import pytest

from engine.figures.progress import MOST_STEPS, progress_alt, progress_figure, progress_info, progress_text
from engine.frontier.front import find_front
from engine.frontier.recommendation import View
from engine.spec.recipe import Recipe
from engine.trials.trial import Trial
from tests.helpers.trial_factory import CUT, FOUR, INT8, sweep_trials, trial

BOTH = Recipe(steps=(*CUT.steps, *INT8.steps))


@pytest.fixture
def three() -> list[Trial]:
    """Boxed from 1.0 ms and 80 % to 0.5 ms and 90 %; finished in another order than planned."""
    return [
        trial(Recipe(), accuracy=0.9, latency_ms=1.0, finished_s=10.0),
        trial(INT8, accuracy=0.8, latency_ms=0.5, finished_s=400.0),
        trial(CUT, accuracy=0.85, latency_ms=0.75, finished_s=200.0),
    ]


def test_steps_are_in_the_order_of_time_and_their_areas_are_right(three):
    info = progress_info(three, View())
    assert [s.trial_id for s in info.steps] == [Recipe().id, CUT.id, INT8.id]
    assert [s.seconds for s in info.steps] == [10.0, 200.0, 400.0]
    # The two corners cover nothing, the middle a quarter of the box; the box is 0.5 ms by 10 points.
    assert [s.share for s in info.steps] == pytest.approx([0.0, 0.25, 0.25])
    assert info.steps[-1].area == pytest.approx(0.25 * 0.5 * 10)
    assert info.unit == "ms × points"
    assert (info.reference, info.ideal) == (("1.00 ms", "80.00 %"), ("0.500 ms", "90.00 %"))


def test_the_last_step_is_the_hypervolume_of_the_frontier():
    trials = [
        Trial(**{**t.__dict__, "finished_s": float(100 - i)}) for i, t in enumerate(sweep_trials(failed=1, pending=2))
    ]
    info = progress_info(trials, View())
    shares = [s.share for s in info.steps]
    done = [t for t in trials if t.state == "done"]
    assert shares[-1] == pytest.approx(find_front(done, ("latency_ms", "accuracy")).hypervolume)
    assert shares == sorted(shares)
    assert [s.recipes for s in info.steps] == list(range(1, len(done) + 1))


def test_trials_without_a_finish_time_are_counted_and_not_drawn(three):
    old = trial(BOTH, accuracy=0.99, latency_ms=0.1)
    unmeasured = trial(FOUR, latency_ms=None, finished_s=5.0)
    info = progress_info([*three, old, unmeasured], View())
    assert len(info.steps) == 3
    assert info.untimed == 1
    assert "1 more have no finish time" in progress_text(info)
    assert progress_info([old], View()).steps == ()
    assert "nothing to draw" in progress_alt(progress_info([old], View()))


def test_one_recipe_covers_nothing(three):
    info = progress_info(three[:1], View())
    assert [s.share for s in info.steps] == [0.0]
    assert len(progress_figure(info).data[0].x) == 1


def test_many_recipes_are_grouped_and_end_at_the_same_value():
    many = [
        trial(
            Recipe(),
            id=f"{i:08x}",
            accuracy=0.5 + (i * 13 % 500) / 1000,
            latency_ms=0.1 + (i * 7 % 500) / 500,
            finished_s=i,
        )
        for i in range(501)
    ]
    info = progress_info(many, View())
    assert len(info.steps) <= MOST_STEPS
    assert info.steps[-1].recipes == 501
    assert all(s.trial_id is None for s in info.steps)
    assert info.steps[-1].share == pytest.approx(find_front(many, ("latency_ms", "accuracy")).hypervolume)


def test_a_mark_says_which_recipe_and_the_time_has_a_unit_to_fit(three):
    figure = progress_figure(progress_info(three, View()))
    line = figure.data[0]
    assert [o[0] for o in line.customdata] == [Recipe().id, CUT.id, INT8.id]
    assert list(line.x) == pytest.approx([10 / 60, 200 / 60, 400 / 60])
    assert figure.layout.xaxis.title.text == "Running time (min)"
    assert "25.00 % of the box, 1.25 ms × points" in line.hovertext[1]
    assert "after 3 recipes and 6 min 40 s" in progress_alt(progress_info(three, View()))
