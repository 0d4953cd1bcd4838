"""What a search has come to, on the pages that show a sweep while it runs and afterwards."""

from __future__ import annotations

import pytest

from engine.spec.sweep import Sweep, parse_sweep
from engine.store.store import Store
from pages.shared import how_far
from tests.helpers.pages import open_app, words
from tests.helpers.trial_factory import SPACE, sweep_trials

pytestmark = pytest.mark.usefixtures("home")

FAR = "No measured recipe keeps file size ≤ 1.00 kB; the nearest is"


def searched(state: str, method: str = "gain", pending: int = 9, **more: object) -> Sweep:
    stated = {"name": "searched", "model": {"source": "resnet8"}, "space": SPACE, "search": {"method": method}}
    store, sweep = Store.open(), parse_sweep(stated | more)
    store.begin(sweep, sweep_trials(pending=pending), nodes_total=110, nodes_done=60)
    if state != "running":
        store.end(sweep.id, state)
    return sweep


def test_watching_and_explore_say_how_much_is_found():
    sweep = searched("running")
    assert "Found: about " in words(open_app("new_sweep", run=sweep.id))
    assert "Found: about " in words(open_app(sweep=sweep.id))


def test_watching_and_explore_say_how_far_off_the_target_is():
    sweep = searched("done", target={"limits": {"size_bytes": 1000}})
    watching = words(open_app("new_sweep", run=sweep.id))
    assert FAR in watching.replace("\\", "")
    # Nothing within limits that nothing keeps is not all of a frontier.
    assert "Found: about" not in watching
    # Explore's recommendation says it, once.
    assert words(open_app(sweep=sweep.id)).replace("\\", "").replace("**", "").count(FAR) == 1


def test_of_very_many_recipes_nothing_is_said_and_none_is_read_for_it(monkeypatch):
    asked = []
    monkeypatch.setattr(how_far, "MOST", 20)
    monkeypatch.setattr(how_far, "share_found", lambda *a: asked.append(a))
    assert "Found: about" not in words(open_app(sweep=searched("running").id))
    assert not asked


def test_nothing_is_said_of_a_grid_of_a_target_that_is_kept_and_of_a_sweep_that_is_measured_whole():
    for method, pending in (("grid", 9), ("gain", 0)):
        said = words(open_app("new_sweep", run=searched("done", method, pending).id))
        assert "Found: about" not in said
        assert "No measured recipe keeps" not in said
    kept = searched("done", target={"limits": {"accuracy": 0.5}})
    assert "No measured recipe keeps" not in words(open_app("new_sweep", run=kept.id))
