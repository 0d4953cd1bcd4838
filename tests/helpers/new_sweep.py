"""The form of a new sweep, filled in and read."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.helpers.pages import open_app


def tiles(app: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in app.metric}


def press(app: AppTest, label: str) -> AppTest:
    return next(b for b in app.button if b.label == label).click().run()


def turn_to(app: AppTest, side: str) -> AppTest:
    app.segmented_control(key="form shown as").set_value(side).run()
    assert not app.exception
    return app


def typed(text: str) -> AppTest:
    app = turn_to(open_app("new_sweep"), "As YAML")
    app.text_area(key="form text").set_value(text).run()
    assert not app.exception
    return app


def errors(app: AppTest) -> list[str]:
    return [e.value.replace("\\", "") for e in app.error]


def search_boxes(app: AppTest) -> list:
    return [box for box in app.selectbox if box.key == "form search method"]
