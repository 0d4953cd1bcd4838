"""Sweeps side by side, and what changed between two runs: from the address, by default, and with hostile addresses."""

import json
from dataclasses import replace

import pytest

from engine.explain.several_sweeps import lot_of, who_beats_whom
from engine.frontier.columns import Trials
from engine.frontier.several import several
from engine.store.store import Store
from pages.compare.sweeps import parse_ids
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.trial_factory import MACHINE, SPACE, sweep_trials

pytestmark = pytest.mark.usefixtures("home")
EXAMPLE = "example-resnet8-on-fashion-mnist-ff65e7"


def enter_other(name="second", gain=0.01, machine=MACHINE, **more):
    """A sweep of the same spec under another name, in which every recipe is a little better."""
    sweep, store = enter(name, **more), Store.open()
    for t in sweep_trials():
        better = replace(
            t.accuracy, value=t.accuracy.value + gain, low=t.accuracy.low + gain, high=t.accuracy.high + gain
        )
        store.save_trial(sweep.id, replace(t, accuracy=better, machine=machine))
    return sweep


def table(app, name):
    return next(d.value for d in app.dataframe if name in d.value.columns)


def test_two_sweeps_share_a_chart_and_the_page_says_who_beats_whom():
    one, two = enter(), enter_other()
    app = open_app("compare", mode="sweeps", sweeps=f"{one.id},{two.id}", x="size_bytes", y="accuracy")
    store = Store.open()
    lots = [lot_of(s.name, Trials.of(store.trials(s.id)), s, None) for s in (one, two)]
    found = several(lots, ("accuracy", "size_bytes"))
    assert "The joint frontier over accuracy and file size" in words(app).replace("\\", "")
    assert all(line in words(app).replace("\\", "") for line in who_beats_whom(found))
    listed = table(app, "Sweep")
    assert len(listed) == len(found.joint)
    assert set(listed["Sweep"]) <= {"first", "second"}
    assert listed["Open"][0].startswith(f"explore?sweep={two.id}&trial=")
    kept = address(app)
    assert (kept["mode"], kept["sweeps"], kept["x"], kept["y"]) == (
        "sweeps",
        f"{one.id},{two.id}",
        "size_bytes",
        "accuracy",
    )


def test_of_a_sweep_that_still_runs_it_is_said_and_what_is_measured_now():
    one, two = enter(state="running", pending=14), enter_other()
    Store.open().beat(one.id, 40, 100.0, 60.0, json.dumps(["timing *int8*"]))
    app = open_app("compare", mode="sweeps", sweeps=f"{one.id},{two.id}")
    assert "This sweep is still running" not in words(app)
    assert "first is still running: now timing \\*int8\\*." in words(app)
    Store.open().end(one.id, "done")
    assert "still running" not in words(open_app("compare", mode="sweeps", sweeps=f"{one.id},{two.id}"))


def test_times_of_two_machines_are_refused_with_a_way_on():
    one, two = enter(), enter_other(machine=replace(MACHINE, fingerprint="0" * 64, cpu="Other CPU"))
    app = open_app("compare", mode="sweeps", sweeps=f"{one.id},{two.id}", x="latency_ms", y="accuracy")
    assert "cannot share an axis" in words(app)
    assert "Other CPU" in words(app)
    next(b for b in app.button if b.label == "Take file size").click()
    app.run()
    assert address(app)["x"] == "size_bytes"
    assert "cannot share an axis" not in words(app)
    app = open_app("compare", mode="sweeps", sweeps=f"{one.id},{two.id}", x="latency_ms", y="accuracy")
    next(b for b in app.button if b.label.startswith("Project onto")).click()
    app.run()
    assert address(app)["device"] != "host"
    assert "The joint frontier over accuracy and latency" in words(app).replace("\\", "")


def test_other_data_have_no_joint_frontier_and_it_is_said_above_the_chart():
    app = open_app("compare", mode="sweeps", sweeps=f"{EXAMPLE},{enter().id}", x="size_bytes", y="accuracy")
    # Both are of Fashion-MNIST.
    assert "on different data" not in words(app)
    other = next(r.id for r in Store.open().sweeps() if r.example and r.id != EXAMPLE)
    app = open_app("compare", mode="sweeps", sweeps=f"{EXAMPLE},{other}", x="size_bytes", y="accuracy")
    assert "Accuracy on different data says nothing of which is better" in words(app)
    assert "Each sweep’s frontier" in words(app)
    assert not app.exception


@pytest.mark.parametrize(
    "hostile",
    [
        {"sweeps": "a,b"},
        {"sweeps": "'; drop table sweeps"},
        {"sweeps": "x" * 9_000, "x": "no", "y": "", "device": "../../etc"},
        {"mode": "no"},
        {"mode": "runs", "then": "x" * 9_000, "now": "nobody@before"},
    ],
)
def test_any_address_leads_to_a_page(hostile):
    enter()
    app = open_app("compare", **{"mode": "sweeps", **hostile})
    assert not app.exception
    assert len(parse_ids(",".join("abcdefgh"))) == 6


def test_what_changed_is_told_regressions_first_and_the_unchanged_are_folded():
    sweep, store = enter(), Store.open()
    store.earlier.keep(sweep.id, sweep_trials())
    trials = sweep_trials()
    worse = replace(trials[4], accuracy=replace(trials[4].accuracy, value=0.80, low=0.792, high=0.808))
    store.save_trial(sweep.id, worse)
    store.save_trial(sweep.id, replace(trials[7], state="failed", error="no *such* kernel"))
    app = open_app("compare", mode="runs")
    assert not app.exception
    told = words(app).replace("\\", "")
    # The sweep that has an earlier run is what the page opens on.
    assert (address(app)["then"], address(app)["now"]) == (f"{sweep.id}@before", sweep.id)
    assert "1 worse, 1 failed now, 0 better, 22 unchanged" in told
    assert told.index("Worse") < told.index("Failed now")
    assert table(app, "Accuracy")["Recipe"][0] == worse.label
    assert table(app, "Accuracy")["Accuracy"][0].endswith("▼")
    assert next(d.value for d in app.dataframe if "Why" in d.value.columns)["Why"][0] == "no *such* kernel"
    assert [e.label for e in app.expander if e.label.startswith("Unchanged")] == ["Unchanged: 22"]
    assert "Then: Ship" in told.replace("**", "")


def test_runs_of_unlike_networks_are_compared_when_somebody_asks_for_it():
    app = open_app("compare", mode="runs")
    assert "No network was run twice on the same data here" in words(app)
    assert "then" not in address(app)
    one, two = enter(), enter_other()
    app = open_app("compare", mode="runs")
    # Newest last: these two are of the same network and data.
    assert {address(app)["then"], address(app)["now"]} == {one.id, two.id}
    assert "No network was run twice" not in words(app)


def test_two_sweeps_that_ask_for_other_things_say_what_they_differ_in():
    one, two = enter(), enter_other(space={"prune": SPACE["prune"]})
    app = open_app("compare", mode="runs", then=one.id, now=two.id)
    assert any(e.label.startswith("What differs between the two") for e in app.expander)
    assert "space.quantize" in words(app).replace("\\", "")
    assert not app.exception
