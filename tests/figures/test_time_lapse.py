"""The frontier as it grew: every frame against a frontier of all that was finished by then; the size of what goes to a browser."""

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import SpecError
from engine.figures.frontier_info import MOST_DRAWN
from engine.figures.time_lapse import (
    MOST_FRAMES,
    time_lapse_alt,
    time_lapse_figure,
    time_lapse_info,
    time_lapse_text,
)
from engine.frontier.columns import Trials
from engine.frontier.front import front_rows
from engine.frontier.recommendation import View
from tests.helpers.trial_factory import INT8, MACHINE, sweep_trials, trial

VIEW = View(x="size_bytes", y="accuracy")


def timed():
    """The usual trials, finished in an order of their own; one has no time."""
    order = np.random.default_rng(3).permutation(24)
    trials = [replace(t, finished_s=10.0 * order[i]) for i, t in enumerate(sweep_trials())]
    return [replace(trials[0], finished_s=None), *trials[1:]]


def test_every_frame_has_the_frontier_of_what_was_finished_by_then():
    trials = timed()
    info = time_lapse_info(trials, VIEW)
    assert [f.recipes for f in info.frames] == list(range(1, 24))
    assert info.untimed == 1
    for frame in info.frames:
        there = [t for t in trials if t.finished_s is not None and t.finished_s <= frame.seconds]
        assert len(there) == frame.recipes
        points = [(t.size_bytes / 1e3, 100 * t.accuracy.value) for t in there]
        best = {p for p in points if not any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)}
        found = np.array([info.places[i] for i in frame.front])
        assert found[np.lexsort(found.T)] == pytest.approx(np.array(sorted(best, key=lambda p: p[::-1])))
    assert "1 more have no finish time" in time_lapse_text(info)
    assert "23 frames" in time_lapse_alt(info)


def test_the_figure_has_a_frame_for_each_step_and_starts_with_the_last():
    info = time_lapse_info(timed(), VIEW)
    figure = time_lapse_figure(info)
    assert len(figure.frames) == len(figure.layout.sliders[0].steps) == 23
    assert [len(f.data[0].x) for f in figure.frames] == list(range(1, 24))
    assert list(figure.data[1].x) == [info.places[i][0] for i in info.frames[-1].front]
    # Marks have their place from the beginning.
    low, high = figure.layout.yaxis.range
    assert low < info.places[:, 1].min() <= info.places[:, 1].max() < high


def test_ten_thousand_recipes_are_sixty_frames_of_a_sample_with_true_frontiers():
    rng = np.random.default_rng(0)
    many = Trials.of(
        [
            trial(
                INT8,
                accuracy=float(rng.uniform(0.5, 0.9)),
                size_bytes=int(rng.integers(10**4, 10**6)),
                finished_s=float(i),
            )
            for i in range(10_000)
        ]
    )
    info = time_lapse_info(many, VIEW)
    assert len(info.frames) == MOST_FRAMES
    assert len(info.cloud) <= MOST_DRAWN
    assert info.frames[-1].recipes == 10_000
    rows, _ = front_rows(many, (VIEW.x, VIEW.y))
    assert len(info.frames[-1].front) == len(rows)
    assert len(time_lapse_figure(info).to_json()) < 2_000_000
    assert "of 10,000 recipes are drawn" in time_lapse_text(info)


def test_nothing_to_play_and_times_of_two_machines():
    empty = time_lapse_info([], VIEW)
    assert empty.frames == ()
    assert not time_lapse_figure(empty).frames
    assert "nothing to play" in time_lapse_alt(empty)
    other = replace(MACHINE, fingerprint="0" * 64)
    mixed = [replace(t, machine=other if i % 2 else MACHINE) for i, t in enumerate(timed())]
    with pytest.raises(SpecError, match="2 machines"):
        time_lapse_info(mixed, View())
