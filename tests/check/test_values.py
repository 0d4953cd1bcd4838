"""`check` of networks whose outputs are values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.check.report import check
from engine.spec.sweep import Sweep, parse_sweep
from tests.helpers.regression import regression_problem


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("values")
    regression_problem(folder)
    return folder


def spec(house: Path, **data: object) -> Sweep:
    told = {"model": {"source": "net.py:build", "weights": "net.pt"}, "data": {"source": "d.npz", **data}}
    return parse_sweep(told, house)


def errors(sweep: Sweep) -> list[str]:
    return [f.what for f in check(sweep).findings if f.level == "error"]


def test_the_preprocessing_is_found_by_the_targets(house):
    report = check(spec(house))
    assert report.ok
    assert [t.name for t in report.tried if t.chosen] == ["mean and deviation of the training data"]
    assert report.sweep.data.task == "regression"
    assert (report.sweep.metric.name, report.baseline["metric"]) == ("mae", "MAE")
    assert report.baseline["low"] < report.baseline["value"] < report.baseline["high"] < 2
    assert all("," not in s["predicted"] for s in report.samples)
    assert abs(float(report.samples[0]["label"]) - float(report.samples[0]["predicted"])) < 6


def test_what_the_spec_states_against_the_targets_is_an_error(house):
    (found,) = errors(spec(house, preprocess="none"))
    assert "inputs are not prepared as in training" in found
    assert "with 'mean and deviation of the training data'" in found


def test_targets_in_another_unit_are_told_with_the_line_between_them(house, tmp_path):
    with np.load(house / "d.npz") as arrays:
        np.savez(tmp_path / "d.npz", x=arrays["x"], y=arrays["y"] / 10 - 3)
    (found,) = errors(spec(house, source=str(tmp_path / "d.npz"), preprocess="standardize"))
    assert "no closer to the targets than their mean" in found
    assert "output ≈ 9." in found or "output ≈ 10" in found


def test_targets_that_have_nothing_to_do_with_it_are_an_error(house, tmp_path):
    with np.load(house / "d.npz") as arrays:
        np.savez(tmp_path / "d.npz", x=arrays["x"], y=np.random.default_rng(5).permutation(arrays["y"]))
    (found,) = errors(spec(house, source=str(tmp_path / "d.npz"), preprocess="standardize"))
    assert "no closer to the targets than their mean" in found
    assert "follow them" not in found


def test_without_targets_the_preprocessing_is_a_guess(house, tmp_path):
    with np.load(house / "d.npz") as arrays:
        np.savez(tmp_path / "d.npz", x=arrays["x"])
    report = check(spec(house, source=str(tmp_path / "d.npz"), task="fidelity"))
    assert report.ok
    assert any("'as stored' is a guess" in f.what for f in report.findings)
    assert (report.baseline, report.sweep.metric) == (None, None)


def test_a_metric_that_does_not_fit_is_told_before_anything_runs(house):
    sweep = spec(house).model_copy(
        update={
            "metric": parse_sweep({"model": {"source": "x.onnx"}, "metric": "iou", "data": {"source": "d.npz"}}).metric
        }
    )
    report = check(sweep)
    assert not report.ok
    assert "metric iou: target maps are float32" in report.findings[-1].what


def of_own_metric(house: Path, tmp_path: Path, returns: str, **data: object) -> Sweep:
    """Targets that are whole numbers, no classes, and a metric of the user's own in %."""
    with np.load(house / "d.npz") as arrays:
        np.savez(tmp_path / "d.npz", x=arrays["x"], y=arrays["y"].astype(np.int64))
    (tmp_path / "own.py").write_text(f"def hits(outputs, targets):\n    return {returns}\n")
    told = {
        "model": {"source": str(house / "net.py:build"), "weights": str(house / "net.pt")},
        "data": {"source": "d.npz", "task": "other", **data},
        "metric": {"source": "own.py:hits", "higher_is_better": True, "unit": "%"},
    }
    return parse_sweep(told, tmp_path)


def test_other_ways_are_not_tried_where_nothing_could_contradict_the_spec(house, tmp_path):
    hits = "abs(outputs[:, 0] - targets) < 5"
    (only,) = check(of_own_metric(house, tmp_path, hits, preprocess="standardize")).tried
    assert (only.chosen, only.name) == (True, "as the spec says")
    found = check(of_own_metric(house, tmp_path, hits)).tried
    assert [t.name for t in found if t.chosen] == ["mean and deviation of the training data"]
    assert len(found) > 1


def test_a_metric_that_gives_percent_where_shares_are_shown_as_percent_is_told(house, tmp_path):
    (split,) = check(of_own_metric(house, tmp_path, "abs(outputs[:, 0] - targets) < 500")).findings
    assert "has no test" in split.what
    _, found = check(of_own_metric(house, tmp_path, "57.0")).findings
    assert "gives 57 in the unit %, which shows a share as a hundred times that: 5700 %" in found.what
    assert "return shares (0.57)" in found.remedy
