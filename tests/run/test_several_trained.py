"""Steps that train, and max_drop, where several outputs count: held against torch, and against ONNX Runtime on the files."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from torch import nn

from engine.models.call import call_function
from engine.store.artifacts import Artifacts
from engine.trials.trial import Trial
from tests.helpers.run_here import swept

NET = """
import torch
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.boxes, self.scores = nn.Linear(32, 4), nn.Linear(32, 6)

    def forward(self, x):
        h = self.trunk(x)
        return {"boxes": 100 * self.boxes(h), "scores": self.scores(h).reshape(-1, 2, 3)}


def build():
    torch.manual_seed(0)
    return Two()
"""
PRUNE = {"method": "channel", "ratio": 0.4, "round_to": 1, "finetune_epochs": 3}
INT8 = {"weight_bits": 8, "activation_bits": 8, "calibration_samples": 64}


@pytest.fixture
def place(place: Path) -> Path:
    """A network of two outputs, in hundreds and in ones, as a function and as a file, and vectors without targets."""
    (place / "nets.py").write_text(NET)
    x = np.random.default_rng(0).normal(0, 1, (2300, 12)).astype(np.float32)
    np.savez(place / "x.npz", x_train=x[:2000], x_test=x[2000:])
    network = call_function(f"{place / 'nets.py'}:build", {}, {}).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            _Tuple(network),
            (torch.zeros(1, 12),),
            place / "net.onnx",
            dynamo=False,
            input_names=["x"],
            output_names=["boxes", "scores"],
            dynamic_axes={n: {0: "N"} for n in ("x", "boxes", "scores")},
        )
    return place


class _Tuple(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.network(x).values())


def run(place: Path, source: str, space: dict[str, object], recipes: object = ()) -> list[Trial]:
    spec = {
        "name": "two",
        "model": {"source": source, "outputs": ["boxes", "scores"]},
        "data": {"source": "x.npz", "kind": "vector", "preprocess": "none", "task": "fidelity"},
        "space": space,
        "recipes": list(recipes),
        "measure": {"latency": None, "profiles": ["host"]},
    }
    (place / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    trials = swept(place / "spec.yaml")[1]
    assert not [t.error for t in trials if t.error]
    return trials


def errors(trial: Trial, place: Path) -> dict[str, float]:
    """How far each output of a trial's file is from torch's on data that it did not train on, as a share of how that varies."""
    network = call_function(f"{place / 'nets.py'}:build", {}, {}).eval()
    x = np.random.default_rng(1).normal(0, 1, (400, 12)).astype(np.float32)
    with torch.no_grad():
        wanted = {name: out.numpy() for name, out in network(torch.from_numpy(x)).items()}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(Artifacts.open().local(trial.artifact), options)
    assert [o.name for o in session.get_outputs()] == ["boxes", "scores"]
    found = dict(zip(wanted, session.run(None, {session.get_inputs()[0].name: x}), strict=True))
    assert {n: a.shape for n, a in found.items()} == {n: a.shape for n, a in wanted.items()}
    return {n: float((found[n] - wanted[n]).std() / wanted[n].std()) for n in wanted}


@pytest.mark.parametrize("source", ["nets.py:build", "net.onnx"])
def test_training_keeps_all_outputs_close_whatever_their_units(source: str, place: Path) -> None:
    if source.endswith(".onnx"):
        pytest.importorskip("onnx2torch")
    qat = INT8 | {"weight_bits": 3, "method": "qat", "epochs": 2}
    distil = [{"step": "distill", "student": "current", "epochs": 1, "learning_rate": 0.01}]
    trials = run(place, source, {"prune": [None, PRUNE], "quantize": [None, qat]}, [distil])
    told = {tuple(s.step for s in t.recipe.steps): t for t in trials}
    start = run(place, source, {"prune": [PRUNE | {"finetune_epochs": None}]})[-1]
    assert max(errors(told[()], place).values()) < 1e-4
    assert max(errors(told["distill",], place).values()) < 0.05
    before, after = errors(start, place), errors(told["prune", "finetune"], place)
    # Both come near, the one in hundreds no more than the other.
    assert all(after[n] < 0.7 * before[n] for n in before), (before, after)
    assert max(errors(told["quantize",], place).values()) < 0.5
    assert told["prune", "finetune"].params < 0.75 * told[()].params


def test_max_drop_is_held_by_the_metric_that_is_named(place: Path) -> None:
    with np.load(place / "x.npz") as file:
        arrays = dict(file)
    network = call_function(f"{place / 'nets.py'}:build", {}, {}).eval()
    with torch.no_grad():
        targets = {n[2:]: network(torch.from_numpy(x))["boxes"].numpy() for n, x in arrays.items()}
    np.savez(place / "x.npz", **arrays, **{f"y_{n}": y for n, y in targets.items()})
    spec = {
        "name": "held",
        "model": {"source": "nets.py:build", "outputs": ["boxes", "scores"]},
        "data": {"source": "x.npz", "kind": "vector", "preprocess": "none", "task": "regression"},
        "metric": {"name": "mae", "output": "boxes"},
        "space": {"quantize": [None, INT8 | {"weight_bits": 2}, INT8 | {"weight_bits": 2, "max_drop": 0.5}]},
        "measure": {"latency": None, "profiles": ["host"]},
    }
    (place / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    _, plain, held = swept(place / "spec.yaml")[1]
    assert not plain.error, plain.error
    assert not held.error, held.error
    assert plain.judged.value > 1, "two bits everywhere lose more"
    assert held.judged.value < 0.7, "the limit is of validation samples"
    session = onnxruntime.InferenceSession(Artifacts.open().local(held.artifact))
    found = session.run(["boxes"], {"input": arrays["x_test"]})[0]
    assert np.abs(found - targets["test"]).mean() == pytest.approx(held.judged.value, rel=1e-3)
