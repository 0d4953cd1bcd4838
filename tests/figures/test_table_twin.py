"""The table beside a chart has the chart's own numbers, and is safe to put into a page."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.basedatatypes import BasePlotlyType

from engine.figures.frontier import frontier_figure
from engine.figures.frontier_info import frontier_info
from engine.figures.table_twin import MOST_ROWS, Twin, table_twin, twin_html
from engine.figures.trial_bars import parts_figure, size_types
from engine.figures.trial_recall import recall_figure, recall_info
from engine.figures.what_broke import confusion_figure
from engine.frontier.recommendation import View
from engine.metrics import shown
from tests.helpers.trial_factory import sweep_trials, trial


def records(twin: Twin) -> list[dict[str, str]]:
    return [dict(zip(twin.columns, row, strict=True)) for row in twin.rows]


def test_every_point_of_a_frontier_is_a_row_with_its_numbers_the_frontier_first():
    trials = sweep_trials()
    info = frontier_info(trials, View())
    found = records(table_twin(frontier_figure(info)))
    assert found[0]["Series"] == "frontier"
    on_front = [r for r in found if r["Series"] == "frontier"]
    assert len(on_front) == len(info.choice.front)
    x = next(c for c in found[0] if c.startswith("← better, Latency"))
    y = next(c for c in found[0] if c.startswith("Accuracy"))
    wanted = {(t.latency_ms.p50, shown("accuracy", t.accuracy.value)) for t in trials if t.id in info.choice.front}
    said = {(float(r[x]), float(r[y])) for r in on_front}
    assert all(
        any(math.isclose(a, c, rel_tol=1e-5) and math.isclose(b, d, rel_tol=1e-5) for c, d in said) for a, b in wanted
    )
    assert all(r["In words"] for r in on_front)


def test_bars_intervals_and_cells_are_there_by_name():
    classes = ["a<b>", "b & c"]
    recall = records(table_twin(recall_figure(recall_info([0.5, 0.9], None, [40, 40], classes))))
    assert {r["Name"] for r in recall} == {"a<b>", "b & c"}
    assert all(float(r["Recall (%), from"]) < float(r["Recall (%)"]) < float(r["Recall (%), to"]) for r in recall)
    parts = trial(size_parts={"weights": 80_000, "scales": 15_000, "graph": 5_000}, size_bytes=100_000)
    bars = records(table_twin(parts_figure(size_types(parts))))
    assert ("weights", "80") in {(r["Name"], r["kB"]) for r in bars}
    assert "80,000 bytes, 80.0 %" in bars[0]["In words"]
    change = np.array([[0, 3], [-2, 0]])
    cells = records(table_twin(confusion_figure(change, classes)))
    assert next(r["b & c"] for r in cells) == "+3"


def test_of_many_points_the_first_are_listed_and_the_rest_are_counted():
    figure = go.Figure(go.Scatter(x=np.arange(1000), y=np.arange(1000) / 3))
    twin = table_twin(figure)
    assert (len(twin.rows), twin.left_out) == (MOST_ROWS, 800)
    assert "800 more are not listed" in twin_html(twin, "Numbers.")
    assert table_twin(figure, 5).rows[4] == ("4", "1.33333")


def test_a_value_between_the_ticks_of_a_logarithmic_axis_is_not_rounded_to_one():
    figure = go.Figure(go.Scatter(x=[9.51, 20.4], y=[1, 2]))
    figure.update_xaxes(type="log", tickvals=[10, 20, 50], ticktext=["10", "20", "50"])
    assert [r["Name"] for r in records(table_twin(figure))] == ["9.51", "20.4"]


def test_plotly_is_asked_as_often_for_many_points_as_for_few(monkeypatch):
    asked: list[object] = []
    look_up = BasePlotlyType.__getitem__
    monkeypatch.setattr(BasePlotlyType, "__getitem__", lambda self, name: asked.append(name) or look_up(self, name))

    def count(points: int) -> int:
        # An axis with names and texts of the points' own: whatever is looked up for each point would be.
        figure = go.Figure(go.Scatter(x=np.arange(points), y=np.arange(points), customdata=np.arange(points)))
        figure.update_traces(hovertemplate="%{customdata[0]} at %{x}", error_y={"array": np.ones(points)})
        figure.update_xaxes(tickvals=[0, 1], ticktext=["a", "b"])
        asked.clear()
        table_twin(figure)
        return len(asked)

    assert count(1_000) == count(10)


def test_gaps_guides_and_nothing_at_all():
    figure = go.Figure(go.Scatter(x=[1, None, math.nan, 4], y=[1.0, 2.0, 3.0, 4.0]))
    figure.add_trace(go.Scatter(x=[0, 9], y=[0, 9], hoverinfo="skip"))
    assert table_twin(figure).rows == (("1", "1"), ("4", "4"))
    assert twin_html(table_twin(go.Figure()), "Numbers.") == ""


def test_what_users_named_is_escaped():
    figure = go.Figure(go.Bar(x=["&lt;script&gt;alert(1)&lt;/script&gt;"], y=[1]))
    made = twin_html(table_twin(figure), "<i>Numbers</i>")
    assert "<script>" not in made
    assert "<i>" not in made
    assert "&lt;script&gt;" in made
