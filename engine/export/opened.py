"""A network with its preprocessing, classes and runtime, ready to answer: one loader for a trial's file and for what a bundle holds.

Playground opens the first and `serve` the second; both answer by the functions of a bundle's own `predict.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.datasets.dataset import Dataset
from engine.export.predict_template import Array, BundleError, fed, fixed_batch, one_line, open_model, read_json
from engine.export.stream_template import begun, counted, states_of
from engine.graph.inputs import is_array
from engine.spec.sections import LatencyOptions
from engine.spec.sweep import Sweep
from engine.trials.trial import Trial


@dataclass(frozen=True)
class HowToAsk:
    """What beside its bytes says how a network is asked: `settings` as in preprocess.json, `labels` a class each, none for values, and
    `runtime`, ONNX Runtime's options as a manifest has them.
    """

    settings: dict[str, Any]
    labels: tuple[str, ...]
    runtime: dict[str, Any]


def of_trial(trial: Trial, sweep: Sweep, dataset: Dataset) -> HowToAsk:
    """That of a measured trial on its sweep's data: the settings hold what is done with the inputs, not yet the file's own names."""
    return HowToAsk(settings_of(sweep, dataset), labels_of(dataset), runtime_of(trial, sweep))


def of_folder(folder: Path, manifest: Mapping[str, Any]) -> HowToAsk:
    """That of an unpacked bundle; raises BundleError, OSError, or KeyError for a part that is none."""
    labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
    return HowToAsk(read_json(folder / "preprocess.json"), tuple(labels), dict(manifest["runtime"]))


def runtime_of(trial: Trial, sweep: Sweep) -> dict[str, Any]:
    """ONNX Runtime's options as the trial was measured, every one stated."""
    return (sweep.measure.latency or LatencyOptions()).filled(trial.recipe.runtime).options


def labels_of(dataset: Dataset) -> tuple[str, ...]:
    """The classes' names, each one line."""
    return tuple(" ".join(name.split()) for name in dataset.classes)


def settings_of(sweep: Sweep, dataset: Dataset) -> dict[str, Any]:
    """How the data's inputs lie, and what is done with them before the network reads them."""
    stored = dataset.test.inputs
    settings: dict[str, Any] = {k: v for k, v in asdict(dataset.preprocessing).items() if k != "untouched" or v}
    settings["task"] = dataset.task
    if is_array(stored):
        settings |= {"stored_dtype": str(stored.dtype), "stored_shape": stored.shape[1:]}
    else:
        settings["inputs"] = [
            {"name": n, "array": sweep.data.arrays.get(n, n), "dtype": str(a.dtype), "shape": ["N", *a.shape[1:]]}
            for n, a in stored.arrays.items()
        ]
    if (said := sweep.data.preprocess) and (said.resize or said.crop):
        settings["pictures"] = {"resize": said.resize, "crop": said.crop}
    if dataset.sounds:
        settings["audio"] = dict(dataset.sounds)
    return settings


class Opened:
    """A session of a file with how it is asked. Safe to call from several threads; raises BundleError where the file cannot be opened.

    `states` are inputs that are zeros at the start of every sample, neither asked for nor given back; `names` are the outputs that count;
    `fixed` is the batch that the file insists on, else 0. `threads` replaces those that it was measured with; `name` is for messages.
    """

    def __init__(self, file: Path, how: HowToAsk, threads: int = 1, name: str = "the model") -> None:
        runtime = how.runtime
        self.name, self.settings, self.labels = name, how.settings, how.labels
        self.session = open_model(file, threads, runtime["graph_optimisation"], runtime["provider"])
        self.states = tuple(str(state["input"]) for state in states_of(self.session))
        self.names = counted(self.session)
        self.fixed = fixed_batch(self.session)

    def fed(self, stored: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs as they are stored, by name ("" where there is one) -> what the graph takes, without states; raises BundleError."""
        try:
            taken = fed(self.session, dict(stored), self.settings)
        except (KeyError, ValueError) as error:
            raise BundleError(f"the inputs do not fit {self.name}: {one_line(error)}") from None
        return {name: array for name, array in taken.items() if name not in self.states}

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """All outputs for what the graph takes, as it takes it; a fixed batch is filled up, and cut off again. Raises BundleError."""
        if not self.fixed:
            return self._called(inputs)
        rows, parts = _rows(inputs), []
        for start in range(0, rows, self.fixed):
            some = {name: array[start : start + self.fixed] for name, array in inputs.items()}
            held = len(next(iter(some.values())))
            filled = {n: np.concatenate([a, np.repeat(a[:1], self.fixed - held, axis=0)]) for n, a in some.items()}
            parts.append([output[:held] for output in self._called(filled)])
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def _called(self, inputs: Mapping[str, Array]) -> list[Array]:
        try:
            whole = {**inputs, **begun(self.session, _rows(inputs))} if self.states else dict(inputs)
            return [np.asarray(output) for output in self.session.run(self.names, whole)]
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise BundleError(f"{self.name} cannot run on these inputs: {one_line(error)}") from None


def _rows(inputs: Mapping[str, Array]) -> int:
    return len(next(iter(inputs.values())))
