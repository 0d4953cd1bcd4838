"""What broke, and Devices: what they say of stored predictions and of the shipped example, and what they say where there is nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from engine.datasets.dataset import load_fashion_mnist
from engine.devices.profiles import own_folder, own_profiles
from engine.errors import SpecError
from engine.quality.predictions import from_scores
from engine.spec.sweep import load_plain_yaml, parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.trial_factory import SPACE, sweep_trials, trial
from tests.pages.test_pages import address, enter, open_app, words

pytestmark = pytest.mark.usefixtures("home")
TRIALS = sweep_trials()


def test_what_broke_counts_flips_and_shows_the_harmful_images_first(tmp_path):
    labels = load_fashion_mnist().test.labels
    artifacts, store, made = Artifacts.open(), Store.open(), []
    for number, wrong in enumerate((100, 130)):
        scores = np.eye(10)[labels] * 4
        scores[:wrong] = np.roll(scores[:wrong], 1, axis=1)
        name, source = f"{number:064x}.npz", tmp_path / "new.npz"
        from_scores(scores, labels).save(source)
        artifacts.put(name, source)
        made.append(trial(TRIALS[number].recipe, accuracy=1 - wrong / 10_000, predictions=name))
    sweep = parse_sweep({"name": "answers", "model": {"source": "resnet8"}, "space": SPACE})
    store.begin(sweep, made, 1, 1)
    store.end(sweep.id, "done")
    app = open_app("what_broke", sweep=sweep.id, trial=made[1].id)
    tiles = {m.label: m.value for m in app.metric}
    assert (tiles["Flips"], tiles["Harmful"], tiles["Helpful"]) == ("30", "30", "0")
    assert address(app)["trial"] == made[1].id
    assert words(app).count("true: **") == 12
    first = load_fashion_mnist().classes[labels[100]]
    assert f"true: **{first}**" in words(app)


def test_without_stored_predictions_it_says_what_to_do():
    enter()
    assert "run the sweep again to see what it broke" in words(open_app("what_broke"))


@pytest.mark.parametrize("page", ["what_broke", "devices"])
def test_hostile_addresses_show_a_page_all_the_same(page):
    enter()
    app = open_app(page, sweep="../../etc", trial="<script>")
    assert app.selectbox


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
    assert app.multiselect(key="devices shown").value[0] == "snapdragon-8-gen-3-sensing-hub"
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


def test_what_may_break_is_limited_here_and_carried_to_explore():
    app = open_app("what_broke")
    boxes = {n.label: n for n in app.number_input}
    assert {"Flips ≤ (%)", "Harmful flips ≤ (%)", "Worst class drop ≤ (points)"} <= set(boxes)
    kept, total = map(int, re.search(r"(\d+) of (\d+) recipes break no more", words(app)).groups())
    assert 2 <= kept < total
    boxes["Flips ≤ (%)"].set_value(100.0)
    boxes["Harmful flips ≤ (%)"].set_value(100.0)
    boxes["Worst class drop ≤ (points)"].set_value(100.0).run()
    assert f"{total} of {total} recipes break no more" in words(app)


def test_all_devices_can_be_cleared_and_chosen_again():
    app = open_app("devices")
    app.multiselect(key="devices shown").set_value([]).run()
    assert "Choose a device above" in words(app)
    app.run()
    assert not app.exception
    app.multiselect(key="devices shown").set_value(["gap9-ne16"]).run()
    assert app.dataframe


@pytest.mark.parametrize("text", ["a: &a [1]\nb: *a", "[" * 5000])
def test_a_profile_that_refers_to_itself_or_is_nested_deep_is_refused(text):
    with pytest.raises(SpecError, match=r"refers to another place|nested more than"):
        load_plain_yaml(text, "the file")
