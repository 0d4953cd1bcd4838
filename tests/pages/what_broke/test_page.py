"""What broke, and Devices: what they say of stored predictions and of the shipped example, and what they say where there is nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.quality.predictions import from_scores
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.trial_factory import SPACE, sweep_trials, trial

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


def test_it_opens_on_the_recommended_recipe_as_trial_does():
    store = Store.open()
    row = store.sweep("Example · transformer on pen strokes")
    app = open_app("what_broke", sweep=row.id)
    told = address(open_app("trial", sweep=row.id))["trial"]
    assert app.selectbox(key="broke trial").value == told == address(app)["trial"]
    # Not merely the first.
    assert told != next(t.id for t in store.trials(row.id) if t.recipe.steps)


def test_of_series_it_speaks_of_samples():
    store = Store.open()
    row = store.sweep("Example · transformer on pen strokes")
    worst = max(
        store.trials(row.id),
        key=lambda t: t.quality.harmful_flip_rate.value if t.quality and t.quality.harmful_flip_rate else 0,
    )
    app = open_app("what_broke", sweep=row.id, trial=worst.id)
    titles = [str(s.value) for s in app.subheader]
    assert "Samples that flipped" in titles
    assert "samples that were right before" in words(app)
    assert "mages" not in words(app)
    assert len(app.get("image")) == 12


def test_without_stored_predictions_it_says_what_to_do():
    enter()
    assert "run the sweep again to see what it broke" in words(open_app("what_broke"))


@pytest.mark.parametrize("page", ["what_broke", "devices"])
def test_hostile_addresses_show_a_page_all_the_same(page):
    enter()
    app = open_app(page, sweep="../../etc", trial="<script>")
    assert app.selectbox


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
