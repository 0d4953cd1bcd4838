"""What options do, drawn."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import pytest

from engine.figures.effects import MOST_DRAWN, effects_alt, effects_figure, effects_info
from engine.figures.highlight import LIT, with_lit, with_selected
from engine.frontier.contrasts import WITHOUT
from engine.frontier.effects import Effect, Effects, effects
from engine.frontier.estimates import Estimate
from tests.helpers.trial_factory import sweep_trials


def test_each_option_is_a_dot_with_its_interval_that_says_whether_it_is_more_than_chance() -> None:
    found = effects(sweep_trials())
    dots = effects_info(found, "accuracy")
    figure = effects_figure(dots, "accuracy")
    drawn = {
        o[0]: (x, low, high)
        for t in figure.data
        for o, x, high, low in zip(t.customdata, t.x, t.error_x.array, t.error_x.arrayminus, strict=True)
    }
    assert drawn.keys() == found.by_key.keys()
    for e in found.effects:
        one = e.estimates["accuracy"]
        expected = (100 * one.value, 100 * (one.value - one.low), 100 * (one.high - one.value))
        assert drawn[e.key] == pytest.approx(expected)
    roles = {d.key: d.role for d in dots}
    assert {roles[e.key] for e in found.effects if e.name == "distil ds_cnn"} == {"worse"}
    assert "points" in figure.layout.xaxis.title.text
    assert "8 options change of Accuracy" in effects_alt(dots, "accuracy")


def test_ratios_are_drawn_in_logarithms_around_one_and_less_is_better() -> None:
    found = effects(sweep_trials())
    dots = effects_info(found, "size_bytes")
    figure = effects_figure(dots, "size_bytes")
    assert figure.layout.xaxis.type == "log"
    # A line that is drawn as a shape takes the value itself, also on a logarithmic axis.
    assert figure.layout.shapes[0].x0 == 1.0
    assert {d.role for d in dots} == {"better"}
    assert all(0 < d.value < 1 and math.isfinite(d.low) for d in dots)


def test_of_very_many_options_those_of_most_pairs_are_drawn() -> None:
    made = tuple(
        Effect(f"{i:08x}", f"<b>{i}", WITHOUT, "g", "pairs", i, (), {"accuracy": Estimate(0.0, None, None, i)})
        for i in range(1, 100)
    )
    dots = effects_info(Effects(("accuracy",), made), "accuracy")
    assert [d.name for d in dots] == [f"<b>{i}" for i in range(100 - MOST_DRAWN, 100)]
    figure = effects_figure(dots, "accuracy")
    assert {d.role for d in dots} == {"unknown"}
    assert "&lt;b&gt;" in figure.data[0].hovertext[0]


def test_halos_lie_behind_the_marks_and_leave_the_ring_its_place() -> None:
    marks = go.Scatter(
        x=[1, 2, 3], y=[4, 5, 6], customdata=[["a"], ["b"], ["c"]], hovertext=["a", "b", "c"], marker={"color": "red"}
    )
    figure = go.Figure([marks])
    with_lit(figure, {"a", "c", "elsewhere"}, "int8")
    assert with_selected(figure, "b")
    halo, first, ring = figure.data
    assert (halo.marker.color, tuple(halo.x), tuple(halo.y)) == (LIT, (1, 3), (4, 6))
    assert first.marker.color == "red"
    assert tuple(ring.x) == (2,)
    with_lit(figure, (), "none")
    assert len(figure.data) == 3
