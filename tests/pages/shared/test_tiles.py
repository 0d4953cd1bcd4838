"""Tiles: a minus sign, and a colour and an arrow that say what it means."""

from streamlit.proto.Metric_pb2 import Metric
from streamlit.testing.v1 import AppTest


def page():
    from pages.shared.tiles import tile

    tile("Accuracy", "92.97 %", "-0.02 points", higher_is_better=True)
    tile("Accuracy", "92.97 %", "-0.02 points", higher_is_better=True, is_tied=True)
    tile("File size", "85.5 kB", "-73 %", higher_is_better=False)
    tile("File size", "90.0 kB", "+3 %", higher_is_better=False)
    tile("Agreement", "100.00 %", "+0.00 points", higher_is_better=True)
    tile("File size", "285 kB", "-0 %", higher_is_better=False)
    tile("Own", "-0.5 K", None, higher_is_better=True)


def test_changes_have_a_minus_sign_and_the_colour_of_what_they_mean():
    app = AppTest.from_function(page).run()
    assert not app.exception
    told = [
        (m.value, m.delta, Metric.MetricColor.Name(m.proto.color), Metric.MetricDirection.Name(m.proto.direction))
        for m in app.metric
    ]
    assert told == [
        ("92.97 %", "−0.02 points", "RED", "DOWN"),
        ("92.97 %", "−0.02 points", "GRAY", "DOWN"),
        ("85.5 kB", "−73 %", "GREEN", "DOWN"),
        ("90.0 kB", "+3 %", "RED", "UP"),
        ("100.00 %", "0.00 points", "GRAY", "NONE"),
        ("285 kB", "0 %", "GRAY", "NONE"),
        ("−0.5 K", "", "GRAY", "NONE"),
    ]
