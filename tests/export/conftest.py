"""What tests of bundles start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.spec.recipe import Recipe
from tests.helpers.bundles import (
    World,
    linear_model,
    make_dataset,
    make_sweep,
    make_trial,
    measured_accuracy,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    data = make_dataset()
    model = linear_model(tmp_path / "m.onnx")
    accuracy = measured_accuracy(model, data)
    assert 0.6 < accuracy < 0.99, "the toy task must be neither trivial nor hopeless"
    n = len(data.test)
    baseline = make_trial(accuracy + 0.01, n, Recipe())
    return World(tmp_path, model, data, make_trial(accuracy, n), baseline, make_sweep())
