"""The charts of Explore, run as Streamlit runs them; what a browser makes of them is in tests/e2e."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from engine.figures.highlight import SELECTED
from engine.frontier.recommendation import View, choose
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from pages.explore import chart_events
from pages.shared.explore_address import SHAPES
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.trial_factory import SPACE, sweep_trials

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sends a heartbeat for the running sweeps of these tests."""
    monkeypatch.setattr("engine.store.rows.HEARTBEAT_LIMIT_S", 3600.0)


def timed(count: int = 24) -> str:
    """A running sweep with finish times, `count` of its recipes measured."""
    store = Store.open()
    sweep = parse_sweep({"name": "timed", "model": {"source": "resnet8"}, "space": SPACE})
    trials = sweep_trials(pending=24 - count)
    store.begin(sweep, trials, nodes_total=110, nodes_done=50)
    for i, made in enumerate(trials[:count]):
        store.save_trial(sweep.id, replace(made, finished_s=10.0 * (i + 1)))
    return sweep.id


def figure(app) -> dict:
    """The figure that the page shows, as it is sent to the browser."""
    return json.loads(app.get("plotly_chart")[0].proto.spec)


def ringed(app) -> set[str]:
    return {o[0] for t in figure(app)["data"] if t.get("name") == "selected" for o in t["customdata"]}


@pytest.mark.parametrize("shape", [s for s in SHAPES if s != "progress"])
def test_a_link_restores_every_chart_with_the_selected_recipe_marked(shape):
    sweep, made = enter(), sweep_trials()[4]
    link = {
        "sweep": sweep.id, "x": "size_bytes", "colour": "energy_mj", "device": "stm32h7a3-xcubeai", "trial": made.id,
        "max_size_bytes": "200000", "z": "macs", "size": "params", "metrics": "accuracy,size_bytes,macs",
    }  # fmt: skip
    link |= {"chart": shape} if shape != "frontier" else {}
    app = open_app(**link)
    assert address(app) == link
    assert ringed(app) == {made.id}
    assert SELECTED in json.dumps(figure(app))
    assert next(g for g in app.get("button_group") if g.key == "explore shape").value == shape


def test_progress_is_offered_where_finish_times_are_known():
    enter()
    assert "Progress" not in options(open_app())
    app = open_app(sweep=timed(), chart="progress")
    assert "Progress" in options(app)
    line = figure(app)["data"][0]
    assert [o[0] for o in line["customdata"]] == [t.id for t in sweep_trials()]
    assert "the reference point" in words(app)


def options(app) -> list[str]:
    return list(next(g for g in app.get("button_group") if g.key == "explore shape").options)


def test_progress_of_an_old_sweep_says_why_there_is_none():
    sweep = enter()
    app = open_app(sweep=sweep.id, chart="progress")
    assert "was not kept" in words(app)
    assert address(app)["chart"] == "progress"


def test_the_third_axis_is_offered_in_space_alone_and_never_one_of_the_others():
    enter()
    app = open_app()
    assert not [s for s in app.selectbox if s.key == "pick z"]
    app = open_app(chart="3d")
    assert app.selectbox(key="pick z").value == "size_bytes"
    assert not {"Latency", "Accuracy"} & set(app.selectbox(key="pick z").options)
    app.selectbox(key="pick z").set_value("macs").run()
    assert address(app)["z"] == "macs"
    app.selectbox(key="pick x").set_value("macs").run()
    assert "z" not in address(app)
    assert not app.exception


def test_the_size_of_marks_is_a_metric_and_is_told():
    enter()
    app = open_app()
    app.selectbox(key="pick size").set_value("size_bytes").run()
    assert address(app)["size"] == "size_bytes"
    assert "Size of the marks: file size, " in words(app)
    front = next(t for t in figure(app)["data"] if t.get("name") == "frontier")
    assert len(set(front["marker"]["size"])) > 1


def test_metrics_of_the_parallel_axes_are_chosen_and_too_few_are_told():
    enter()
    app = open_app(chart="parallel")
    picked = app.multiselect(key="pick metrics")
    assert picked.value == ["accuracy", "size_bytes", "latency_ms", "energy_mj"]
    assert "metrics" not in address(app)
    picked.set_value(["accuracy", "macs", "params"]).run()
    assert address(app)["metrics"] == "accuracy,macs,params"
    assert sum("better →" in a["text"] for a in figure(app)["layout"]["annotations"]) == 3
    app.multiselect(key="pick metrics").set_value(["accuracy"]).run()
    assert "at least 2 metrics" in words(app)


def test_a_recipe_that_is_chosen_beside_the_chart_gets_its_ring_there():
    enter()
    trials = sweep_trials()
    app = open_app(trial=trials[4].id, max_size_bytes="60000")
    assert ringed(app) == {trials[4].id}
    next(b for b in app.button if b.label == "Show it").click().run()
    best = choose(trials, View(limits={"size_bytes": 60_000})).best
    assert ringed(app) == {best}


def test_a_run_that_changes_nothing_draws_the_same_figure():
    """Streamlit takes a figure that differs in anything for a new chart, and zoom and selection would be gone."""
    enter()
    for shape in ("frontier", "map", "3d", "matrix"):
        app = open_app(chart=shape, trial=sweep_trials()[4].id)
        before = app.get("plotly_chart")[0].proto.id
        app.run()
        assert app.get("plotly_chart")[0].proto.id == before


@pytest.mark.parametrize(
    "told",
    [
        None,
        "zoom",
        {"of": 3, "axes": {}},
        {"of": "a", "axes": {"xaxis": [0, float("nan")]}},
        {"of": "a", "axes": {"xaxis": [1, 2, 3], "yaxis": ["0", "1"], "__class__": [0, 1]}},
        {"of": "a", "axes": ["xaxis"], "camera": {"eye": {"x": 1, "y": 1}}},
        {"of": "a", "camera": {"eye": {"x": 1, "y": 1, "z": "1"}, "center": {}, "up": {}}},
    ],
)
def test_a_zoom_that_is_none_is_not_kept(told, monkeypatch):
    kept: dict[str, object] = {}
    monkeypatch.setattr(chart_events.st, "session_state", kept)
    chart_events._keep(told)
    assert not kept.get("chart zooms")


def test_zooms_are_kept_by_chart_and_drawn_again(monkeypatch):
    import plotly.graph_objects as go

    monkeypatch.setattr(chart_events.st, "session_state", {})
    eye = {part: {"x": 1, "y": 2, "z": 3} for part in ("eye", "center", "up")}
    for i in range(20):
        chart_events._keep({"of": f"chart {i}", "axes": {"xaxis2": [i, i + 1]}, "camera": eye})
    assert len(chart_events.st.session_state["chart zooms"]) == 12
    flat = go.Figure(layout={"uirevision": "chart 19", "xaxis2": {"type": "linear"}})
    chart_events.zoom(flat, chart_events.last_zoom(flat))
    assert list(flat.layout.xaxis2.range) == [19, 20]
    assert flat.layout.scene.camera.eye.y == 2
    # Back at its full size there is nothing to keep.
    chart_events._keep({"of": "chart 19", "axes": {}})
    assert chart_events.last_zoom(flat) == {}


def test_progress_of_a_sweep_shows_its_hypervolume():
    sweep = timed(20)
    app = open_app("new_sweep", run=sweep)
    assert "How far the frontier has come" in words(app)
    assert "the reference point" in words(app)
    assert len(app.get("plotly_chart")) == 2


def test_a_zoom_stays_with_its_sweep():
    """Another sweep's recipes may all lie outside."""
    first = enter("first")
    other = enter("second")
    zoomed = {"zoom": "x~0.1~0.2~y~90~91"}
    app = open_app(sweep=first.id, **zoomed)
    assert app.query_params["zoom"] == "x~0.1~0.2~y~90~91"
    app.selectbox(key="pick sweep").select(other.id).run()
    assert "zoom" not in app.query_params
    app.selectbox(key="pick sweep").select(first.id).run()
    assert app.query_params["zoom"] == "x~0.1~0.2~y~90~91"
