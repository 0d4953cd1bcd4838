"""Playground and a server open a network by one loader: both answer alike to the bit, preprocessed alike and with the same runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.datasets.load import load_dataset
from engine.export.bundle import export_bundle
from engine.export.opened import HowToAsk, Opened, of_trial
from engine.serve.model import Model
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.uploads.networks import NetworkFile
from tests.helpers.bundles import World, linear_model


@pytest.mark.parametrize("number", [0, 1])
def test_both_answer_alike_to_the_bit(home: Path, tmp_path: Path, number: int) -> None:
    """The baseline and a quantized recipe of the shipped example, on test images that the bundle's sample does not hold all of."""
    store, artifacts = Store.open(), Artifacts.open()
    row = next(r for r in store.sweeps() if r.example)
    sweep, trial = store.spec(row.id), store.trials(row.id)[number]
    served = Model(export_bundle(store, artifacts, row.id, trial.id, tmp_path / "b.zip"))
    data = load_dataset(sweep.data)
    how, path = of_trial(trial, sweep, data), artifacts.local(trial.artifact)
    here = Opened(path, how)
    for i in range(12):
        image = data.test.inputs[i : i + 1]
        ours, theirs = here.run(here.fed({"": image})), served.run(served.fed({"": image}))
        assert len(ours) == len(theirs) == 1
        assert ours[0].dtype == theirs[0].dtype
        assert np.array_equal(ours[0], theirs[0])
    # As the page asks, in a process of its own.
    scores = theirs[0][0].astype(np.float64)
    shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    told = NetworkFile(path, trial.label, True).answer(image, how)
    best = np.argsort(-shares, kind="stable")[: len(told.top)]
    assert told.top == tuple((served.labels[i], float(shares[i])) for i in best)


def test_both_run_as_the_recipe_was_measured(world: World) -> None:
    recipe = Recipe(steps=(Runtime(graph_optimisation="disable", threads=2),))
    world.trial = world.trial.__class__(**{**world.trial.__dict__, "recipe": recipe, "id": recipe.id})
    how = of_trial(world.trial, world.sweep, world.data)
    served = Model(world.write())
    for opened in (Opened(world.model, how), served._opened):
        level = opened.session.get_session_options().graph_optimization_level
        assert level.name == "ORT_DISABLE_ALL"
    assert how.labels == tuple(served.labels)
    assert {key: served.settings[key] for key in how.settings} == how.settings | {"stored_shape": [3, 5, 6]} | {
        key: list(how.settings[key]) for key in ("mean", "std")
    }


def test_both_fill_a_fixed_batch(world: World) -> None:
    world.model = linear_model(world.folder / "fixed.onnx", batch=64)
    how: HowToAsk = of_trial(world.trial, world.sweep, world.data)
    here, served, x = Opened(world.model, how), Model(world.write()), {"": world.data.test.inputs[:70]}
    assert np.array_equal(here.run(here.fed(x))[0], served.run(served.fed(x))[0])
    assert len(here.run(here.fed(x))[0]) == 70
