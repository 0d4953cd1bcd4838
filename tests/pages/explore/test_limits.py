"""Sliders span what was measured, in steps that people count in."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pages.explore.limits import Bounds, bounds


def test_ends_are_rounded_outwards_to_whole_steps():
    span = bounds([13.03, 318.4])
    assert span == Bounds(12.0, 320.0, 2.0)
    assert span.decimals == 0


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=20))
def test_every_value_is_on_the_slider_and_the_step_is_round(values):
    span = bounds(values)
    assume(span is not None)
    assert span.low <= min(values) * (1 + 1e-9) + 1e-9 * max(values)
    assert span.high >= max(values) * (1 - 1e-9)
    mantissa = span.step / 10 ** math.floor(math.log10(span.step) + 1e-9)
    assert round(mantissa, 6) in {1, 2, 5, 10}
    assert (span.high - span.low) / span.step <= 402


def test_one_value_leaves_nothing_to_choose():
    assert bounds([5.0, 5.0]) is None
    assert bounds([]) is None


def test_a_limit_beyond_the_values_stays_visible():
    assert bounds([200.0, 400.0], limit=100.0).low == 100.0


@pytest.mark.parametrize(("value", "clamped"), [(-5.0, 12.0), (13.2, 14.0), (12.9, 12.0), (1e9, 320.0)])
def test_a_value_from_an_address_lands_on_the_nearest_step(value, clamped):
    assert Bounds(12.0, 320.0, 2.0).clamp(value) == clamped
