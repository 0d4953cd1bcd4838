"""What tests of bundles start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.spec.recipe import Recipe
from engine.store.artifacts import Artifacts
from engine.store.store import Store
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


@pytest.fixture
def stored(world: World, home: Path) -> tuple[Store, Artifacts]:
    """The world's sweep as the runner leaves it: both trials and the model's file, in a store and an artifact folder."""
    data = world.folder / "patches.npz"
    split = world.data.test
    # Training images of its own: splits that share images are refused.
    np.savez(data, x_train=255 - split.inputs, y_train=split.labels, x_test=split.inputs, y_test=split.labels)
    preprocessing = world.data.preprocessing
    world.sweep = make_sweep(data={"source": str(data), "mean": preprocessing.mean, "std": preprocessing.std})
    store, artifacts = Store.open(), Artifacts.open()
    store.begin(world.sweep, [world.baseline, world.trial], 2, 2)
    store.end(world.sweep.id, "done")
    assert world.trial.artifact is not None
    artifacts.put(world.trial.artifact, Path(shutil.copy(world.model, world.folder / "copy.onnx")))
    return store, artifacts
