"""What a file gets right where sums are exact, counted on a CPU that saturates (or takes itself for one)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.graph.graph import load_onnx, save_onnx
from engine.measure.elsewhere import metric_with_exact_sums, right_with_exact_sums
from engine.measure.emulation import Emulator
from engine.spec.metric import MetricChoice
from tests.helpers.integer_nets import images, qdq_net

AS_THEY_ARE = Preprocessing(scale=1.0, mean=(0.0, 0.0), std=(1.0, 1.0))


@pytest.fixture
def saturates(monkeypatch):
    for module in ("emulation", "elsewhere"):
        monkeypatch.setattr(f"engine.measure.{module}.runtime_sums", lambda: "saturating")


def two_features(tmp_path, factor=1):
    """The larger feature, class 0, is a pair that saturates to less than the other; all pixels bright."""
    weights = np.zeros((2, 2, 1, 2), int)
    weights[0, :, 0, 0] = 127 // factor
    weights[1, 0, 0, :] = 95 // factor
    model = qdq_net(weights, pads=0, scale=0.001 * factor, head=np.eye(5, 2, dtype=int) * 100)
    save_onnx(model, tmp_path / "net.onnx")
    bright = np.full_like(images(12, 2), 5.5)
    return tmp_path / "net.onnx", Split(bright, np.array([0] * 9 + [1] * 3))


def test_the_exact_answers_are_counted(tmp_path, saturates):
    path, split = two_features(tmp_path)
    assert right_with_exact_sums(path, split, AS_THEY_ARE) == 9


def test_there_is_no_other_figure_where_nothing_differs(tmp_path, saturates, monkeypatch):
    path, split = two_features(tmp_path)
    assert right_with_exact_sums(path, split, AS_THEY_ARE, graph_optimisation="basic") is None
    assert right_with_exact_sums(path, split, AS_THEY_ARE, provider="CUDA") is None
    assert right_with_exact_sums(path, Split(split.inputs, np.full(12, -1)), AS_THEY_ARE) is None
    safe, _ = two_features(tmp_path, factor=2)
    assert right_with_exact_sums(safe, split, AS_THEY_ARE) is None
    monkeypatch.setattr("engine.measure.elsewhere.runtime_sums", lambda: "exact")
    path, _ = two_features(tmp_path)
    assert right_with_exact_sums(path, split, AS_THEY_ARE) is None


def as_data(classes=()):
    return SimpleNamespace(preprocessing=AS_THEY_ARE, has_classes=bool(classes), classes=classes)


def test_every_metric_is_counted_with_exact_sums(tmp_path, saturates):
    path, split = two_features(tmp_path)
    exact = Emulator(load_onnx(path)).exact(split.inputs)
    wanted = exact + np.arange(12, dtype=np.float32)[:, None]
    values = replace(split, labels=np.full(12, -1), targets=wanted)
    found, told = metric_with_exact_sums(path, values, as_data(), MetricChoice(name="mae"))
    assert found == pytest.approx(5.5, rel=1e-5)
    assert told is None
    auroc, _ = metric_with_exact_sums(path, split, as_data(("a", "b")), MetricChoice(name="macro_f1"))
    assert auroc == pytest.approx(2 * 9 / (12 + 9) / 2)
    assert metric_with_exact_sums(path, split, as_data(("a", "b")), None) == (None, None)


def test_without_a_metric_it_is_said_how_far_answers_are_from_those_with_exact_sums(tmp_path, saturates, monkeypatch):
    path, split = two_features(tmp_path)
    monkeypatch.setattr(Emulator, "exact", lambda self, images: np.tile([[1.0, 2.0], [3.0, 2.0]], (6, 1)))
    monkeypatch.setattr("engine.measure.elsewhere.values", lambda *_, **__: np.tile([[1.5, 2.0], [3.5, 2.0]], (6, 1)))
    bare = replace(split, labels=np.full(12, -1))
    _, told = metric_with_exact_sums(path, bare, as_data(), None)
    assert told is not None
    assert told.endswith("outputs are 50.00% of how they vary away from these")
    _, told = metric_with_exact_sums(path, bare, as_data(("a", "b")), None)
    assert told is not None
    assert told.endswith("0 of 12 samples get another class")
    monkeypatch.setattr("engine.measure.elsewhere.runtime_sums", lambda: "exact")
    assert metric_with_exact_sums(path, bare, as_data(), None) == (None, None)
