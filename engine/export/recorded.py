"""A trial's file with what it answers on a sample of the test split: what everything that is taken home starts from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine import __version__
from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset, reported
from engine.datasets.splits import Split
from engine.errors import InputError
from engine.export import predict_template, verify_template
from engine.export.opened import Opened, of_trial
from engine.export.predict_template import BundleError, Stream
from engine.export.stream_template import counted, states_of, streamed
from engine.export.verify_template import Quality, recorded_quality
from engine.graph.graph import read_onnx
from engine.graph.inputs import Signature, is_array
from engine.graph.multiplying import rounds_as_it_runs
from engine.spec.sweep import Sweep
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

Array = npt.NDArray[Any]

SAMPLE_IMAGES = 500
SAMPLE_BYTES = 16 << 20
"""The sample's size: 500 images put ±2 points around an accuracy of 95 %, and large images must not make the zip heavy."""

INTEGER_OPS = frozenset(
    {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
)
"""A graph with one of these computes in integers somewhere; weight-only files have DequantizeLinear alone."""


@dataclass(frozen=True)
class Stored:
    """A measured trial of a sweep as it is stored: its file, what it was made from, and the sweep's baseline."""

    sweep: Sweep
    trial: Trial
    model: Path
    baseline: Trial


@dataclass(frozen=True)
class Recorded:
    """What a file answers on the sample.

    `settings` is preprocess.json, `labels` the lines of labels.txt. `inputs` are the sample's as they are stored, by name ("" where
    there is one), `outputs` (n, ...) the answers, several side by side, `predictions` (n,) the classes that score highest,
    `stream` the answers as streams, where the file has states. `session` is the one that gave them, run as `runtime` says; `arithmetic` is
    `int8` or `float`.
    """

    settings: dict[str, Any]
    labels: tuple[str, ...]
    sample: Split
    inputs: dict[str, Array]
    outputs: Array
    predictions: npt.NDArray[np.int64]
    stream: Array | None
    session: Any
    runtime: dict[str, Any]
    arithmetic: str

    @property
    def asked(self) -> dict[str, Array]:
        """The inputs as sample.npz has them: of several one each, under `inputs/NAME`."""
        return {f"inputs/{name}".removesuffix("/"): array for name, array in self.inputs.items()}

    @property
    def answers(self) -> dict[str, Array]:
        """What sample.npz has beside them: classes and what was predicted, or values and what they should be."""
        stream = {} if self.stream is None else {"stream": self.stream}
        if self.settings["task"] == "classification":
            return {**stream, "labels": self.sample.labels, "predictions": self.predictions.astype(np.int64)}
        several = "outputs" in self.settings
        targets = {} if self.sample.targets is None else {"targets": self.sample.targets}
        return {"outputs": self.outputs if several else self.outputs.astype(np.float32), **targets, **stream}

    @property
    def labels_txt(self) -> bytes:
        """A class a line; empty where there are none."""
        return "".join(f"{name}\n" for name in self.labels).encode()


def stored_trial(store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str) -> Stored:
    """A measured trial with its file; raises NotFoundError for an unknown one, InputError for one that is not measured."""
    row = store.sweep(sweep_ref)
    sweep, trial = store.spec(row.id), store.trial(row.id, trial_id)
    if trial.state != "done" or trial.artifact is None:
        reason = trial.error or f"it is {trial.state}"
        raise InputError(f"trial {trial.id} ({trial.label}) has no measured model to export: {reason}")
    return Stored(sweep, trial, artifacts.local(trial.artifact), store.trials(row.id)[0])


def record_stored(stored: Stored) -> Recorded:
    """As `record`, of a stored trial on its sweep's data."""
    return record(stored.model, stored.trial, stored.sweep, load_dataset(stored.sweep.data))


def record(model: Path, trial: Trial, sweep: Sweep, dataset: Dataset) -> Recorded:
    """Ask a trial's file on the sample; raises InputError where it does not run or no longer answers as it was measured."""
    how = of_trial(trial, sweep, dataset)
    settings = how.settings
    sample = draw_sample(reported(dataset.test, sweep.measure)).loaded()
    try:
        session = Opened(model, how).session
        settings |= _signature(session, dataset)
        if rounds_as_it_runs(read_onnx(model)):
            settings["alone"] = True  # as accuracy was counted
        inputs = {
            n: a[:] for n, a in ({"": sample.inputs} if is_array(sample.inputs) else sample.inputs.arrays).items()
        }
        settings |= _several(session, inputs, settings)
        if (states := states_of(session)) and predict_template.fixed_batch(session) <= 1:
            settings["states"] = states
        outputs = predict_template.outputs(session, inputs, settings)
        stream = streamed(Stream(session, settings), inputs) if settings.get("states") else None
    except BundleError as error:
        raise InputError(f"{trial.label} cannot be exported: {error}") from None
    predictions = verify_template.classes_of(outputs)
    right = int((predictions == sample.labels).sum())
    # Without labels nothing but the answers themselves can be held against those that were recorded.
    if trial.accuracy and not verify_template.sample_agrees(right, len(sample), trial.accuracy.value, trial.accuracy.n):
        raise InputError(
            f"the file of {trial.label} gets {right} of {len(sample)} test images right, but {trial.accuracy.value:.1%} were "
            "measured: it is not the file that was measured; run the sweep again"
        )
    return Recorded(
        settings, how.labels, sample, inputs, outputs, predictions, stream, session, how.runtime, arithmetic_of(model)
    )  # fmt: skip


def manifest_of(told: Recorded, trial: Trial, sweep: Sweep, baseline: Trial | None) -> dict[str, Any]:
    """What programs beside a file have to know of it: how it ran, and the figures that it is held against."""
    return {
        "paretoscope": __version__,
        "trial": trial.id,
        "label": trial.label,
        "arithmetic": told.arithmetic,
        "metric": sweep.metric.name if sweep.metric and sweep.metric.source is None else None,
        "runtime": told.runtime,
        **({"metric_output": sweep.metric.output} if sweep.metric and sweep.metric.output else {}),
        "expected": trial.to_json(),
        "baseline": asdict(recorded_quality({"expected": baseline.to_json()}) if baseline else Quality(None)),
    }


def draw_sample(split: Split) -> Split:
    """Up to 500 images (16 MiB at most) of the split, drawn without replacement; the same ones for every trial."""
    per_image = max(1, split.inputs[:1].nbytes)
    n = min(len(split), SAMPLE_IMAGES, max(1, SAMPLE_BYTES // per_image))
    chosen = np.sort(np.random.default_rng(0).choice(len(split), n, replace=False))
    return split.take(chosen)


def arithmetic_of(model: Path) -> str:
    """`int8` where a file computes in integers somewhere, `float` where it never does."""
    import onnx

    found = onnx.load(str(model), load_external_data=False)
    nodes = [*found.graph.node, *(node for function in found.functions for node in function.node)]
    return "int8" if any(node.op_type in INTEGER_OPS for node in nodes) else "float"


def _signature(session: Any, dataset: Dataset) -> dict[str, Any]:
    """What goes in and comes out, under the names that the file uses."""
    output = {
        "name": counted(session)[0],
        "meaning": "one score per line of labels.txt; the highest wins" if dataset.has_classes else "values",
    }
    shape, kind = dataset.input_shape, "float32"
    if isinstance(shape, Signature):
        if shape.tensors[0][0]:
            return {"formula": "as they are stored", "output": output}
        _, shape, kind = shape.tensors[0]
    states = [state["input"] for state in states_of(session)]
    own = {
        "name": next(one.name for one in session.get_inputs() if one.name not in states),
        "dtype": kind,
        "layout": _layout(dataset),
        "shape": ["N", *shape],
    }
    formula = "as they are stored" if dataset.preprocessing.untouched else "(x * scale - mean) / std, per channel"
    return {"formula": formula, "input": own, "output": output}


def _several(session: Any, inputs: dict[str, npt.NDArray[Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """What comes out where several outputs count: their names, number types, and shapes for one sample, as a run tells them."""
    names = counted(session)
    if len(names) < 2:
        return {}
    some = {name: array[:1] for name, array in inputs.items()}
    given = session.run(names, predict_template.fed(session, some, settings, predict_template.fixed_batch(session)))
    return {
        "outputs": [
            {"name": name, "dtype": str(a.dtype), "shape": list(a.shape[1:])}
            for name, a in zip(names, given, strict=True)
        ]
    }


def _layout(dataset: Dataset) -> str:
    if dataset.is_images:
        return "NHWC" if dataset.preprocessing.channels_last else "NCHW"
    return "channels last" if dataset.preprocessing.channels_last else "channels first"
