"""What every chart of the pages has: words, and a table beside it."""

from __future__ import annotations

import json

from streamlit.testing.v1 import AppTest

from tests.helpers.places import ROOT


def test_no_page_draws_a_chart_without_its_table():
    drawn = [path for path in (ROOT / "pages").rglob("*.py") if "st.plotly_chart(" in path.read_text()]
    assert [path.name for path in drawn] == ["plots.py"]


def test_the_table_beside_a_chart_has_its_numbers_and_no_markup_of_users():
    def script():
        import plotly.graph_objects as go

        from pages.shared import plots

        figure = go.Figure(go.Bar(x=["<b>bold</b>", "b"], y=[1.5, 2.25]))
        plots.draw(figure, key="one", alt="Two bars")
        plots.draw(go.Figure(), key="none", alt="Nothing")

    app = AppTest.from_function(script, default_timeout=60).run()
    assert not app.exception
    (table,) = [found.proto.body for found in app.get("html")]
    assert "<td>2.25</td>" in table
    assert "<b>" not in table


def test_a_legend_above_a_chart_keeps_clear_of_the_toolbar():
    def script():
        import plotly.graph_objects as go

        from pages.shared import plots

        for height in (200, 450):
            figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name="a"))
            above = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
            figure.update_layout(height=height, margin={"t": 10}, legend=above)
            plots.draw(figure, key=f"above {height}", alt="Two marks")
        plots.draw(go.Figure(go.Bar(y=[1])), key="none", alt="One bar")

    app = AppTest.from_function(script, default_timeout=60).run()
    assert not app.exception
    low, high, none = (json.loads(found.proto.spec)["layout"] for found in app.get("plotly_chart"))
    for layout in (low, high):
        # Plotly's buttons end 28 pixels below the top; an entry of the legend begins 5 below the legend's own edge.
        begins = (1 - layout["legend"]["y"]) * layout["height"]
        assert layout["legend"]["yref"] == "container"
        assert 23 <= begins <= 28
        assert layout["margin"]["t"] >= begins + 29
    assert "legend" not in none
