"""A bundle to serve, with what its file says of its sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.spec.recipe import Recipe
from tests.helpers.bundles import World, linear_model, make_dataset, make_sweep, make_trial, measured_accuracy


@pytest.fixture
def world(tmp_path: Path) -> World:
    data, model = make_dataset(), linear_model(tmp_path / "m.onnx")
    accuracy, n = measured_accuracy(model, data), len(data.test)
    return World(tmp_path, model, data, make_trial(accuracy, n), make_trial(accuracy, n, Recipe()), make_sweep())


@pytest.fixture
def bundle(world: World) -> Path:
    return world.write()
