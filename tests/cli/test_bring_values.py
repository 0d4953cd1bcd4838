"""The walk-throughs with outputs that are values: from a network and data of the user's own to a verified bundle."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.cli.test_bring_your_own import walked
from tests.helpers.command_line import paretoscope
from tests.helpers.regression import regression_problem

METRIC = """\
import numpy as np


def close_calls(outputs, targets):
    return np.abs(outputs[:, 0] - targets) < 3
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of vectors that was trained on standardised numbers, its data in their own units, and a metric."""
    folder = tmp_path_factory.mktemp("values")
    regression_problem(folder)
    (folder / "mine.py").write_text(METRIC)
    return folder


def by_label(trials: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {t["label"]: t for t in trials}


def test_vectors_with_regression_from_a_spec_to_a_bundle(house: Path) -> None:
    checked, trials = walked(
        house,
        f"model: {{source: {house / 'net.py'}:build, weights: {house / 'net.pt'}}}\n"
        f"data: {{source: {house / 'd.npz'}}}\n"
        "metric: {name: mae, unit: kg}\n"
        "space:\n"
        "  finetune: [null, {epochs: 1, learning_rate: 0.001}]\n"
        "  quantize: [null, {weight_bits: 8, activation_bits: 8}]",
    )
    # Found, not assumed: trained on standardised numbers.
    assert next(t["name"] for t in checked["preprocessing"] if t["chosen"]) == "mean and deviation of the training data"
    assert checked["baseline"]["metric"] == "MAE"
    found = by_label(trials)
    baseline = found["baseline"]
    assert {k: baseline["metric"][k] for k in ("name", "unit", "higher_is_better")} == {
        "name": "MAE",
        "unit": "kg",
        "higher_is_better": False,
    }
    assert baseline["accuracy"] is None
    assert baseline["metric"]["value"] == pytest.approx(checked["baseline"]["value"], rel=0.3)
    assert baseline["fidelity"]["relative_error"]["value"] == 0
    int8 = found["int8"]
    assert 0 < int8["fidelity"]["relative_error"]["value"] < 0.1
    assert int8["metric"]["low"] < int8["metric"]["value"] < int8["metric"]["high"]
    # Without anything said, training imitates the baseline's own outputs.
    assert found["finetune 1 (rate 0.001)"]["fidelity"]["relative_error"]["value"] < 0.1

    with zipfile.ZipFile(house / "mine.zip") as bundle:
        bundle.extractall(house / "bundle")
    # By another route: the bundle alone, on the data as they were saved.
    said = subprocess.run(
        [sys.executable, "-I", "predict.py", house / "d.npz", "--output", "out.npz"],
        cwd=house / "bundle",
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    outputs, targets = np.load(house / "bundle" / "out.npz")["outputs"][:, 0], np.load(house / "d.npz")["y"]
    last = trials[-1]["metric"]
    assert last["low"] * 0.9 < np.abs(outputs - targets).mean() < last["high"] * 1.1

    home = house / "home"
    front = paretoscope("front", "latest", "--objectives", "mae,size_bytes", home=home)
    assert "MAE kg (95 %)" in front.stdout
    wrong = paretoscope("front", "latest", "--objectives", "mse", home=home)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "'mse' is not an objective; known: mae, mae_vs_baseline, accuracy" in wrong.stderr


def test_a_metric_of_the_users_own_on_an_onnx_file(house: Path) -> None:
    from engine.graph.graph import save_onnx
    from engine.models.export import export_onnx

    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1)).eval()
    net.load_state_dict(torch.load(house / "net.pt"))
    save_onnx(export_onnx(net, (6,)), house / "net.onnx")
    _, trials = walked(
        house,
        f"model: {{source: {house / 'net.onnx'}}}\n"
        f"data: {{source: {house / 'd.npz'}}}\n"
        f"metric: {{source: {house / 'mine.py'}:close_calls, higher_is_better: true, unit: '%'}}\n"
        "space: {quantize: [null, {weight_bits: 4, activation_bits: 8}]}\n"
        "target: {limits: {close_calls: 0.5}}",
    )
    baseline, int4 = trials
    assert (baseline["metric"]["name"], baseline["metric"]["n"]) == ("Close calls", 140)
    assert baseline["metric"]["value"] > 0.8
    assert int4["metric"]["p_vs_baseline"] is not None


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("metric: maee", "'maee' is not known; known: macro_f1"),
        ("metric: {source: nowhere.py:f, higher_is_better: true}", "nowhere.py does not exist; give the path of a Python file"),
        ("metric: macro_f1", "y is float32; save integers from 0 to classes - 1"),
        ("loss: nowhere.py:f", "nowhere.py does not exist; give the path of a Python file"),
        ("space: {prune: {method: channel, ratio: 0.5, importance: taylor}}\ndata: {source: d.npz, task: other}\n"
         "metric: {source: mine.py:close_calls, higher_is_better: true}", "has no targets that are values"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_before_anything_runs(house: Path, said: str, message: str) -> None:
    stated = {
        "model": "model: {source: net.py:build, weights: net.pt}",
        "data": "data: {source: d.npz}",
        "space": "space: {}",
    }
    kept = [text for name, text in stated.items() if f"{name}:" not in said]
    path = house / "wrong.yaml"
    path.write_text("\n".join(["name: wrong", *kept, said, "measure: {latency: null}"]))
    done = paretoscope("run", path, home=house / "home")
    assert (done.returncode, done.stderr.strip().count("\n")) == (2, 0), done.stderr
    assert message in done.stderr
    assert all(s["name"] != "wrong" for s in json.loads(paretoscope("sweeps", "--json", home=house / "home").stdout))
