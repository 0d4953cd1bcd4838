"""What of an address is news: a link and the Back button are, an address that the page itself has just replaced is not."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from pages.shared import address


def page() -> None:
    import streamlit as st

    from pages.shared import address

    params, news = address.read("page", {"trial"})
    if news:
        st.session_state["trial"] = params.get("trial", "none")

    def choose() -> None:
        st.session_state["trial"] = "chosen"

    st.button("Choose", on_click=choose)
    address.write("page", {"trial": st.session_state["trial"]}, {"trial"})
    st.write(st.session_state["trial"])


def opened(**params: str) -> AppTest:
    app = AppTest.from_function(page)
    for name, value in params.items():
        app.query_params[name] = value
    return app.run()


def shown(app: AppTest) -> str:
    return app.markdown[0].value


def test_a_link_is_news_and_what_belongs_to_others_is_left_alone():
    app = opened(trial="a", theme="dark")
    assert shown(app) == "a"
    app.query_params["trial"] = "b"
    assert shown(app.run()) == "b"
    assert app.query_params["theme"] == "dark"


def test_a_click_faster_than_the_address_undoes_nothing():
    app = opened(trial="a")
    app.button[0].click().run()
    # The browser has not heard yet: what it sends next comes with the address of before.
    app.query_params["trial"] = "a"
    assert shown(app.run()) == "chosen"
    assert app.query_params["trial"] == "chosen"


def test_back_is_news_once_the_address_has_arrived(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(address, "ON_ITS_WAY_S", 0.0)
    app = opened(trial="a")
    app.button[0].click().run()
    app.query_params["trial"] = "a"
    assert shown(app.run()) == "a"


def test_a_part_of_the_address_is_changed_alone():
    def amending() -> None:
        import streamlit as st

        from pages.shared import address

        params, news = address.read("page")
        st.write(f"{params.get('zoom')} {news}")
        address.write("page", params)
        st.button("In", on_click=lambda: address.amend("page", {"zoom": "x~1~2"}))
        st.button("Out", on_click=lambda: address.amend("page", {"zoom": None}))

    app = AppTest.from_function(amending)
    app.query_params["trial"] = "a"
    app.run()
    app.button[0].click().run()
    assert shown(app) == "x~1~2 False"
    assert dict(app.query_params) == {"trial": "a", "zoom": "x~1~2"}
    app.button[1].click().run()
    assert dict(app.query_params) == {"trial": "a"}
