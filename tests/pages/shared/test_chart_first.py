"""The first run of a page in a visit: its chart alone, and the rest as soon as that is drawn or at once where there is none."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from tests.helpers.pages import PATIENCE_S, enter, words
from tests.helpers.places import ROOT

pytestmark = pytest.mark.usefixtures("home")


def first_run(**params: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE_S)
    app.run().switch_page("pages/explore/page.py")
    app.query_params.update(params)
    app.run()
    assert not app.exception
    return app


def test_the_chart_comes_alone_without_its_table():
    enter()
    app = first_run()
    assert len(app.get("plotly_chart")) == 1
    assert not app.dataframe
    assert not [html for html in app.get("html") if "<td>" in html.proto.body]
    app.run()
    assert app.dataframe
    assert [html for html in app.get("html") if "<td>" in html.proto.body]


def test_where_a_filter_leaves_no_chart_the_rest_comes_at_once():
    enter()
    app = first_run(where="accuracy > 100")
    assert "None of the 24 measured recipes is left by the filter." in words(app)
    assert app.slider
