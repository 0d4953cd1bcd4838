"""Addresses are hostile input: whatever they say, the result is a view that can be shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.frontier.recommendation import View
from engine.metrics import METRICS
from pages.shared.explore_address import SHAPES, Chart, Explore, limit_name, parse, third_axis, to_params

OWN = ("sweep", "trial", "x", "y", "colour", "device", "chart", "z", "size", "metrics", "zoom")
NAMES = [*METRICS, *OWN, *(limit_name(k) for k in METRICS)]
VALUES = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from([*METRICS, "", "macs,macs"]), max_size=30).map(",".join),
    st.sampled_from(
        [*METRICS, *SHAPES, "host", "nan", "inf", "-1", "1e999", "0.5", "<script>", "../../etc/passwd", "x" * 5000]
    ),
    st.lists(
        st.one_of(st.sampled_from(["x", "y", "x2", "yaxis", "eye", "center", "up"]), st.floats().map(str)), max_size=20
    ).map("~".join),
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_any_address_gives_a_view_that_can_be_shown(params):
    view, chart = parse(params).view, parse(params).chart
    assert chart.shape in SHAPES
    assert chart.z is None or (chart.z in METRICS and chart.z not in (view.x, view.y))
    assert chart.size is None or chart.size in METRICS
    assert set(chart.metrics) <= set(METRICS)
    assert len(chart.metrics) == len(set(chart.metrics)) <= 8
    assert len(chart.metrics) != 1
    assert view.x in METRICS
    assert view.y in METRICS
    assert view.x != view.y
    assert view.colour is None or view.colour in METRICS
    assert set(view.limits) <= set(METRICS)
    assert all(math.isfinite(v) and (v >= 0 or METRICS[k].unit == "points") for k, v in view.limits.items())


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_an_address_that_was_read_is_written_and_read_the_same(params):
    once = parse(params)
    assert parse(to_params(once)) == parse(to_params(parse(to_params(once))))
    assert parse(to_params(once)).view.x == once.view.x


def test_every_part_of_a_view_survives_the_address():
    state = Explore(
        "a-sweep-123abc",
        "0123abcd",
        View("accuracy", "size_bytes", "energy_mj", "some-board", {"accuracy": 0.9, "size_bytes": 84_000.0}),
        Chart("3d", "macs", "flip_rate", ("accuracy", "kl", "size_bytes")),
        {
            "xaxis": [0.04, 0.12],
            "yaxis2": [-88.0, 93.25],
            "camera": {part: {"x": 1.3, "y": 0.75, "z": -0.12} for part in ("eye", "center", "up")},
        },
    )
    params = to_params(state)
    assert params["min_accuracy"] == "0.9"
    assert params["max_size_bytes"] == "84000"
    assert params["metrics"] == "accuracy,kl,size_bytes"
    assert params["zoom"] == "x~0.04~0.12~y2~-88~93.25" + "".join(
        f"~{p}~1.3~0.75~-0.12" for p in ("eye", "center", "up")
    )
    assert parse(params) == state


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x~1",
        "x~1~1",
        "x~1~2~3",
        "x~nan~1",
        "x~1~inf",
        "x~1e300~2",
        "1~2",
        "z~1~2",
        "x~a~b",
        "eye~1~2~3",
        "x~1~2" * 50,
    ],
)
def test_a_zoom_that_is_none_is_left_out(text):
    assert parse({"zoom": text}).zoom == {}


def test_what_of_a_zoom_makes_sense_is_kept():
    assert parse({"zoom": "x~1~2~y~3"}).zoom == {"xaxis": [1.0, 2.0]}


def test_defaults_are_left_out_of_the_address():
    assert to_params(Explore("s")) == {"sweep": "s"}


def test_an_axis_against_itself_becomes_the_other_default():
    assert parse({"y": "latency_ms"}).view.y == "accuracy"
    assert parse({"x": "accuracy"}).view.y == "latency_ms"
    assert parse({"x": "macs", "y": "macs"}).view.y == "accuracy"


def test_overlong_and_unprintable_names_are_dropped():
    assert parse({"sweep": "x" * 201, "trial": "a\x00b"}) == Explore()


def test_the_third_axis_is_another_one_and_its_default_is_left_out():
    assert third_axis(View()) == "size_bytes"
    assert third_axis(View("size_bytes", "latency_ms")) == "accuracy"
    assert parse({"z": "size_bytes"}).chart.z is None
    assert parse({"z": "accuracy"}).chart.z is None
    assert parse({"z": "macs"}).chart.z == "macs"


def test_more_metrics_than_fit_are_cut_and_one_is_none():
    assert len(parse({"metrics": ",".join(list(METRICS)[:12])}).chart.metrics) == 8
    assert parse({"metrics": "accuracy"}).chart.metrics == ()
    assert parse({"metrics": "accuracy,size_bytes," + "x" * 10_000}).chart.metrics == ()
