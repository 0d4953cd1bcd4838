"""`check` of a recipe that computes in float16: what overflows or vanishes there is counted before anything runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.check.findings import Finding
from engine.check.report import check
from engine.spec.sweep import Sweep, parse_sweep

HALF = {"step": "quantize", "weight_bits": 16, "activation_bits": 32, "compute": "float16"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 300)
    x = random.uniform(0, 1, (300, 6)).astype(np.float32)
    x[np.arange(300), y] += 3
    np.savez(tmp_path / "d.npz", x=x, y=y)
    return tmp_path


def linear(folder: Path, scale: float) -> str:
    """The largest of the first three numbers, once multiplied by `scale` and divided by it again."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"], "grow"),
            helper.make_node("Mul", ["a", "back"], ["y"], "shrink"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [
            numpy_helper.from_array((scale * np.eye(6, 3)).astype(np.float32), "w"),
            numpy_helper.from_array(np.float32(1 / scale), "back"),
        ],
    )
    path = folder / f"{scale:g}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def told(folder: Path, source: str, step: dict[str, object]) -> list[Finding]:
    sweep: Sweep = parse_sweep(
        {
            "name": "t",
            "model": {"source": source},
            "data": {"source": str(folder / "d.npz"), "preprocess": "none"},
            "recipes": [[step]],
        }
    )
    report = check(sweep)
    assert report.ok, report.findings
    return [f for f in report.findings if "float16" in f.what]


def test_overflow_is_counted_and_named(data: Path) -> None:
    """Weights of 30,000 fit into float16; times inputs of 3 and more the products do not."""
    (found,) = told(data, linear(data, 30_000.0), HALF)
    assert found.level == "warning"
    x = np.load(data / "d.npz")["x"]
    assert (x.max(axis=1) * 30_000 > 65_520).any()
    over = int(found.what.split("activations on calibration samples ")[1].split(" overflow")[0].replace(",", ""))
    # Of 64 samples of six numbers, three are multiplied; the largest of them, above 2.184, overflows in each sample.
    assert 64 <= over <= 64 * 3
    assert "too large is MatMul 'grow'" in found.what
    assert "(1 operator, and" in found.remedy


def test_vanishing_weights_are_counted(data: Path) -> None:
    (found,) = told(data, linear(data, 1e-9), HALF)
    assert "weights" in found.what
    assert "become zero" in found.what


def test_nothing_is_told_of_what_fits_or_of_other_recipes(data: Path) -> None:
    assert told(data, linear(data, 2.0), HALF) == []
    assert told(data, linear(data, 30_000.0), {"step": "quantize", "weight_bits": 8, "activation_bits": 32}) == []


def test_a_torch_network_is_counted_too(data: Path) -> None:
    (data / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self, num_classes):\n        super().__init__()\n        self.line = nn.Linear(6, num_classes)\n"
        "        with torch.no_grad():\n            self.line.weight.copy_(30000 * torch.eye(num_classes, 6))\n"
        "    def forward(self, x):\n        return self.line(x) / 30000\n\n\ndef build(num_classes):\n    return Net(num_classes)\n"
    )
    (found,) = told(data, f"{data / 'net.py'}:build", HALF)
    assert "overflow" in found.what
