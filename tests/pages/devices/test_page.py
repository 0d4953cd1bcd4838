"""Devices: what it says of the shipped example, of scenarios and of profiles of the user's own."""

from __future__ import annotations

import pytest

from engine.devices.profiles import all_profiles, own_folder, own_profiles
from engine.errors import SpecError
from engine.spec.read import load_plain_yaml
from tests.helpers.pages import address, open_app, words

pytestmark = pytest.mark.usefixtures("home")


def test_the_example_is_projected_onto_devices_with_what_that_rests_on():
    app = open_app("devices")
    best = app.dataframe[0].value
    assert "stm32h7a3-xcubeai" in best["Device"].tolist()
    assert best.set_index("Device").loc["stm32h7a3-xcubeai", "Latency"].endswith("ms, estimated")
    bound = best.set_index("Device").loc["raspberry-pi-5", "Latency"]
    assert bound.startswith("≥")
    assert "a bound" in bound


def test_a_scenario_brings_its_assumptions_and_its_fleet():
    app = open_app("devices")
    app.selectbox(key="devices scenario").select("medical-imager").run()
    assert "Assumed: a microcontroller inside the probe" in words(app)
    assert "The whole fleet" in words(app)
    assert list(app.table[0].value.columns) == ["This recipe", "Baseline"]


def test_a_scenario_sets_devices_and_limits_in_one_go_and_the_address_keeps_them():
    app = open_app("devices")
    app.selectbox(key="devices scenario").select("smartphone-feature").run()
    assert app.session_state["devices shown"][0] == "snapdragon-8-gen-3-sensing-hub"
    assert "accuracy ≥ 85.00 %, latency ≤ 10.0 ms" in words(app)
    kept = address(app)
    again = open_app("devices", **kept)
    assert again.selectbox(key="devices scenario").value == "smartphone-feature"
    assert address(again) == kept


def test_limits_from_explore_hold_and_can_be_dropped():
    app = open_app("devices", max_size_bytes="30000")
    assert "file size ≤ 30.0 kB" in words(app)
    assert app.dataframe[0].value["File size"].str.startswith("–").sum() < len(app.dataframe[0].value)
    assert not (app.dataframe[0].value["Best recipe"] == "int8").any()
    next(b for b in app.button if b.label == "Drop them").click().run()
    assert "**Limits**: none" in words(app)
    assert "max_size_bytes" not in address(app)


def test_the_frontier_is_drawn_for_one_of_the_devices():
    app = open_app("devices")
    app.selectbox(key="devices one").select("stm32l4r5-xcubeai").run()
    assert "recipes do not fit stm32l4r5-xcubeai" in words(app)


def test_a_chip_on_paper_is_checked_before_it_is_kept_and_can_be_removed():
    app = open_app("devices")
    press = "Check and keep it"
    next(t for t in app.text_input if t.label == "Name").set_value("../../evil")
    next(b for b in app.button if b.label == press).click().run()
    assert any("cannot be a profile's" in e.value for e in app.error)
    assert not own_folder().exists()
    app = open_app("devices")
    next(b for b in app.button if b.label == press).click().run()
    kept = own_profiles()["my-chip"]
    assert kept.basis == "design"
    assert kept.peak_gops[8] == 25.6
    app.run()
    next(b for b in app.button if b.label == "Remove").click().run()
    assert not own_profiles()


def test_all_devices_can_be_cleared_and_chosen_again():
    app = open_app("devices")
    app.button(key="devices shown clear").click().run()
    assert "Choose a device above" in words(app)
    app.run()
    assert not app.exception
    app.pills(key="devices shown kind").set_value("accelerator").run()
    app.pills(key="devices shown of accelerator").set_value(["gap9-ne16", "ndp120"]).run()
    assert app.session_state["devices shown"] == ["gap9-ne16", "ndp120"]
    # What is chosen of one kind stays while another is looked at.
    app.pills(key="devices shown kind").set_value("host").run()
    app.pills(key="devices shown of host").set_value(["host"]).run()
    assert address(app)["devices"] == "gap9-ne16,ndp120,host"
    assert app.dataframe


def test_no_more_devices_are_chosen_than_a_chart_has_room_for():
    app = open_app("devices")
    app.pills(key="devices shown kind").set_value("microcontroller").run()
    names = [name for name, profile in all_profiles().items() if profile.device_class == "microcontroller"]
    app.pills(key="devices shown of microcontroller").set_value(names).run()
    assert len(app.session_state["devices shown"]) == 12
    assert "That is the most" in words(app)


def test_recipes_are_put_in_the_order_that_is_asked_for():
    app = open_app("devices")
    box = app.selectbox(key="devices order")
    assert box.options[:2] == ["by family", "as planned"]
    box.set_value("host").run()
    assert not app.exception
    assert "Grey: does not fit" in words(app)


@pytest.mark.parametrize("text", ["a: &a [1]\nb: *a", "[" * 5000])
def test_a_profile_that_refers_to_itself_or_is_nested_deep_is_refused(text):
    with pytest.raises(SpecError, match=r"refers to another place|nested more than"):
        load_plain_yaml(text, "the file")
