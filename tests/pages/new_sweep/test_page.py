"""The page of a new sweep: presets, the text beside the form, fields that stay, and deleting."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from engine.errors import AccessError
from engine.paths import spec_path
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from pages.shared import runner
from tests.helpers.new_sweep import errors, press, search_boxes, tiles, typed
from tests.helpers.pages import enter, open_app, words
from tests.helpers.places import ROOT
from tests.helpers.trial_factory import sweep_trials

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize(
    ("preset", "recipes"), [("First look", "24"), ("int8 only", "7"), ("Microcontroller", "17"), ("GPU server", "36")]
)
def test_a_preset_fills_the_form_in_and_the_model_stays(preset, recipes):
    app = open_app("new_sweep")
    app.selectbox(key="form model").set_value("resnet20").run()
    press(app, preset)
    assert app.selectbox(key="form model").value == "resnet20"
    assert tiles(app)["Recipes"] == recipes
    assert f"About {recipes} recipes" in words(app)
    assert "source: resnet20" in app.code[0].value
    assert not errors(app)


def test_a_scenario_sets_device_limits_and_data_and_says_what_is_assumed():
    app = open_app("new_sweep")
    before = tiles(app)["Recipes"]
    press(app, "Handheld medical imager")
    said = words(app)
    assert "20,000 images a day on each of 2,000 devices" in said
    assert "medmnist:pathmnist" in said
    assert "not installed: uses the built-in data" in said
    assert tiles(app)["Recipes"] == before
    assert app.multiselect(key="form profiles").value == ["host", "stm32h7a3-xcubeai"]
    assert app.number_input(key="form limit accuracy").value == 90
    assert app.number_input(key="form limit size_bytes").value == 500
    assert app.number_input(key="form limit energy_mj").value is None
    assert "limits: {accuracy: 0.9, latency_ms: 100.0, size_bytes: 500000.0}" in app.code[0].value


def test_a_finished_sweep_opens_with_the_limits_that_it_was_for():
    sweep = enter()
    other = sweep.model_dump(mode="json") | {
        "name": "for a board",
        "target": {"device": "stm32h7a3-xcubeai", "limits": {"accuracy": 0.9, "latency_ms": 33.3}},
    }
    store, aimed = Store.open(), parse_sweep(other)
    store.begin(aimed, sweep_trials(), 110, 110)
    store.end(aimed.id, "done")
    app = open_app("new_sweep", run=aimed.id)
    link = next(p for p in app.get("page_link") if p.proto.label == "Explore its frontier")
    for part in ("device=stm32h7a3-xcubeai", "min_accuracy=0.9", "max_latency_ms=33.3"):
        assert part in link.proto.query_string


def test_every_box_keeps_its_value_over_a_visit_to_another_page():
    app = open_app("new_sweep")
    app.pills(key="form channels").set_value([0.5]).run()
    app.pills(key="form run batches").set_value([8]).run()
    app.number_input(key="form replicates").set_value(2).run()
    app.multiselect(key="form profiles").set_value(["host", "nvidia-t4"]).run()
    app.number_input(key="form limit latency_ms").set_value(12.5).run()
    app.text_input(key="form name").set_value("kept").run()
    boxes = ("selectbox", "pills", "number_input", "multiselect", "text_input", "checkbox", "segmented_control")

    def state() -> dict[str, object]:
        return {e.key: e.value for kind in boxes for e in getattr(app, kind) if str(e.key).startswith("form")}

    before, counted = state(), tiles(app)
    assert len(before) > 40
    app.switch_page("pages/overview/page.py").run()
    app.switch_page("pages/new_sweep/page.py").run().run()
    assert state() == before
    assert tiles(app) == counted


def test_series_are_chosen_with_a_network_that_reads_them():
    app = open_app("new_sweep")
    app.selectbox(key="form data").set_value("pen_digits").run()
    assert any("is for data fashion_mnist, not pen_digits; choose series_transformer" in e for e in errors(app))
    app.selectbox(key="form model").set_value("series_transformer").run()
    assert errors(app) == []
    assert app.pills(key="form students").options == []
    press(app, "First look")
    assert errors(app) == []
    assert "source: series_transformer" in app.code[0].value
    assert "ds_cnn" not in app.code[0].value


def test_every_box_says_what_it_is_for():
    app = open_app("new_sweep")
    for kind in ("selectbox", "pills", "number_input", "multiselect", "text_input", "checkbox", "segmented_control"):
        silent = [e.label for e in getattr(app, kind) if not e.help]
        assert silent == [], kind


def test_the_figures_are_those_of_the_command_line(tmp_path):
    app = press(open_app("new_sweep"), "Microcontroller")
    app.number_input(key="form replicates").set_value(2).run()
    spec = tmp_path / "spec.yaml"
    spec.write_text(app.code[0].value)
    command = [sys.executable, "-m", "engine.cli", "plan", str(spec), "--json"]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True)
    plan = json.loads(done.stdout)
    assert tiles(app)["Recipes"] == str(plan["recipes"])
    assert tiles(app)["Nodes"] == str(plan["unique_nodes"])
    assert f"{plan['naive_nodes']:,} nodes" in words(app)
    assert f"{plan['naive_nodes'] - plan['unique_nodes']:,} are shared" in words(app)


def test_profiles_are_named_for_people_and_found_by_kind():
    app = open_app("new_sweep")
    options = app.multiselect(key="form profiles").options
    assert options[0] == "This machine"
    assert "Microcontroller · STMicroelectronics NUCLEO-H7A3ZI-Q · X-CUBE-AI 9, int8 · fitted" in options
    assert "GPU · NVIDIA T4 · GPU · datasheet" in options
    kinds = [o.partition(" · ")[0] for o in options]
    assert len(set(kinds)) == sum(a != b for a, b in zip(["", *kinds], kinds, strict=False))
    app.multiselect(key="form profiles").set_value(["stm32h7a3-xcubeai", "nvidia-t4"]).run()
    assert "1 fitted to published measurements; 1 from a datasheet" in words(app)


def test_a_budget_is_told_before_and_after():
    app = open_app("new_sweep")
    app.number_input(key="form budget trials").set_value(4).run()
    assert "This run takes on 4 recipes that are not measured yet" in words(app)
    spec = parse_sweep({"name": "some", "model": {"source": "resnet8"}, "search": {"trials": 4}})
    store = Store.open()
    trials = sweep_trials(pending=20)
    store.begin(spec, trials, 110, 20)
    store.end(spec.id, "done")
    app = open_app("new_sweep", run=spec.id)
    assert "The budget of this run is used. 20 of 24 recipes are not measured yet" in words(app)
    assert any(b.label == "Go on with it" for b in app.button)


def test_the_search_is_asked_for_with_a_budget_and_kept_in_the_text():
    app = open_app("new_sweep")
    assert search_boxes(app)[0].value == "grid"
    app.number_input(key="form budget trials").set_value(4).run()
    assert "nodes and forecast are means" not in words(app)
    search_boxes(app)[0].set_value("tpe").run()
    assert "Learns which options the good recipes have in common" in words(app)
    assert "takes on 4 recipes that are not measured yet, about" in words(app)
    assert "Which recipes, the search decides as it goes, so nodes and forecast are means" in words(app)
    assert "search: {method: tpe, trials: 4}" in app.code[0].value
    # Without the budget it is an order and no more, which is said.
    app.number_input(key="form budget trials").set_value(0).run()
    assert "every recipe is measured all the same" in words(app)
    # The search that counts costs sees recipes in short, where it is told to.
    search_boxes(app)[0].set_value("gain").run()
    assert "every recipe is measured all the same" not in words(app)
    app.checkbox(key="form screen").check().run()
    app.number_input(key="form screen samples").set_value(300).run()
    app.number_input(key="form budget node seconds").set_value(600.0).run()
    text = app.code[0].value
    assert "method: gain" in text
    assert "node_seconds: 600" in text
    assert "test_samples: 300" in text


def test_a_search_out_of_budget_offers_to_be_taken_on():
    spec = parse_sweep({"name": "some", "model": {"source": "resnet8"}, "search": {"method": "tpe", "trials": 4}})
    store = Store.open()
    store.begin(spec, sweep_trials(pending=20), 110, 20)
    store.end(spec.id, "done")
    said = words(open_app("new_sweep", run=spec.id))
    assert "20 of 24 recipes are not measured yet. Another run takes the search on from the 4 that are" in said


def test_a_sweep_is_deleted_after_being_asked():
    sweep = enter(state="cancelled", pending=20)
    spec_path(sweep.id).parent.mkdir()
    spec_path(sweep.id).write_text("a trace")
    app = open_app("new_sweep", run=sweep.id)
    press(app, "Delete")
    assert Store.open().sweep(sweep.id)
    assert "Finished files stay on the disk" in words(app)
    press(app, "Delete it")
    assert [r.id for r in Store.open().sweeps() if not r.example] == []
    assert "There is no sweep" in words(open_app("new_sweep", run=sweep.id))


def test_what_cannot_be_deleted_has_no_button_and_refuses():
    running = enter("now", state="running", pending=20)
    assert not any(b.label == "Delete" for b in open_app("new_sweep", run=running.id).button)
    overview = open_app("overview")
    assert not any(b.label == "Delete" for b in overview.button)
    enter("over")
    assert sum(b.label == "Delete" for b in open_app("overview").button) == 1


def test_deleting_takes_the_role(monkeypatch):
    sweep = enter()

    def refuse(role: str) -> None:
        raise AccessError(f"that takes the role {role}; nothing was done")

    monkeypatch.setattr("pages.shared.access.require", refuse)
    with pytest.raises(AccessError):
        runner.delete(sweep.id)
    assert Store.open().sweep(sweep.id)


def test_more_than_a_thousand_recipes_are_planned_when_asked_for():
    ratios = [round(0.0001 * n, 4) for n in range(1, 1001)]
    app = typed(f"name: many\nmodel: {{source: resnet8}}\nspace: {{prune: {{method: magnitude, ratio: {ratios}}}}}\n")
    assert tiles(app) == {"Recipes": "1,001"}
    assert not any(b.label == "Start sweep" for b in app.button)
    press(app, "Work out nodes and forecast")
    assert tiles(app)["Recipes"] == "1,001"
    assert any(b.label == "Start sweep" for b in app.button)
