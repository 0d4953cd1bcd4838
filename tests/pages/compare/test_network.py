"""The networks of two recipes on Compare, and of one on Trial: drawn on demand, from the shipped example."""

import pytest

from tests.helpers.pages import open_app, words

pytestmark = pytest.mark.usefixtures("home")
SWEEP, BASELINE, CUT, INT8 = (
    "example-resnet8-on-fashion-mnist-ff65e7", "4f53cda18c2b", "6bc0680674d9", "8f5382100237",
)  # fmt: skip


def _toggle(app, label):
    next(t for t in app.toggle if t.label == label).set_value(True)
    return app.run(timeout=60)


def _table(app, column):
    return next(t.value for t in app.table if column in t.value.columns)


def test_two_of_three_recipes_are_chosen_and_their_difference_told():
    app = open_app("compare", sweep=SWEEP, trials=f"{BASELINE},{CUT},{INT8}")
    assert "narrower" not in words(app)
    app = _toggle(app, "Draw both as one graph")

    assert not app.exception
    assert "From **A** to **B**: 10 of 10 layers narrower, 10 in other bits" in words(app)
    assert _table(app, "changes")["changes"].tolist().count("narrower, other bits") == 10
    next(s for s in app.selectbox if s.label == "To").set_value("C")
    app.run(timeout=60)
    assert "From **A** to **C**: 10 of 10 layers in other bits" in words(app)
    next(s for s in app.selectbox if s.label == "From").set_value("C")
    app.run(timeout=60)
    assert "two different recipes" in words(app)


def test_a_trials_network_is_drawn_by_layers_and_by_nodes():
    app = _toggle(open_app("trial", sweep=SWEEP, trial=INT8), "Draw it as a graph")

    assert not app.exception
    assert "14 boxes, 10 of them layers with weights, coloured by bytes" in words(app)
    assert len(_table(app, "operators")) == 14
    # Nobody has profiled it yet.
    assert "time_ms" not in next(s for s in app.selectbox if s.label == "Colour").options
