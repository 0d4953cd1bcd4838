"""What is looked at where the usual metrics have not been measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.frontier.columns import Trials
from engine.frontier.front import OBJECTIVES, find_front, usual_objectives
from engine.frontier.recommendation import View, axes_to_ship_by, choose, usual_view
from engine.trials.trial import Trial
from tests.helpers.trial_factory import sweep_trials


def untimed() -> list[Trial]:
    """A sweep with `latency: null`."""
    empty = {"latency_ms": None, "latency_ratio": None, "throughput_per_s": None, "projections": {}}
    return [replace(t, **empty) for t in sweep_trials()]


def test_what_no_trial_has_is_replaced_and_what_was_asked_for_is_not() -> None:
    trials = untimed()
    assert usual_view(View(), Trials.of(trials)) == View(x="size_bytes")
    assert usual_view(View(y="size_bytes"), Trials.of(trials)) == View(x="params", y="size_bytes")
    assert usual_view(View(x="energy_mj"), Trials.of(trials)) == View(x="energy_mj")
    assert usual_view(View(device="stm32h7a3-xcubeai"), Trials.of(trials)).x == "size_bytes"
    assert choose(trials, usual_view(View(), Trials.of(trials))).front
    for those in (sweep_trials(), []):
        assert usual_view(View(), Trials.of(those)) == View()


@pytest.mark.parametrize(
    ("trials", "expected"), [(untimed(), OBJECTIVES[:2]), (sweep_trials(), OBJECTIVES), ([], OBJECTIVES)]
)
def test_the_frontier_is_of_what_was_measured(trials: list[Trial], expected: tuple[str, ...]) -> None:
    assert usual_objectives(trials) == expected
    assert bool(find_front(trials, usual_objectives(trials)).trials) == bool(trials)


def test_unasked_every_place_recommends_by_the_axes_that_pages_open_on() -> None:
    trials = sweep_trials()
    usual = tuple(usual_objectives(trials, "host"))
    view = usual_view(View(), Trials.of(trials).done)
    assert len(usual) == 3
    assert axes_to_ship_by(usual, trials, "host") == (view.y, view.x)
    assert axes_to_ship_by(("accuracy", "size_bytes"), trials, "host") == ("accuracy", "size_bytes")
    assert axes_to_ship_by((*usual, "params", "params"), trials, "host") == (*usual, "params")
    other = untimed()
    assert axes_to_ship_by(tuple(usual_objectives(other, "host")), other, "host") == ("accuracy", "size_bytes")
