"""Presentation mode: the view that was shared, without controls, with what is worth telling."""

from __future__ import annotations

import pytest

from engine.store.store import Store
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.trial_factory import sweep_trials

pytestmark = pytest.mark.usefixtures("home")
TRIALS = sweep_trials()


def test_it_has_no_controls_and_keeps_the_view_in_the_address():
    sweep = enter()
    asked = {"sweep": sweep.id, "x": "size_bytes", "max_size_bytes": "60000", "present": "1"}
    app = open_app(**asked)
    assert not [*app.selectbox, *app.slider, *app.button, *app.dataframe]
    assert app.get("plotly_chart")
    assert address(app) == asked
    assert "Limits: file size ≤ 60.0 kB" in words(app)


def test_baseline_best_and_pinned_recipes_stand_below_with_their_notes():
    sweep = enter()
    store = Store.open()
    store.notes.say(sweep.id, TRIALS[3].id, "for *Tuesday*")
    store.notes.pin(sweep.id, TRIALS[3].id, True)
    store.notes.say(sweep.id, TRIALS[4].id, "not pinned")
    app = open_app(sweep=sweep.id, max_size_bytes="60000", present="1")
    told = app.table[0].value[""].str.replace("\\", "").tolist()
    assert told[0] == "baseline"
    assert any("best under the limits" in t for t in told)
    assert told[-1].endswith("pinned: for *Tuesday*")
    assert not any("not pinned" in t for t in told)


def test_a_sweep_without_points_says_so():
    sweep = enter(state="running", pending=len(TRIALS))
    app = open_app(sweep=sweep.id, x="lowest_recall", present="1")
    assert "No recipe has both numbers yet" in words(app)


def test_it_says_what_narrows_it_down_for_nobody_sees_the_filter():
    sweep = enter()
    app = open_app(sweep=sweep.id, where="size < 20 kB", cuts="keep~accuracy~0.5~1", present="1")
    small = [t for t in TRIALS if t.size_bytes < 20_000]
    said = words(app).replace("\\", "")
    assert f"{len(small)} of 24 recipes (with accuracy 50.00 to 100.00 %; matching size < 20 kB)." in said
    nothing = open_app(sweep=sweep.id, where="size < 1 B", present="1")
    assert "None of these is left." in words(nothing)
    assert not nothing.get("plotly_chart")
    assert "(" not in words(open_app(sweep=sweep.id, present="1")).partition("24 recipes")[2].partition("CPU")[0]
