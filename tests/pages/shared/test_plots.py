"""What every chart of the pages has: words, and a table beside it."""

from __future__ import annotations

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
