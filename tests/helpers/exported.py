"""Bundles of networks that are no classifiers of pictures, each written in a second: what every form of export has to be right for."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import UNLABELLED, Split
from engine.export.bundle import write_bundle
from engine.graph.inputs import NamedArrays
from engine.spec.recipe import Recipe
from tests.helpers.bundles import World, make_sweep, make_trial
from tests.helpers.several_inputs import token_net, tokens_and_masks
from tests.helpers.several_outputs import several_inputs, several_net

AS_THEY_ARE = Preprocessing(1.0, (0.0,), (1.0,), untouched=True)


def parts_of(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pictures(world: World) -> dict[str, bytes]:
    """The world's linear classifier of pictures."""
    return parts_of(world.write())


def tokens(folder: Path) -> dict[str, bytes]:
    """Two inputs of whole numbers with a free axis, four classes."""
    model = onnx.load(token_net(folder / "tokens.onnx"))
    del model.graph.output[0]
    onnx.save(model, str(folder / "tokens.onnx"))
    words, mask, labels = tokens_and_masks(60, 0)
    split = Split(NamedArrays({"tokens": words, "mask": mask}), labels.astype(np.int64))
    data = Dataset("tokens", "cd" * 32, ("a", "b", "c", "d"), AS_THEY_ARE, split, split, split, split)
    session = onnxruntime.InferenceSession(folder / "tokens.onnx")
    right = session.run(None, {"tokens": words, "mask": mask})[0].argmax(1) == labels
    trial = make_trial(float(right.mean()), len(labels), Recipe())
    return parts_of(write_bundle(folder / "tokens.zip", folder / "tokens.onnx", trial, make_sweep(), data, trial))


def values(folder: Path) -> dict[str, bytes]:
    """One input and four outputs, floats and whole numbers, one without an axis beside the samples; no classes, no targets."""
    several_net(folder / "values.onnx")
    asked = several_inputs(40, 0)
    split = Split(asked, np.full(len(asked), UNLABELLED, np.int64))
    data = Dataset("values", "ef" * 32, (), AS_THEY_ARE, split, split, split, split, task="regression")
    trial = dataclasses.replace(make_trial(0.5, 40, Recipe()), accuracy=None)
    return parts_of(write_bundle(folder / "values.zip", folder / "values.onnx", trial, make_sweep(), data, trial))
