"""What a browser says was dragged, which may be anything, and where a brush is seen in a chart."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.figures.many_metrics_info import Axis
from engine.frontier.brush import Brush, box, brush_of, brush_text
from pages.explore.brush import Pane, dragged, outlines

ACCURACY = Axis("accuracy", "Accuracy (%)", True, 80.0, 95.0)
SIZE = Axis("size_bytes", "File size (kB)", False, 1.0, 1000.0)
AXES = (ACCURACY, SIZE)
PANES = {"xy": Pane("size_bytes", "accuracy", True, False), "x2y2": Pane("latency_ms", "accuracy", False, False)}
NUMBERS = st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=3), st.booleans())
PLACES = st.one_of(st.lists(NUMBERS, max_size=3), st.none(), st.text(max_size=3))
RAW = st.fixed_dictionaries(
    {},
    optional={
        "subplot": st.sampled_from(["xy", "x2y2", "x9y9", None, 3]),
        "row": st.one_of(st.integers(-2, 3), st.floats(), st.none()),
        "none": st.sampled_from([True, False, None, "yes"]),
        "x": PLACES,
        "y": PLACES,
        "corners": st.one_of(st.lists(PLACES, max_size=30), st.none(), st.text(max_size=3)),
    },
)


@given(RAW, st.booleans(), st.sampled_from([None, box({"accuracy": (0.8, 0.9)})]))
def test_whatever_a_browser_says_the_brush_fits_into_an_address(raw, parallel, before):
    found = dragged(raw, {} if parallel else PANES, AXES if parallel else (), before)
    assert found is None or brush_of(brush_text(found)) == found
    assert all(math.isfinite(v) for r in (found.ranges.values() if found else ()) for v in r)


def test_ranges_of_several_parallel_axes_add_up_and_one_is_taken_off_again():
    # The first axis is the uppermost; more accurate is to the right, and so is smaller.
    one = dragged({"row": 1, "x": [0.2, 0.6]}, {}, AXES, None)
    assert one == box({"accuracy": (0.83, 0.89)})
    both = dragged({"row": 0, "x": [1.4, 0.0]}, {}, AXES, one)
    assert both == Brush({**one.ranges, "size_bytes": (1000.0, 1_000_000.0)})
    assert dragged({"row": 0, "x": [0.5, 1.0]}, {}, AXES, both).ranges["size_bytes"] == pytest.approx((1000, 31622.8))
    assert dragged({"row": 1, "none": True}, {}, AXES, both) == box({"size_bytes": (1000, 1_000_000)})
    assert dragged({"row": 1, "none": True}, {}, AXES, one) is None


def test_a_box_and_a_loop_in_a_pane_are_in_its_two_metrics_and_take_the_brushs_place():
    before = box({"energy_mj": (1, 2)})
    # Kilobytes on a logarithmic axis.
    assert dragged({"subplot": "xy", "x": [1.0, 2.0], "y": [92.0, 90.0]}, PANES, (), before) == box(
        {"size_bytes": (10_000, 100_000), "accuracy": (0.9, 0.92)}
    )
    corners = [[1.0, 90.0], [2.0, 90.0], [2.0, 92.0]]
    looped = dragged({"subplot": "xy", "corners": corners}, PANES, (), before)
    assert looped.ranges == {}
    assert (looped.lasso.x, looped.lasso.log_x, looped.lasso.corners) == (
        "size_bytes",
        True,
        tuple(map(tuple, corners)),
    )
    assert dragged({"subplot": "xy", "none": True}, PANES, (), looped) is None
    assert dragged({"subplot": "x9y9", "x": [1, 2], "y": [1, 2]}, PANES, (), looped) == looped


def test_a_brush_is_outlined_where_it_was_dragged():
    brush = dragged({"row": 0, "x": [0.25, 0.5]}, {}, AXES, box({"accuracy": (0.83, 0.89)}))
    bands = {band["row"]: band["x"] for band in outlines(brush, {}, AXES)}
    assert bands[1] == pytest.approx([0.2, 0.6])
    assert bands[0] == pytest.approx([0.25, 0.5], abs=1e-5)
    # In a pane of one of the metrics it is a band from edge to edge.
    shapes = {s["subplot"]: s for s in outlines(brush, PANES, ())}
    assert shapes["x2y2"]["x"] is None
    assert shapes["x2y2"]["y"] == pytest.approx([83, 89])
    # A loop is drawn in its own pane alone, on axes of the kind that it was drawn on.
    looped = dragged({"subplot": "xy", "corners": [[1, 90], [2, 90], [2, 92]]}, PANES, (), None)
    assert [s["subplot"] for s in outlines(looped, PANES, AXES)] == ["xy"]
    assert outlines(looped, {"xy": Pane("size_bytes", "accuracy", False, False)}, ()) == []
