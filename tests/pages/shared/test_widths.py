"""What the pages show where the screen is narrow."""

from __future__ import annotations

import pytest

from pages.shared import widths
from tests.helpers.pages import enter, open_app, words

pytestmark = pytest.mark.usefixtures("home")


def test_a_narrow_screen_is_given_the_columns_that_it_has_room_for():
    enter()
    app = open_app("explore")
    table = app.dataframe[0].proto
    assert list(table.column_order) == []
    assert table.row_height == 0
    app.session_state[widths._NARROW] = True
    app.run()
    assert not app.exception
    table = app.dataframe[0].proto
    assert list(table.column_order) == ["recipe", "accuracy", "latency_ms"]
    # Streamlit wraps a name in rows higher than this.
    assert table.row_height > 64
    assert "**Columns** has the others" in words(app)
