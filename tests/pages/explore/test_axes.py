"""A sweep opens on axes that it has, whatever it leaves out; every chart of it has marks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.trials.evidence import Fidelity, Interval, Score
from engine.trials.trial import Trial
from tests.helpers.pages import open_app, words
from tests.helpers.trial_factory import SPACE, sweep_trials

pytestmark = pytest.mark.usefixtures("home")


def untimed(t: Trial) -> Trial:
    return replace(t, latency_ms=None, latency_ratio=None, throughput_per_s=None, projections={})


def unlabelled(t: Trial) -> Trial:
    near = t.accuracy.value if t.recipe.steps else 1.0
    return replace(untimed(t), accuracy=None, fidelity=Fidelity(agreement=Interval(near, near - 0.01, near)))


def of_values(t: Trial) -> Trial:
    far = 1 - t.accuracy.value if t.recipe.steps else 0.0
    return replace(untimed(t), accuracy=None, fidelity=Fidelity(relative_error=Interval(far, far, far + 0.01)))


def of_its_own(t: Trial) -> Trial:
    error = 2 - t.accuracy.value
    return replace(untimed(t), accuracy=None, score=Score("score:MAE:min:K", error, error - 0.1, error + 0.1, 500))


def sizes_alone(t: Trial) -> Trial:
    return replace(untimed(t), accuracy=None)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (untimed, "frontier"),
        (unlabelled, "frontier"),
        (of_values, "frontier"),
        (of_its_own, "frontier"),
        (sizes_alone, "frontier"),
        (untimed, "3d"),
        (sizes_alone, "3d"),
        (sizes_alone, "matrix"),
    ],
)
def test_every_chart_of_a_sweep_that_lacks_something_has_marks(kind: Callable[[Trial], Trial], shape: str) -> None:
    store, sweep = Store.open(), parse_sweep({"name": "lacking", "model": {"source": "resnet8"}, "space": SPACE})
    made = [kind(t) for t in sweep_trials()]
    store.begin(sweep, made, 1, 1)
    for t in made:
        store.save_trial(sweep.id, t)
    store.end(sweep.id, "done")
    app = open_app(sweep=sweep.id, **({} if shape == "frontier" else {"chart": shape}))
    assert not app.error
    assert "No recipe has all of these numbers" not in words(app)
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    marks = {o[0] for t in figure["data"] for o in t.get("customdata") or [] if o}
    assert marks == {t.id for t in made}
