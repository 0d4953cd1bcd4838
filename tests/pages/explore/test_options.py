"""Which option matters, and what to ship: the top and the foot of Explore, run as Streamlit runs them."""

from __future__ import annotations

import json

import pytest

from engine.figures.highlight import LIT
from engine.frontier.effect_texts import change_text
from engine.frontier.effects import effects
from engine.frontier.recommendation import View, choose
from engine.frontier.verdict import verdict
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from pages.shared import shell
from pages.shared.explore_address import Explore, parse, to_params
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.trial_factory import SPACE, sweep_trials

pytestmark = pytest.mark.usefixtures("home")


def halos(app) -> list[dict]:
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    return [t for t in figure["data"] if t.get("marker", {}).get("color") == LIT]


def int8():
    return next(e for e in effects(sweep_trials()).effects if e.name == "int8")


@pytest.mark.parametrize("shape", ["frontier", "3d", "parallel", "matrix", "map"])
def test_a_link_lights_up_the_recipes_of_an_option_in_every_chart_and_in_the_table(shape):
    enter()
    asked = {"option": int8().key} | ({} if shape == "frontier" else {"chart": shape})
    app = open_app(**asked)
    assert address(app).items() >= asked.items()
    found = halos(app)
    assert {t["name"] for t in found} == {"int8"}
    if shape == "frontier":
        assert len(found[0]["x"]) == len(int8().trials)
    table = app.dataframe[0].value
    assert {label for label, mark in zip(table["recipe"], table["lit"], strict=True) if mark} == {
        t.label for t in sweep_trials() if t.id in int8().trials
    }


def test_an_option_is_chosen_on_the_page_and_put_out_again():
    enter()
    app = open_app()
    assert not halos(app)
    assert "lit" not in app.dataframe[0].value
    app.selectbox(key="explore options box").set_value(int8().key).run()
    assert address(app)["option"] == int8().key
    assert halos(app)
    app.selectbox(key="explore options box").set_value(None).run()
    assert "option" not in address(app)
    assert not halos(app)


def test_the_table_of_options_says_what_the_engine_says():
    enter()
    app = open_app()
    table = next(d.value for d in app.dataframe if "Instead of" in d.value)
    found = effects(sweep_trials())
    assert list(table["Option"]) == [e.name for e in found.effects]
    assert list(table["File size"]) == [change_text("size_bytes", e.estimates["size_bytes"]) for e in found.effects]
    app.selectbox(key="explore options metric").set_value("macs").run()
    table = next(d.value for d in app.dataframe if "Instead of" in d.value)
    assert list(table["MACs"]) == [change_text("macs", e.estimates["macs"]) for e in found.effects]


@pytest.mark.parametrize("option", ["deadbeef", "'; --", "ABCDEF12", "1" * 300])
def test_an_option_that_is_none_of_the_sweeps_lights_nothing(option):
    enter()
    app = open_app(option=option)
    assert "option" not in address(app)
    assert not halos(app)
    assert parse({"option": option}).option == (option if option == "deadbeef" else None)


def test_an_option_survives_the_address():
    assert parse(to_params(Explore(option="0123abcd"))).option == "0123abcd"


def test_the_page_begins_with_what_to_ship_and_follows_the_limits():
    enter()
    plain = shell.plain
    told = verdict(sweep_trials(), ("accuracy", "latency_ms"), {})
    assert plain(told.sentence.split("; ")[0]) in words(open_app())
    app = open_app(max_size_bytes="60000")
    told = verdict(sweep_trials(), ("accuracy", "latency_ms"), {"size_bytes": 60_000})
    assert plain(told.sentence.split("; ")[1]) in words(app)
    app.button(key="explore advice show").click().run()
    assert address(app)["trial"] == told.trial == choose(sweep_trials(), View(limits={"size_bytes": 60_000})).best
    assert "the nearest is" in words(open_app(max_size_bytes="10"))


def test_a_stated_target_is_what_it_is_for_until_limits_are_set():
    store = Store.open()
    limits = {"size_bytes": 30_000}
    spec = {"name": "aimed", "model": {"source": "resnet8"}, "space": SPACE, "target": {"limits": limits}}
    sweep, trials = parse_sweep(spec), sweep_trials()
    store.begin(sweep, trials, 1, 1)
    for made in trials:
        store.save_trial(sweep.id, made)
    store.end(sweep.id, "done")
    kept = shell.plain("that keeps file size ≤ 30.0 kB")
    assert kept in words(open_app(sweep=sweep.id))
    assert kept in words(open_app("overview"))
    assert shell.plain("that keeps file size ≤ 60.0 kB") in words(open_app(sweep=sweep.id, max_size_bytes="60000"))
    app = open_app("trial", sweep=sweep.id)
    assert app.selectbox(key="trial trial").value == verdict(trials, ("accuracy", "latency_ms"), limits).trial
