"""From a network of which several outputs count to a verified bundle; every figure held against ONNX Runtime without optimisations."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.test_bring_your_own import walked
from tests.helpers.command_line import paretoscope
from tests.helpers.several_outputs import OUTPUTS, several_inputs, several_net, unoptimised

OWN = """
import numpy as np

def misplaced(outputs, targets):
    assert list(outputs) == ["boxes", "scores", "kind"] and outputs["kind"].dtype == np.int64
    assert np.allclose(outputs["scores"].sum(1), 1, atol=0.02)
    return np.abs(outputs["boxes"] - targets).mean(1) + outputs["kind"]
"""


def files_of(folder: Path, trials: list[dict]) -> list[Path]:
    """The trials' ONNX files, where the store keeps them."""
    return [next((folder / "home").rglob(trial["artifact"])) for trial in trials]


def relative_error(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    """The root of the mean over outputs of squared relative errors."""
    squares = []
    for name in OUTPUTS:
        a, b = (x[name].astype(np.float64).reshape(len(x[name]), -1) for x in (found, wanted))
        squares.append(np.square(a - b).sum() / np.square(b - b.mean(0)).sum())
    return float(np.sqrt(np.mean(squares)))


def test_a_metric_of_the_users_own_gets_all_outputs_that_count(tmp_path: Path) -> None:
    several_net(tmp_path / "net.onnx")
    (tmp_path / "own.py").write_text(OWN)
    rng, x, x_test = np.random.default_rng(3), several_inputs(200, 4), several_inputs(150, 5)
    y, y_test = (unoptimised(several_net(), s)["boxes"] + rng.normal(0, 4, (len(s), 4)) for s in (x, x_test))
    np.savez(tmp_path / "data.npz", x_train=x, y_train=np.float32(y), x_test=x_test, y_test=np.float32(y_test))
    checked, trials = walked(
        tmp_path,
        "model: {source: net.onnx, outputs: [boxes, scores, kind]}\n"
        "data: {source: data.npz, preprocess: none, task: other}\n"
        "metric: {source: 'own.py:misplaced', higher_is_better: false}\n"
        "space:\n  quantize: [null, {weight_bits: 4, activation_bits: 32}, {weight_bits: 8, activation_bits: 8}]",
    )
    assert checked["baseline"]["metric"] == "Misplaced"
    assert [t["state"] for t in trials] == ["done"] * 3
    wanted = unoptimised(several_net(), x_test)
    for trial, path in zip(trials, files_of(tmp_path, trials), strict=True):
        assert [o.name for o in onnx.load(path).graph.output] == [*OUTPUTS]
        found = unoptimised(path, x_test)
        said = np.abs(found["boxes"] - np.float32(y_test)).mean(1) + found["kind"]
        # Int8 kernels round otherwise than the graph that says what they compute.
        close = 1e-4 if trial["recipe"] in ([], trials[1]["recipe"]) else 0.03
        assert trial["score"]["value"] == pytest.approx(said.mean(), rel=close)
        assert trial["fidelity"]["relative_error"]["value"] == pytest.approx(
            relative_error(found, wanted), rel=10 * close
        )
        assert "agreement" not in trial["fidelity"]
    assert 0 < trials[2]["fidelity"]["relative_error"]["value"] < 0.3
    with zipfile.ZipFile(tmp_path / "mine.zip") as bundle:
        settings = json.loads(bundle.read("preprocess.json"))
        assert [o["name"] for o in settings["outputs"]] == [*OUTPUTS]
        assert "all that count" in bundle.read("card.md").decode()


def test_a_built_in_metric_judges_the_output_that_it_names(tmp_path: Path) -> None:
    several_net(tmp_path / "net.onnx")
    rng, x, x_test = np.random.default_rng(7), several_inputs(120, 6), several_inputs(90, 8)
    y, y_test = (unoptimised(several_net(), s)["boxes"] + rng.normal(0, 4, (len(s), 4)) for s in (x, x_test))
    np.savez(tmp_path / "data.npz", x_train=x, y_train=np.float32(y), x_test=x_test, y_test=np.float32(y_test))
    base = "model: {source: net.onnx, outputs: [scores, boxes]}\ndata: {source: data.npz, preprocess: none}\n"
    _, trials = walked(
        tmp_path,
        base + "metric: {name: mae, output: boxes}\nspace:\n  quantize: [null, {weight_bits: 8, method: dynamic},"
        " {weight_bits: 8, activation_bits: 8, method: qat, epochs: 1, learning_rate: 0.00001}]",
    )
    mae = np.abs(unoptimised(several_net(), x_test)["boxes"] - np.float32(y_test)).mean()
    assert trials[0]["score"]["value"] == pytest.approx(mae, rel=1e-5)
    path = tmp_path / "wrong.yaml"
    path.write_text(f"name: wrong\n{base}metric: {{name: mae, output: kind}}\nspace: {{}}\n")
    said = paretoscope("run", path, home=tmp_path / "home")
    assert said.returncode == 2
    assert "metric.output 'kind' is none of the outputs that count (scores, boxes)" in said.stderr
