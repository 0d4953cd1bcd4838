"""Explore: the frontier, limits, and the recipe behind every point."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from engine.frontier.recommendation import View, choose
from engine.store.store import Store
from pages.shared import queries
from pages.shared.trial_table import constant
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.trial_factory import sweep_trials

pytestmark = pytest.mark.usefixtures("home")


def test_four_limits_are_offered_and_any_other_metric_on_request():
    enter()
    app = open_app()
    assert len(app.slider) == 4
    app = open_app(max_macs="5000000")
    assert [s.label for s in app.slider][4:] == ["MACs ≤"]
    assert address(app)["max_macs"] == "5000000"
    assert len(app.multiselect[0].value) == 1
    # What no recipe has is not offered.
    assert "Top-5 accuracy" not in app.multiselect[0].options
    assert "Parameters" in app.multiselect[0].options


def test_the_recommendation_says_how_sure_it_is():
    enter()
    assert "of redraws of the measurements" in words(open_app(max_size_bytes="60000"))


def test_explore_shows_the_newest_sweep_with_the_machine_that_measured_it():
    sweep = enter()
    app = open_app()
    assert "24 of 24 recipes measured on Test CPU, 2 cores, Linux, onnxruntime 1.32.0" in words(app)
    assert address(app)["sweep"] == sweep.id
    assert app.selectbox(key="pick x").value == "latency_ms"
    assert app.selectbox(key="pick y").value == "accuracy"


def test_a_sweep_without_latency_opens_on_what_was_measured():
    store, sweep = Store.open(), enter()
    for made in sweep_trials():
        store.save_trial(
            sweep.id, replace(made, latency_ms=None, latency_ratio=None, throughput_per_s=None, projections={})
        )
    app = open_app()
    assert app.selectbox(key="pick x").value == "size_bytes"
    assert app.selectbox(key="pick y").value == "accuracy"
    assert address(app)["x"] == "size_bytes"
    assert "**On the frontier**" in words(app)
    assert "Latency" not in app.selectbox(key="pick x").options
    # One that was timed opens as ever, and from there this one too is shown with what it has.
    timed = enter("timed")
    app = open_app(sweep=timed.id)
    assert app.selectbox(key="pick x").value == "latency_ms"
    app.selectbox(key="pick sweep").set_value(sweep.id).run()
    assert app.selectbox(key="pick x").value == "size_bytes"


def test_the_table_lists_every_measured_recipe_and_its_standing():
    enter(failed=2, pending=3)
    app = open_app()
    table = app.dataframe[0].value
    trials = [t for t in sweep_trials(failed=2, pending=3) if t.state == "done"]
    choice = choose(trials, View())
    ids = {t.label: t.id for t in trials}
    assert sorted(table["recipe"]) == sorted(ids)
    marks = list(table["marks"])
    on_front = [
        ids[label] for label, mark in zip(table["recipe"], marks, strict=True) if re.search(r"\bfrontier\b", mark)
    ]
    assert set(on_front) >= set(choice.front)
    # By standing, the best of each first, whatever the order of the plan.
    first = [t for t in trials if t.id in choice.front]
    assert list(table["recipe"][: len(first)]) == [t.label for t in sorted(first, key=lambda t: -t.accuracy.value)]
    assert all("frontier" not in mark for mark in marks[len(on_front) :])
    assert table["size_bytes"].tolist() == pytest.approx(
        [next(t.size_bytes for t in trials if t.label == label) / 1000 for label in table["recipe"]]
    )


def test_columns_that_say_the_same_of_all_are_hidden_until_asked_for():
    enter()
    app = open_app()
    shown = json.loads(app.dataframe[0].proto.columns)
    assert shown["provenance"] == {"hidden": True} or shown["provenance"]["hidden"]
    assert not shown["size_bytes"].get("hidden")
    made = pd.DataFrame({"recipe": ["a", "b"], "same": [1.0, 1.0], "half": [1.0, np.nan], "none": [np.nan, np.nan]})
    assert constant(made) == ["same", "none"]
    assert constant(made[:1]) == []


def test_failed_and_pending_recipes_are_listed_with_the_reason():
    enter(failed=2, pending=3)
    app = open_app()
    assert [e.label for e in app.expander] == ["2 recipes could not be made", "3 recipes not measured yet"]
    assert "layer conv1 would have 0 channels" in app.table[0].value["Reason"].iloc[0]


def test_limits_from_the_address_leave_fewer_recipes_and_name_the_best():
    enter()
    app = open_app(max_size_bytes="60000", min_accuracy="0.9")
    trials = sweep_trials()
    choice = choose(trials, View(limits={"size_bytes": 60_000, "accuracy": 0.9}))
    best = next(t for t in trials if t.id == choice.best)
    assert f"**{len(choice.kept)} of 24** recipes remain" in words(app)
    assert f"Best under your limits: **{best.label}**" in words(app)
    assert "The highest accuracy that remains" in words(app)


def test_a_limit_between_two_steps_of_the_slider_holds_as_it_was_asked_for():
    enter()
    app = open_app(max_size_bytes="61234.5")
    assert address(app)["max_size_bytes"] == "61234.5"
    slider = next(s for s in app.slider if s.label.startswith("File size"))
    target = slider.value - slider.step
    slider.set_value(target).run()
    assert float(address(app)["max_size_bytes"]) == pytest.approx(target * 1000)


def test_moving_a_limit_writes_it_into_the_address():
    sweep = enter()
    app = open_app()
    app.slider(key=f"max_size_bytes {sweep.id} host").set_value(60.0).run()
    assert float(address(app)["max_size_bytes"]) == pytest.approx(60_000)
    assert "recipes remain" in words(app)


def test_a_limit_that_nothing_keeps_says_what_to_do():
    enter()
    app = open_app(min_accuracy="0.999")
    assert "Loosen one" in words(app)


def test_a_trial_from_the_address_is_shown_with_recipe_numbers_and_ranges():
    enter()
    made = sweep_trials()[4]
    app = open_app(trial=made.id)
    assert "Remove whole channels until 25 % of the parameters are gone" in words(app)
    assert "Compute in integers" in words(app)
    tiles = {m.label: m.value for m in app.metric}
    assert tiles["Accuracy"] == f"{made.accuracy.value * 100:.2f} %"
    assert "Energy (est.)" in tiles
    links = {e.proto.label: e.proto.page for e in app.get("page_link")}
    assert {"**Everything about this recipe**", "What broke"} <= links.keys()
    # The table of all numbers is on the Trial page, where there is room for it.
    assert not app.table


def test_the_best_can_be_shown_by_its_button():
    enter()
    app = open_app(max_size_bytes="60000")
    next(b for b in app.button if b.label == "Show it").click().run()
    best = choose(sweep_trials(), View(limits={"size_bytes": 60_000})).best
    assert address(app)["trial"] == best


def test_giving_an_axis_the_others_metric_swaps_them():
    enter()
    app = open_app()
    app.selectbox(key="pick x").set_value("accuracy").run()
    assert app.selectbox(key="pick y").value == "latency_ms"
    assert address(app)["x"] == "accuracy"


@pytest.mark.parametrize(
    "params",
    [
        {"sweep": "../../etc/passwd"},
        {"x": "<script>", "y": "nan", "colour": "1;drop table", "device": "nowhere"},
        {"trial": "ffffffff", "min_accuracy": "-inf", "max_size_bytes": "1e999"},
        {"max_energy_mj": "0", "max_latency_ms": "0.0000001"},
    ],
)
def test_a_hostile_address_gives_a_page_that_works(params):
    sweep = enter()
    app = open_app(**params)
    assert app.selectbox(key="pick sweep").value == sweep.id
    assert not app.error


def test_an_unknown_sweep_or_trial_is_named():
    enter()
    assert "There is no sweep 'gone' here" in words(open_app(sweep="gone"))
    assert "no measured trial 'feedbeef'" in words(open_app(trial="feedbeef"))


def test_a_running_sweep_says_so_and_links_to_its_progress():
    enter(state="running", pending=20)
    assert "still running" in words(open_app())


def test_a_sweep_without_any_measured_recipe_says_what_to_do():
    sweep = enter(state="failed", pending=24)
    app = open_app(sweep=sweep.id)
    assert "the disk is full" in words(app)
    assert not app.dataframe


def test_a_home_that_cannot_be_written_is_one_clear_line(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("PARETOSCOPE_HOME", str(blocked / "home"))
    app = open_app()
    assert len(app.error) == 1
    assert "set PARETOSCOPE_HOME" in app.error[0].value.replace("\\", "")
    assert "Traceback" not in words(app)


def test_the_example_ships_and_explore_shows_it_to_a_new_user():
    app = open_app()
    assert "Example that ships with Paretoscope, really run" in words(app)
    assert len(app.dataframe[0].value) >= 6


def test_a_device_that_the_sweep_did_not_ask_for_is_estimated_on_the_spot():
    store, device = Store.open(), "gap9-ne16"
    example = store.sweep("latest").id
    assert not any(device in t.projections for t in store.trials(example))
    app = open_app(device=device)
    assert address(app)["device"] == device
    chart = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert "estimated" in chart["layout"]["xaxis"]["title"]["text"]
    fitting = {t.id for t in queries.on_devices(store.sweep(example), (device,)) if t.projections[device].fits}
    drawn = {owner[0] for trace in chart["data"] for owner in trace.get("customdata", ())}
    assert drawn == fitting
    assert 0 < len(fitting) < 24
