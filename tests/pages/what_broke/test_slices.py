"""What broke, Trial and Explore of a sweep whose data have slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.metrics import METRICS
from engine.trials.metric_values import slice_metrics
from tests.helpers.pages import open_app, words
from tests.helpers.regression import regression_problem
from tests.helpers.run_here import swept


@pytest.fixture
def shown(home, tmp_path: Path):
    regression_problem(tmp_path)
    arrays = dict(np.load(tmp_path / "d.npz"))
    np.savez(tmp_path / "d.npz", **arrays, site=np.array(["Bern", "Oslo", "a_b*c"])[np.arange(700) % 3])
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "name: sliced\nmodel: {source: net.py:build, weights: net.pt}\n"
        "data: {source: d.npz, task: regression, preprocess: standardize, slices: [site]}\nmetric: {name: mae, unit: kg}\n"
        "space: {quantize: [null, {weight_bits: [8, 2], activation_bits: 32}]}\nmeasure: {profiles: []}\n"
        "target: {limits: {worst_slice: 2.5}}\n"
    )
    sweep, trials, _ = swept(spec)
    return sweep, trials


def test_pages_speak_of_slices(shown):
    sweep, trials = shown
    coarse = trials[-1]
    worst, _ = slice_metrics(coarse.slices.key)
    broke = open_app("what_broke", sweep=sweep.id, trial=coarse.id)
    assert "By slice" in [s.value for s in broke.subheader]
    table = broke.dataframe[0].value
    assert [*table["Slice"]] == ["site Bern", "site Oslo", "site a_b*c"]
    assert all(" to " in cell for cell in table["MAE vs baseline"])

    trial = open_app("trial", sweep=sweep.id, trial=coarse.id)
    said = "\n".join([words(trial), *(str(cell) for table in trial.table for cell in table.value.to_numpy().ravel())])
    assert "MAE of the worst slice" in said
    assert f"site {coarse.slices.worst.value}".replace("_", r"\_").replace("*", r"\*") in said
    assert "widened for being the worst of several" in said
    assert "By slice" in [s.value for s in trial.subheader]

    explore = open_app("explore", sweep=sweep.id)
    assert worst in explore.multiselect[0].options or METRICS[worst].name in explore.multiselect[0].options
    for app in (broke, trial, explore):
        assert not app.exception


def test_the_specs_limit_is_set_when_the_results_are_opened_with_it(shown):
    sweep, trials = shown
    worst, _ = slice_metrics(trials[-1].slices.key)
    assert sweep.target.limits == {worst: 2.5}
    values = [t.slices.worst.interval.value for t in trials]
    limit = (min(values) + max(values)) / 2
    explore = open_app("explore", sweep=sweep.id, **{f"max_{worst}": f"{limit:.9g}"})
    assert "MAE of the worst slice ≤" in [s.label for s in explore.slider]
    assert f"**{sum(v <= limit for v in values)} of 3** recipes remain" in words(explore)
    assert not explore.exception
