"""Pins and notes on Explore: written by editors, shown to all, whatever their text."""

from __future__ import annotations

import pytest

from engine.store.store import Store
from tests.helpers.pages import enter, open_app, words
from tests.helpers.trial_factory import sweep_trials

pytestmark = pytest.mark.usefixtures("home")
TRIAL = sweep_trials()[2]


def pressed(app, label):
    return next(b for b in app.button if b.label == label).click().run()


def test_a_trial_is_pinned_found_again_and_unpinned():
    sweep = enter()
    app = pressed(open_app(trial=TRIAL.id), "Pin")
    assert Store.open().notes.of(sweep.id)[TRIAL.id].pinned
    elsewhere = open_app()
    assert "**Pinned**" in words(elsewhere)
    elsewhere = elsewhere.button(key=f"pinned {TRIAL.id}").click().run()
    assert any(TRIAL.label in s.value.replace("\u2011", "-") for s in elsewhere.header)
    pressed(app, "Unpin")
    assert "**Pinned**" not in words(open_app())


def test_a_note_is_saved_and_its_markup_is_only_text():
    sweep = enter()
    app = open_app(trial=TRIAL.id)
    next(t for t in app.text_area if "remember" in t.label).set_value("**bold** ![x](http://evil) for Tuesday")
    pressed(app, "Save")
    assert Store.open().notes.of(sweep.id)[TRIAL.id].text.endswith("for Tuesday")
    said = words(open_app(trial=TRIAL.id))
    assert "\\*\\*bold\\*\\*" in said
    assert "![x](" not in said
