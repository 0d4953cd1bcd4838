"""Explore while a sweep runs: what is under way is named, new recipes set no limits, and the growth can be played."""

import json
from dataclasses import replace

import pytest

from engine.store.store import Store
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.trial_factory import sweep_trials

pytestmark = pytest.mark.usefixtures("home")


def test_what_is_under_way_is_named_and_markup_in_it_is_none():
    sweep = enter(state="running", pending=14)
    Store.open().beat(sweep.id, 40, 100.0, 60.0, json.dumps(["training *mine*", "timing int8"]))
    app = open_app(sweep=sweep.id)
    assert "still running: now training \\*mine\\*, timing int8" in words(app)
    assert [t.label for t in app.toggle if t.label == "Follow"] == ["Follow"]
    Store.open().end(sweep.id, "done")
    assert "still running" not in words(open_app(sweep=sweep.id))


def test_recipes_that_are_new_make_no_limit_of_a_slider_that_nobody_moved():
    sweep, store = enter(state="running", pending=14), Store.open()
    app = open_app(sweep=sweep.id)
    slider = next(s for s in app.slider if s.label.startswith("File size"))
    slider.set_value(slider.min + 10 * slider.step).run()
    kept = address(app)["max_size_bytes"]
    for made in sweep_trials()[10:]:
        store.save_trial(sweep.id, made)
    app.run()
    assert "24 of 24 recipes" in words(app)
    assert {k: v for k, v in address(app).items() if k.startswith(("min_", "max_"))} == {"max_size_bytes": kept}


def test_the_growth_is_played_where_it_is_known_when_recipes_were_finished():
    sweep, store = enter(), Store.open()
    app = open_app(sweep=sweep.id, chart="progress")
    assert not [t for t in app.toggle if t.label.startswith("Play")]
    for i, made in enumerate(sweep_trials()):
        store.save_trial(sweep.id, replace(made, finished_s=10.0 * i))
    app = open_app(sweep=sweep.id, chart="progress")
    next(t for t in app.toggle if t.label.startswith("Play")).set_value(True)
    app.run()
    assert not app.exception
    assert "Play" not in words(open_app(sweep=sweep.id))
