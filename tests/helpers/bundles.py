"""A small network with its data, trial and sweep, exported as a bundle."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.export import predict_template, verify_template
from engine.export.bundle import write_bundle
from engine.spec.recipe import Recipe
from engine.spec.steps import Finetune, Prune, Quantize
from engine.spec.sweep import Sweep, parse_sweep
from engine.trials.evidence import Accuracy, Interval
from engine.trials.measurements import Energy, Latency, Machine, Projection
from engine.trials.trial import Trial

CLASSES = 4
RECIPE = Recipe(
    steps=(
        Prune(method="channel", ratio=0.5),
        Finetune(epochs=1, samples=2000),
        Quantize(weight_bits=8, activation_bits=8),
    )
)
MACHINE = Machine("abc", "Test CPU", 2, 4.0, ("avx2",), "Linux", {"onnxruntime": "1.32.0", "numpy": "2.4.6"})


def make_dataset(seed: int = 0, n: int = 700) -> Dataset:
    """Images of 3×5×6 whose class is the quarter that is brightest, with noise enough that a linear model errs at times."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, n)
    images = random.integers(0, 200, (n, 3, 5, 6))
    images[np.arange(n), 0, labels, :] += 50
    split = Split(images.astype(np.uint8), labels.astype(np.int64))
    part = split.head(10)
    preprocessing = Preprocessing(1 / 255, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    return Dataset("patches", "ab" * 32, ("top left", "b/c", "Größe", "d"), preprocessing, part, part, part, split)


def linear_model(path: Path, flip: bool = False, batch: int | str = "N", quantized: bool = False) -> Path:
    """Logit k = sum of row k of channel 0: right for most of `make_dataset`; `flip` swaps two classes."""
    weights = np.zeros((90, CLASSES), np.float32)
    for k in range(CLASSES):
        weights[6 * k : 6 * k + 6, k] = 1
    if flip:
        weights = weights[:, ::-1]
    nodes = [helper.make_node("Flatten", ["pixels"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["scores"])]
    constants = [numpy_helper.from_array(np.ascontiguousarray(weights), "w")]
    if quantized:
        nodes = [
            helper.make_node("QuantizeLinear", ["pixels", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["coarse"]),
            helper.make_node("Flatten", ["coarse"], ["flat"]),
            nodes[1],
        ]
        constants += [numpy_helper.from_array(np.float32(0.05), "s"), numpy_helper.from_array(np.uint8(128), "z")]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, 5, 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, CLASSES])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def measured_accuracy(model: Path, data: Dataset) -> float:
    settings = dataclasses.asdict(data.preprocessing)
    predicted = verify_template.classes_of(
        predict_template.outputs(predict_template.open_model(model), data.test.inputs, settings)
    )
    return float((predicted == data.test.labels).mean())


def make_trial(accuracy: float, n: int, recipe: Recipe = RECIPE, **changes: Any) -> Trial:
    return dataclasses.replace(
        Trial(
            id=recipe.id,
            recipe=recipe,
            state="done",
            accuracy=Accuracy(accuracy, accuracy - 0.02, accuracy + 0.02, n, 0.25),
            size_bytes=81_234,
            size_zipped_bytes=61_000,
            params=360,
            nonzero_params=24,
            macs=360,
            latency_ms=Latency(0.123, 0.2, 0.3),
            latency_ratio=Interval(0.75, 0.73, 0.77),
            projections={"host": Projection(None, Energy(1.5, 0.8, 2.5, "datasheet", "CPU power share of 7.5 W"))},
            machine=MACHINE,
            artifact="ab" * 32 + ".onnx",
            notes=("stm32h7a3-xcubeai: no row for this operator",),
        ),
        **changes,
    )


def make_sweep(**changes: Any) -> Sweep:
    return parse_sweep({"name": "first look", "model": {"source": "/home/someone/nets.py:build"}, **changes})


@dataclasses.dataclass
class World:
    """A measured trial with its model, data and baseline."""

    folder: Path
    model: Path
    data: Dataset
    trial: Trial
    baseline: Trial
    sweep: Sweep

    def write(self, name: str = "bundle.zip") -> Path:
        return write_bundle(self.folder / name, self.model, self.trial, self.sweep, self.data, self.baseline)


def unzip(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def run_verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the person who gets the bundle would: from elsewhere, without this project on the path."""
    command = [sys.executable, "-W", "error", "-I", str(folder / "verify.py"), *arguments]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False)


def replace_part(source: Path, target: Path, **parts: bytes | None) -> Path:
    """A copy of a bundle with members replaced, added or (None) left out; dots in names are written as underscores."""
    changes = {name.replace("__", "/").replace("_", ".", 1): content for name, content in parts.items()}
    with zipfile.ZipFile(source) as old:
        members = {name: old.read(name) for name in old.namelist()} | changes
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            if content is not None:
                new.writestr(name, content)
    return target
