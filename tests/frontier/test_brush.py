"""Brushes: who is in them, held against other ways to tell; their texts; hostile ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.frontier.brush import (
    MOST_CORNERS,
    MOST_CUTS,
    Brush,
    Cut,
    box,
    brush_of,
    brush_text,
    brush_words,
    cuts_of,
    cuts_text,
    inside,
    left_by,
    limits_of,
    loop,
)
from engine.frontier.columns import Trials
from engine.frontier.front import within_limits
from tests.helpers.trial_factory import sweep_trials, trial

TRIALS = Trials.of([*sweep_trials(), trial(latency_ms=None)])
KEYS = st.sampled_from(["accuracy", "size_bytes", "latency_ms", "score:a~b!%,c:max:%"])
NUMBERS = st.floats(-1e6, 1e6)
BOXES = st.dictionaries(KEYS, st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=4).map(box)
CORNERS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=MOST_CORNERS)
BRUSHES = st.one_of(BOXES, st.builds(loop, KEYS, KEYS, st.booleans(), st.booleans(), CORNERS))


@given(BRUSHES)
def test_a_brush_is_written_and_read_the_same(brush):
    assert brush_of(brush_text(brush)) == brush


@given(st.lists(st.builds(Cut, st.booleans(), BRUSHES), max_size=MOST_CUTS).map(tuple))
def test_cuts_are_written_and_read_the_same_in_their_order(cuts):
    assert cuts_of(cuts_text(cuts)) == cuts


WORDS = st.sampled_from(["lasso", "accuracy", "log", "lin", "1", "nan", "", "-9", "keep"])


@given(st.one_of(st.text(max_size=60), st.lists(WORDS).map("~".join)))
def test_any_text_is_a_brush_or_none(text):
    brush = brush_of(text)
    assert brush is None or brush_of(brush_text(brush)) == brush
    assert len(inside(TRIALS, brush or box({"accuracy": (0, 1)}))) == len(TRIALS)
    assert len(cuts_of(f"keep~{text}!{text}")) <= MOST_CUTS


@pytest.mark.parametrize(
    "text",
    [
        *("", "accuracy", "accuracy~1", "accuracy~1~0", "beauty~0~1", "accuracy~nan~1", "accuracy~0~inf"),
        *("lasso~accuracy~lin", "lasso~accuracy~lin~macs~lin~0~0~1~1", "lasso~accuracy~flat~macs~lin~0~0~1~1~2~0"),
        "accuracy~0~1~" * 2000,
        None,
    ],
)
def test_what_is_no_brush_is_none(text):
    assert brush_of(text) is None


def test_a_box_holds_what_is_between_its_ends_and_not_what_lacks_a_number():
    brush = box({"latency_ms": (0.5, 0.2), "accuracy": (0.9, 1.0)})
    wanted = [t.latency_ms is not None and 0.2 <= t.latency_ms.p50 <= 0.5 and t.accuracy.value >= 0.9 for t in TRIALS]
    assert inside(TRIALS, brush).tolist() == wanted
    assert 0 < sum(wanted) < len(wanted)
    assert brush_words(brush) == "latency 0.200 to 0.500 ms, accuracy 90.00 to 100.00 %"


@pytest.mark.parametrize("key", ["accuracy", "size_bytes", "latency_ms", "energy_mj"])
def test_the_recipes_at_the_ends_of_a_range_stay_in_it_whatever_the_digits(key):
    values = TRIALS.numbers(key).value
    for value in values[np.isfinite(values)] * (1 / 3 + 2 / 3):
        found = inside(TRIALS, brush_of(brush_text(box({key: (value, value)}))))
        assert found[values == value].all()


@pytest.mark.parametrize("log", [False, True])
def test_a_loop_holds_what_is_within_as_angles_tell(log):
    trials = Trials.of(sweep_trials())
    x = trials.numbers("size_bytes").value / 1000
    x = np.log10(x) if log else x
    y = trials.numbers("accuracy").value * 100
    middle, wide, high = float(np.median(x)), np.ptp(x) / 3, np.ptp(y) / 3
    # A star, so that it is no convex loop.
    turns = [(math.pi * k / 6, 1.0 if k % 2 else 0.45) for k in range(12)]
    corners = [(middle + wide * r * math.cos(a), y.mean() + high * r * math.sin(a)) for a, r in turns]
    brush = loop("size_bytes", "accuracy", log, False, corners)
    # Winding number: seen from a point within, the corners go once round; from without, not at all.
    rounded = np.array(brush.lasso.corners)
    angles = [np.unwrap(np.arctan2(*(np.vstack([rounded, rounded[:1]]) - p).T[::-1])) for p in zip(x, y, strict=True)]
    wanted = [abs(a[-1] - a[0]) > math.pi for a in angles]
    assert inside(trials, brush).tolist() == wanted
    assert 0 < sum(wanted) < len(wanted)
    assert brush_words(brush) == "a loop over file size and accuracy"


def test_keeping_and_leaving_out_follow_each_other_and_what_lacks_a_number_is_not_left_out():
    fast, good = box({"latency_ms": (0.0, 0.4)}), box({"accuracy": (0.91, 1.0)})
    assert left_by(TRIALS, ()).all()
    kept = left_by(TRIALS, [Cut(True, good), Cut(False, fast)])
    assert kept.tolist() == (inside(TRIALS, good) & ~inside(TRIALS, fast)).tolist()
    assert left_by(TRIALS, [Cut(False, fast)])[-1]
    assert not left_by(TRIALS, [Cut(True, fast)])[-1]


def test_a_box_becomes_the_limits_of_its_worse_ends():
    limits = limits_of(box({"latency_ms": (0.2, 0.5), "accuracy": (0.9, 0.92)}))
    assert limits == {"latency_ms": 0.5, "accuracy": 0.9}
    within = within_limits(TRIALS, limits, "host")
    assert within[inside(TRIALS, box({"latency_ms": (0.0, 0.5), "accuracy": (0.9, 1.0)}))].all()


def test_a_loop_of_two_corners_or_too_many_is_none():
    assert loop("macs", "accuracy", False, False, [(0, 0), (1, 1)]) is None
    assert loop("macs", "accuracy", False, False, [(0, 0)] * (MOST_CORNERS + 1)) is None
    assert hash(box({"accuracy": (0, 1)})) == hash(Brush({"accuracy": (0.0, 1.0)}))
