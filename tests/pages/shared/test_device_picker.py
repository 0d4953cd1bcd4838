"""Devices by kind: every shipped profile has one, and what is of no kind is offered all the same."""

from __future__ import annotations

from dataclasses import replace

from streamlit.testing.v1 import AppTest

from engine.devices.profiles import find_profile, shipped_profiles
from pages.shared.device_picker import KINDS, kinds_of


def test_every_shipped_profile_is_of_a_kind_and_offered_once():
    profiles = shipped_profiles()
    found = kinds_of(profiles, profiles)
    assert sorted(name for names in found.values() for name in names) == sorted(profiles)
    assert "" not in found
    assert list(found) == [kind for kind in KINDS if kind in found]
    assert "raspberry-pi-5" in found["application"]


def test_what_is_of_no_kind_is_an_other_device():
    odd = replace(find_profile("raspberry-pi-5"), name="toaster", device_class="kitchen")
    found = kinds_of(["host", "toaster", "a board of mine"], {"toaster": odd})
    assert found == {"host": ["host"], "": ["toaster", "a board of mine"]}


def test_one_device_is_taken_and_stays_when_it_is_pressed_again():
    def script():
        import streamlit as st

        from pages.shared import device_picker

        st.session_state.setdefault("where", "host")
        st.write(device_picker.pick_one(["host", "raspberry-pi-5", "mine*"], "where", "help"))

    app = AppTest.from_function(script, default_timeout=60).run()
    app.pills(key="where kind").set_value("").run()
    app.pills(key="where of ").set_value("mine*").run()
    assert app.session_state["where"] == "mine*"
    app.pills(key="where of ").set_value(None).run()
    assert app.session_state["where"] == "mine*"
    assert not app.exception
