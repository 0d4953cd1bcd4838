"""Bundles: a chosen trial as one zip that proves itself, and the check of such a zip.

    model.onnx  recipe.yaml  preprocess.json  labels.txt  card.md  card.html  metrics.json  sample.npz  predict.py  verify.py
    Dockerfile  manifest.json

`predict.py` is the template of that name in this folder, `verify.py` the two others as one text, which imports it. `verify_bundle` runs
them from here: never code out of a zip.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import yaml

from engine import __version__
from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset, reported
from engine.datasets.splits import Split
from engine.errors import InputError
from engine.export import predict_template, verify_main_template, verify_template
from engine.export.bundle_parts import card_html, dockerfile, metadata_of, metrics_json, with_metadata
from engine.export.card import card
from engine.export.predict_template import BundleError, Stream
from engine.export.stream_template import counted, in_turns, states_of
from engine.export.verify_template import Check, Limits, Quality, recorded_quality
from engine.export.zips import check_target, packed, unpacked, write_atomically
from engine.graph.graph import read_onnx
from engine.graph.inline import inlined
from engine.graph.inputs import Signature, is_array
from engine.graph.multiplying import rounds_as_it_runs
from engine.spec.labels import source_name
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.spec.sections import LatencyOptions
from engine.spec.sweep import Sweep
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

SAMPLE_IMAGES = 500
SAMPLE_BYTES = 16 << 20
"""The sample's size: 500 images put ±2 points around an accuracy of 95 %, and large images must not make the zip heavy."""

PARTS = (
    "Dockerfile", "card.html", "card.md", "labels.txt", "manifest.json", "metrics.json", "model.onnx", "predict.py", "preprocess.json",
    "recipe.yaml", "sample.npz", "verify.py",
)  # fmt: skip

INTEGER_OPS = frozenset(
    {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
)
"""A graph with one of these computes in integers somewhere; weight-only files have DequantizeLinear alone."""


@dataclass(frozen=True)
class VerifyReport:
    """What `paretoscope verify` found; `lines` is the table to print."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def lines(self) -> tuple[str, ...]:
        """The checks as a table and a verdict."""
        return tuple(verify_main_template.table(self.checks))

    def to_json(self) -> dict[str, Any]:
        """`{"ok", "checks": [{"name", "ok", "found", "expected"}]}`."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}


def export_bundle(store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str, target: Path) -> Path:
    """Write a stored trial as a bundle at `target` (a file that is there is replaced) and return the path.

    Raises NotFoundError for an unknown sweep, trial or artifact, InputError for a trial that is not measured, a target that
    cannot be written, or a model that no longer answers as it was measured.
    """
    row = store.sweep(sweep_ref)
    sweep, trial = store.spec(row.id), store.trial(row.id, trial_id)
    if trial.state != "done" or trial.artifact is None:
        reason = trial.error or f"it is {trial.state}"
        raise InputError(f"trial {trial.id} ({trial.label}) has no measured model to export: {reason}")
    check_target(target)
    baseline = store.trials(row.id)[0]
    return write_bundle(target, artifacts.local(trial.artifact), trial, sweep, load_dataset(sweep.data), baseline)


def write_bundle(
    target: Path, model: Path, trial: Trial, sweep: Sweep, dataset: Dataset, baseline: Trial | None = None
) -> Path:
    """Write the bundle of a measured trial whose ONNX file is `model`; the same input gives the same bytes.

    The sample's recorded answers come from running `model` here. Raises InputError as `export_bundle` does.
    """
    check_target(target)
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
    sample = draw_sample(reported(dataset.test, sweep.measure)).loaded()
    try:
        runtime = _runtime(trial, sweep)
        session = predict_template.open_model(
            model, graph_optimisation=runtime.graph_optimisation or "all", provider=runtime.provider or "CPU"
        )
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
        stream = in_turns(Stream(session, settings), inputs) if settings.get("states") else None
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
    text, bare = (
        card(trial, sweep, dataset, baseline, len(sample), __version__, settings.get("states", ())),
        model.read_bytes(),
    )
    names = [" ".join(name.split()) for name in dataset.classes]
    parts = {
        "model.onnx": with_metadata(bare, metadata_of(trial, settings, names, dataset.checksum, __version__)),
        "recipe.yaml": recipe_yaml(trial.recipe, sweep).encode(),
        "preprocess.json": _json(settings),
        "labels.txt": "".join(f"{name}\n" for name in names).encode(),
        "card.md": text.encode(),
        "card.html": card_html(text).encode(),
        "metrics.json": _json(metrics_json(trial, baseline)),
        "Dockerfile": dockerfile(trial, dataset.is_images).encode(),
        "predict.py": predict_program().encode(),
        "verify.py": verify_program().encode(),
        "sample.npz": _sample(
            sample,
            inputs,
            outputs if "outputs" in settings else outputs.astype(np.float32),
            predictions,
            dataset,
            stream,
        ),
    }
    parts["manifest.json"] = _json(_manifest(parts, trial, sweep, baseline, _arithmetic(model)) | {"bare": len(bare)})
    write_atomically(target, packed(parts))
    return target


def predict_program() -> str:
    """predict.py: the template, with what it imports of ours in the places of the imports."""
    whole = Path(str(predict_template.__file__)).read_text("utf-8")
    for line in [line for line in whole.splitlines() if line.startswith("from engine.")]:
        text = Path(str(import_module(line.split()[1]).__file__)).read_text("utf-8")
        whole = whole.replace(line, text.replace("from __future__ import annotations\n", ""), 1)
    return whole


def verify_program() -> str:
    """verify.py: its two halves as one text that imports predict.py from beside it, the second without what it imports from the first."""
    first, second = (Path(str(half.__file__)).read_text("utf-8") for half in (verify_template, verify_main_template))
    lines = second.splitlines(keepends=True)
    dropped = {verify_template.__name__, "__future__"}
    for node in ast.parse(second).body:
        if isinstance(node, ast.ImportFrom) and node.module in dropped:
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    ours = f"from {predict_template.__name__} import"
    # Python may be told not to look beside a script (-I).
    beside = "import sys\n\nsys.path.insert(0, str(Path(__file__).resolve().parent))\n"
    joined = first.replace(ours, beside + ours, 1) + "\n\n" + "".join(lines)
    return joined.replace(ours, "from predict import").replace(
        "from engine.export.stream_template import", "from predict import"
    )


def draw_sample(split: Split) -> Split:
    """Up to 500 images (16 MiB at most) of the split, drawn without replacement; the same ones for every trial."""
    per_image = max(1, split.inputs[:1].nbytes)
    n = min(len(split), SAMPLE_IMAGES, max(1, SAMPLE_BYTES // per_image))
    chosen = np.sort(np.random.default_rng(0).choice(len(split), n, replace=False))
    return split.take(chosen)


def _sample(
    sample: Split,
    inputs: Mapping[str, npt.NDArray[Any]],
    outputs: npt.NDArray[Any],
    predictions: npt.NDArray[np.int64],
    dataset: Dataset,
    stream: npt.NDArray[Any] | None,
) -> bytes:
    """The arrays that `verify.py` reads; of several inputs one each, under `inputs/NAME`."""
    arrays = {f"inputs/{name}".removesuffix("/"): array for name, array in inputs.items()}
    arrays |= {} if stream is None else {"stream": stream}
    if dataset.has_classes:
        return _npz(**arrays, labels=sample.labels, predictions=predictions.astype(np.int64))
    targets = {} if sample.targets is None else {"targets": sample.targets}
    return _npz(**arrays, outputs=outputs, **targets)


def recipe_yaml(recipe: Recipe, sweep: Sweep) -> str:
    """A spec of the baseline and this recipe: `paretoscope run recipe.yaml` makes the model again, the user's own files beside it."""
    spec = sweep.model_dump(mode="json")
    spec["model"] |= {k: source_name(spec["model"][k]) for k in ("source", "weights") if spec["model"][k]}
    for key in ("source", "labels"):
        spec["data"][key] = spec["data"][key] and source_name(spec["data"][key])
    if spec["metric"]:
        spec["metric"] = {
            k: source_name(v) if k in ("source", "decode") else v for k, v in spec["metric"].items() if v is not None
        }
    spec["loss"] = spec["loss"] and source_name(spec["loss"])
    steps = [s | ({"teacher": source_name(s["teacher"])} if "teacher" in s else {}) for s in recipe.to_json()]
    del spec["space"], spec["search"]
    spec |= {"name": f"{sweep.name}: {recipe.label}"[:200], "recipes": [steps] if steps else []}
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)


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


def _arithmetic(model: Path) -> str:
    nodes = inlined(read_onnx(model)).graph.node  # also what is written as a function
    return "int8" if any(node.op_type in INTEGER_OPS for node in nodes) else "float"


def _runtime(trial: Trial, sweep: Sweep) -> Runtime:
    """How the trial was run, every option stated."""
    return (sweep.measure.latency or LatencyOptions()).filled(trial.recipe.runtime)


def _manifest(
    parts: Mapping[str, bytes], trial: Trial, sweep: Sweep, baseline: Trial | None, arithmetic: str
) -> dict[str, Any]:
    """SHA-256 of every other part, and the figures that `verify.py` holds the model against."""
    return {
        "format": verify_template.FORMAT,
        "paretoscope": __version__,
        "trial": trial.id,
        "label": trial.label,
        "arithmetic": arithmetic,
        "metric": sweep.metric.name if sweep.metric and sweep.metric.source is None else None,
        "runtime": _runtime(trial, sweep).options,
        **({"metric_output": sweep.metric.output} if sweep.metric and sweep.metric.output else {}),
        "expected": trial.to_json(),
        "baseline": asdict(recorded_quality({"expected": baseline.to_json()}) if baseline else Quality(None)),
        "files": {name: hashlib.sha256(parts[name]).hexdigest() for name in sorted(parts)},
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _npz(**arrays: npt.NDArray[Any]) -> bytes:
    """Like `numpy.savez`, but with the same bytes every time."""
    members: dict[str, bytes] = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    return packed(members)


def verify_bundle(bundle: Path, data: Path | None = None, limits: Limits | None = None) -> VerifyReport:
    """Check a bundle as its `verify.py` would, with this program's copy of that file, in a temporary folder.

    `data`: an .npz with x_test and y_test. Raises InputError when the zip is none, is unsafe to unpack or lacks a part, and when the data
    cannot be used or a limit has no sense for what the model is judged by.
    """
    with unpacked(bundle, PARTS) as folder:
        try:
            return VerifyReport(tuple(verify_template.verify(folder, data, limits or Limits())))
        except BundleError as error:
            raise InputError(f"{bundle}: {error}") from None
