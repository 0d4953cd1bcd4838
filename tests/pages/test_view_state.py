"""Addresses are hostile input: whatever they say, the result is a view that can be shown."""

import math

from hypothesis import given
from hypothesis import strategies as st

from engine.choice import View
from engine.record import METRICS
from pages.ui.state import SHAPES, Chart, Explore, limit_name, parse, third_axis, to_params

OWN = ("sweep", "trial", "x", "y", "colour", "device", "chart", "z", "size", "metrics")
NAMES = [*METRICS, *OWN, *(limit_name(k) for k in METRICS)]
VALUES = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from([*METRICS, "", "macs,macs"]), max_size=30).map(",".join),
    st.sampled_from(
        [*METRICS, *SHAPES, "host", "nan", "inf", "-1", "1e999", "0.5", "<script>", "../../etc/passwd", "x" * 5000]
    ),
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
    )
    params = to_params(state)
    assert params["min_accuracy"] == "0.9"
    assert params["max_size_bytes"] == "84000"
    assert params["metrics"] == "accuracy,kl,size_bytes"
    assert parse(params) == state


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
