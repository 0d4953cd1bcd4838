"""What broke, Compare, Explore and Trial of a sweep whose outputs are values: nothing of classes, everything in the metric's own name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.pages import open_app, words
from tests.helpers.regression import regression_problem
from tests.helpers.run_here import swept


@pytest.fixture
def shown(home, tmp_path: Path):
    regression_problem(tmp_path)
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "name: values\nmodel: {source: net.py:build, weights: net.pt}\n"
        "data: {source: d.npz, task: regression, preprocess: standardize}\nmetric: {name: mae, unit: kg}\n"
        "space: {quantize: [null, {weight_bits: 2, activation_bits: 32}]}\nmeasure: {profiles: []}\n"
    )
    sweep, trials, _ = swept(spec)
    return sweep, trials


def test_every_page_speaks_of_the_metric(shown):
    sweep, (_, coarse) = shown
    broke = open_app("what_broke", sweep=sweep.id, trial=coarse.id)
    tiles = {m.label: m.value for m in broke.metric}
    assert tiles["MAE"].endswith(" kg")
    assert int(tiles["Samples worse"]) + int(tiles["Samples better"]) == 140
    assert "Change of MAE, sample by sample" in words(broke)
    assert coarse.score.vs_baseline.value > 0

    compare = open_app("compare", sweep=sweep.id, trials=f"{coarse.id},{shown[1][0].id}")
    assert "MAE" in [s.value for s in compare.subheader]
    assert "Can the test samples tell them apart?" in words(compare)
    assert f"{coarse.score.vs_baseline.value:+.2f} kg"[:4] in str(compare.table[0].value.iloc[0]["Difference"])

    explore = open_app("explore", sweep=sweep.id)
    boxes = {b.label: b.value for b in explore.selectbox}
    assert boxes["Up"] == coarse.score.key
    assert {"MAE ≤"} <= {s.label for s in explore.slider}

    trial = open_app("trial", sweep=sweep.id, trial=coarse.id)
    assert {m.label for m in trial.metric} >= {"MAE", "File size"}
    for app in (broke, compare, explore, trial):
        assert not app.exception
        assert "ccuracy" not in words(app)
