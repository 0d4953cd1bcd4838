#!/usr/bin/env python3
"""Checks this Paretoscope bundle on your machine. Needs Python 3.9 or newer, numpy and onnxruntime, and predict.py beside it.

    python verify.py [--data FILE.npz] [--max-drop POINTS] [--max-p95-ms MS] [--max-kb KB] [--json]

It holds every file against its SHA-256, runs the model on sample.npz, and compares what it says with what was recorded. Exit code 0: all
checks passed; 1: one failed; 2: the bundle or the data cannot be read. The checksums find damage and mix-ups. They are no signature: who
can change a file can change its checksum.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.export.predict_template import (
    BundleError,
    Inputs,
    Stream,
    fed,
    fixed_batch,
    one_line,
    open_bundle,
    outputs,
    parts_of,
    read_arrays,
    read_data,
    read_json,
)
from engine.export.stream_template import streamed

Array = npt.NDArray[Any]
FORMAT = 4  # Of the bundle's layout; a reader refuses a newer one.

FLIPS_ALLOWED = {"float": 0.002, "int8": 0.02}
"""Share of the sample's images whose predicted class may differ from the recorded one, by the model's arithmetic.

Float kernels differ between CPUs in the order of their sums, the sixth digit: one image in 500 may be a near tie. Int8 kernels differ more:
without VNNI, x86 adds products in 16 bits, and large ones saturate. Emulated, that changed the class of 4 in 500 images of a ResNet-8."""

VALUES_MAY_DIFFER = {"float": 0.001, "int8": 0.1}
"""How far outputs that are values may lie from those recorded, as a share of their spread, for the same reasons."""

AGREEMENT_SIGMAS = 5.0
"""How far the sample's accuracy may lie from the whole test split's, in standard errors: chance does that once in a million."""


@dataclass(frozen=True)
class Check:
    """One line of the result: what was looked at, what was found, what was expected."""

    name: str
    ok: bool
    found: str
    expected: str


@dataclass(frozen=True)
class Limits:
    """What may be lost (points of accuracy, else the metric's unit), by the worst class too; the metric, p95 in ms, kB (1000 bytes)."""

    max_drop: float | None = None
    max_worst_class_drop: float | None = None
    min_metric: float | None = None
    max_metric: float | None = None
    max_p95_ms: float | None = None
    max_kb: float | None = None


@dataclass(frozen=True)
class Quality:
    """What a model is judged by: the `value` of its metric (accuracy as a share), the share right of each class, on `n` samples."""

    value: float | None
    recalls: tuple[float, ...] = ()
    n: int = 0


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def call_times_ms(
    session: Any, feed: Inputs, min_runs: int = 200, min_s: float = 1.0, max_s: float = 10.0
) -> list[float]:
    """Milliseconds of each of many calls on what `fed` makes, ten to warm up aside; slow networks are stopped after `max_s`."""
    for _ in range(10):
        session.run(None, feed)
    samples, begin = list[float](), time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < max_s and (len(samples) < min_runs or elapsed < min_s):
        start = time.perf_counter()
        session.run(None, feed)
        samples.append((time.perf_counter() - start) * 1e3)
    return samples


def flips_allowed(n: int, arithmetic: str) -> int:
    """How many of n images may get another class than recorded."""
    return max(1, math.ceil(n * FLIPS_ALLOWED[arithmetic]))


def right_tolerance(flips: int) -> int:
    """How far the count of right answers may move with `flips`: either way, so within twice the root of the steps 19 times in 20."""
    return min(flips, math.ceil(2 * math.sqrt(flips)))


def sample_agrees(right: int, n: int, accuracy: float, population: int) -> bool:
    """Whether `right` of n images, drawn without replacement from `population`, fits that accuracy of the whole."""
    share = min(max(accuracy, 1 / population), 1 - 1 / population)
    error = math.sqrt(share * (1 - share) / n * (population - n) / max(population - 1, 1))
    return abs(right / n - accuracy) <= AGREEMENT_SIGMAS * error + right_tolerance(flips_allowed(n, "int8")) / n


def check_files(folder: Path, manifest: dict[str, Any]) -> list[Check]:
    """Every recorded file against its SHA-256; one line for the model and one for the rest."""
    recorded: dict[str, str] = manifest["files"]
    found = {name: sha256(folder / name) if (folder / name).is_file() else "missing" for name in recorded}
    wrong = [name for name in recorded if name != "model.onnx" and found[name] != recorded[name]]
    model, expected = found.get("model.onnx", "missing"), recorded.get("model.onnx", "not recorded")
    return [
        Check("model.onnx SHA-256", model == expected, model[:16], expected[:16]),
        Check("other files' SHA-256", not wrong, ", ".join(wrong) + " altered" if wrong else "unaltered", "unaltered"),
    ]


def measured_bytes(model: bytes, bare: int) -> int:
    """The size of the file that the sweep measured: without the metadata behind it, where nothing else follows its first `bare` bytes.

    They are entries of field 14 of ONNX's ModelProto, each a tag, its length in sevens of bits, and so many bytes.
    """
    at = bare
    while at < len(model) and model[at] == 14 << 3 | 2:
        length, shift, byte = 0, 0, 128
        while byte >= 128 and at + 1 < len(model):
            at, byte = at + 1, model[at + 1]
            length, shift = length | (byte & 127) << shift, shift + 7
        at += 1 + length
    return bare if at == len(model) else len(model)


def read_sample(folder: Path, settings: dict[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    """Stored inputs of sample.npz by name, and its other arrays of these names; raises BundleError."""
    keys = {one["name"]: f"inputs/{one['name']}" for one in settings.get("inputs", ())} or {"": "inputs"}
    arrays = read_arrays(folder / "sample.npz", [*keys.values(), *names])
    return dict(zip(keys, arrays)), *arrays[len(keys) :]


def one_call(session: Any, folder: Path, manifest: dict[str, Any], settings: dict[str, Any]) -> tuple[Inputs, int]:
    """What a call that is timed is given, the sample's first input repeated, and how many samples that are; raises BundleError."""
    first = {name: array[:1] for name, array in read_sample(folder, settings, ())[0].items()}
    batch = fixed_batch(session) or manifest["runtime"]["batch"]
    return fed(session, first, settings, batch), batch


def check_sample(session: Any, folder: Path, manifest: dict[str, Any], settings: dict[str, Any]) -> list[Check]:
    """The model's answers on sample.npz against those recorded; raises BundleError."""
    if settings["task"] != "classification":
        return check_values(session, folder, manifest, settings)
    inputs, labels, recorded = read_sample(folder, settings, ("labels", manifest.get("answers", "predictions")))
    n = len(next(iter(inputs.values())))
    if not n or labels.shape != (n,) or recorded.shape != (n,):
        raise BundleError(f"sample.npz does not fit together: {n}, {labels.shape}, {recorded.shape}")
    predicted = classes_of(outputs(session, inputs, settings))
    differing, right = int((predicted != recorded).sum()), int((predicted == labels).sum())
    expected, accuracy = int((recorded == labels).sum()), manifest["expected"]["accuracy"]
    flips = flips_allowed(n, manifest["arithmetic"])
    same = Check("predictions as recorded", differing <= flips, f"{n - differing} of {n}", f"{n - flips} or more")
    if accuracy is None:  # of data without labels
        return [same]
    slack, fits = right_tolerance(flips), sample_agrees(right, n, accuracy["value"], accuracy["n"])
    return [
        same,
        Check("right on the sample", abs(right - expected) <= slack, f"{right} of {n}", f"{expected} ± {slack}"),
        Check("fits recorded accuracy", fits, f"{right / n:.1%} of {n}", f"{accuracy['value']:.2%} of {accuracy['n']}"),
    ]


def check_stream(session: Any, folder: Path, manifest: dict[str, Any], settings: dict[str, Any]) -> list[Check]:
    """Answers along streams against those recorded, where the model has states; raises BundleError."""
    if not settings.get("states"):
        return []
    inputs, recorded = read_sample(folder, settings, (manifest.get("stream", "stream"),))
    found, most = streamed(Stream(session, settings), inputs), VALUES_MAY_DIFFER[manifest["arithmetic"]]
    off = relative_error(found, recorded) if found.shape == recorded.shape else math.inf
    return [Check("streams as recorded", off <= most, f"{off:.2g} of their spread off", f"{most:g} at most")]


def classes_of(scores: Array) -> npt.NDArray[np.int64]:
    """The class with the highest score, (n,), of scores (n, classes)."""
    found: npt.NDArray[np.int64] = scores.reshape(len(scores), -1).argmax(1)
    return found


def check_values(session: Any, folder: Path, manifest: dict[str, Any], settings: dict[str, Any]) -> list[Check]:
    """Outputs that are values against those recorded, and what follows from them for the sample's targets, where that is known here."""
    inputs, recorded = read_sample(folder, settings, (manifest.get("answers", "outputs"),))
    found = outputs(session, inputs, settings)
    if found.shape != recorded.shape or not len(recorded):
        raise BundleError(f"sample.npz does not fit together: outputs {found.shape} here, {recorded.shape} recorded")
    most = VALUES_MAY_DIFFER[manifest["arithmetic"]]
    here_by, before_by = (parts_of(values, settings) for values in (found, recorded))
    checks = []
    for output, part in here_by.items():
        off = relative_error(part, before_by[output])
        said = f"{output} as recorded"
        checks.append(Check(said, off <= most, f"{off:.2g} of their spread off", f"{most:g} at most"))
    name = manifest["metric"]
    if name in SCORES:
        (targets,) = read_arrays(folder / "sample.npz", ("targets",))
        found, recorded = _judged(here_by, manifest), _judged(before_by, manifest)
        here, before = SCORES[name](found, targets), SCORES[name](recorded, targets)
        fits = abs(here - before) <= most * float(np.std(targets))
        checks.append(Check(f"{name} of the sample", fits, f"{here:.5g}", f"{before:.5g}"))
    return checks


def _judged(parts: Inputs, manifest: dict[str, Any]) -> Array:
    """The output that the metric is of."""
    return parts[manifest.get("metric_output") or next(iter(parts))]


def relative_error(found: Array, recorded: Array) -> float:
    """The length of the difference as a share of that of the recorded outputs about their mean."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (found, recorded))
    spread = float(np.linalg.norm(b - b.mean(axis=0))) or float(np.linalg.norm(b)) or 1.0
    return float(np.linalg.norm(a - b)) / spread


def _errors(found: Array, targets: Array) -> npt.NDArray[np.float64]:
    axes = [[size for size in x.shape[1:] if size != 1] for x in (found, targets)]
    if axes[0] != axes[1]:
        raise BundleError(f"targets are {targets.shape[1:]} per sample, but the model gives {found.shape[1:]}")
    return found.reshape(len(found), -1).astype(np.float64) - targets.reshape(len(targets), -1)


SCORES = {
    "mae": lambda found, targets: float(np.abs(_errors(found, targets)).mean()),
    "rmse": lambda found, targets: float(np.sqrt(np.square(_errors(found, targets)).mean())),
}
"""Metrics that are known here, by their names in a spec."""


def recorded_quality(manifest: dict[str, Any]) -> Quality:
    """What was measured of the model when it was exported."""
    metric, more = manifest["expected"]["metric"] or {}, manifest["expected"]["quality"] or {}
    return Quality(metric.get("value"), tuple(more.get("class_recall") or ()), metric.get("n") or 0)


def quality_on(session: Any, data: Path, manifest: dict[str, Any], settings: dict[str, Any]) -> Quality:
    """The same of the caller's data; raises BundleError."""
    inputs, targets = read_data(data, settings)
    found, n = outputs(session, inputs, settings), len(targets)
    if settings["task"] == "classification":
        there = range(found.reshape(n, -1).shape[1])
        if not np.isin(targets, there).all():
            raise BundleError(f"{data.name}: y_test must hold the numbers of classes, 0 to {there[-1]}")
        right = classes_of(found) == targets
        recalls = tuple(float(right[targets == k].mean()) if (targets == k).any() else math.nan for k in there)
        return Quality(float(right.mean()), recalls, n)
    if (name := manifest["metric"]) in SCORES:
        return Quality(SCORES[name](_judged(parts_of(found, settings), manifest), targets), (), n)
    raise BundleError("--data: what this model is judged by cannot be counted here; leave it out")


def check_quality(
    here: Quality, before: Quality, manifest: dict[str, Any], labels: Sequence[str], limits: Limits
) -> list[Check]:
    """Limits of the metric and of what is lost to `before`, the baseline's or another model's; raises BundleError for a senseless one."""
    metric = manifest["expected"]["metric"] or {"name": "metric", "unit": "", "higher_is_better": True}
    name, up, unit = str(metric["name"]).lower(), metric["higher_is_better"], metric["unit"]
    scale = 100 if unit == "%" else 1
    checks = []
    for limit, allowed, word in ((limits.min_metric, up, "min"), (limits.max_metric, not up, "max")):
        if limit is None:
            continue
        if not allowed:
            better, other = ("more", "min") if up else ("less", "max")
            raise BundleError(f"--{word}-metric: of {name}, {better} is better; give --{other}-metric")
        kept = here.value is not None and (here.value >= limit if up else here.value <= limit)
        found = "not measured" if here.value is None else f"{here.value:.5g}"
        checks.append(Check(name, kept, found, f"{'at least' if up else 'at most'} {limit:g}"))
    if limits.max_drop is not None:
        if here.value is None or before.value is None:
            checks.append(Check("points lost", False, f"no {name} recorded", f"at most {limits.max_drop:g}"))
        else:
            # Rounded so that a drop of exactly the limit passes whatever the binary fractions are.
            drop = round(scale * (before.value - here.value) * (1 if up else -1), 9)
            said, lost = ("points lost", f"{drop:.2f}") if scale == 100 else (f"{name} lost", f"{drop:.5g}")
            checks.append(Check(said, drop <= limits.max_drop, lost, f"at most {limits.max_drop:g}"))
    if (most := limits.max_worst_class_drop) is not None:
        drops = [round(100 * (b - a), 9) for a, b in zip(here.recalls, before.recalls)]
        known = [(drop, k) for k, drop in enumerate(drops) if not math.isnan(drop)]
        if known:
            drop, worst = max(known)
            said = f"{drop:.2f} ({labels[worst] if worst < len(labels) else worst})"
            checks.append(Check("points lost by the worst class", drop <= most, said, f"at most {most:g}"))
        else:
            checks.append(Check("points lost by the worst class", False, "no classes recorded", f"at most {most:g}"))
    return checks


def verify(
    folder: Path, data: Path | None = None, limits: Limits = Limits(), reference: Quality | None = None
) -> list[Check]:
    """All checks of an unpacked bundle; raises BundleError when a part is missing or cannot be read.

    Limits of quality are held against what `data` give; without them against what was recorded, which the sample's checks tie to this file.
    What is lost is lost to the `reference`, or to the baseline as it was recorded.
    """
    manifest, settings = read_json(folder / "manifest.json"), read_json(folder / "preprocess.json")
    if (layout := manifest.get("format")) != FORMAT:
        remedy = "export it again" if isinstance(layout, int) and layout < FORMAT else "update paretoscope"
        raise BundleError(f"the bundle has format {layout!r}, this program reads {FORMAT}; {remedy}")
    try:
        checks = check_files(folder, manifest)
        session = open_bundle(folder, manifest)
        checks += check_sample(session, folder, manifest, settings)
        checks += check_stream(session, folder, manifest, settings)
        here, before = recorded_quality(manifest), reference or Quality(**manifest["baseline"])
        if data:
            here = quality_on(session, data, manifest, settings)
            shown = f"{here.value:.2%}" if settings["task"] == "classification" else f"{here.value:.5g}"
            name = "accuracy" if settings["task"] == "classification" else manifest["metric"]
            judged = (manifest["expected"]["metric"] or {"name": name})["name"]
            asked = {limits.max_drop, limits.min_metric, limits.max_metric} != {None}
            if name == "accuracy" != judged.lower() and asked:
                raise BundleError(
                    f"--data: {judged}, which limits are held against, cannot be counted here; leave it out"
                )
            checks.append(Check(f"{name} on your data", True, f"{shown} of {here.n}", "-"))
        labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        checks += check_quality(here, before, manifest, labels, limits)
        if (most := limits.max_p95_ms) is not None:
            p95 = float(np.percentile(call_times_ms(session, one_call(session, folder, manifest, settings)[0]), 95))
            checks.append(Check("p95 latency here, ms", p95 <= most, f"{p95:.3f}", f"at most {most:g}"))
        if limits.max_kb is not None:
            kb = measured_bytes((folder / "model.onnx").read_bytes(), manifest["bare"]) / 1000
            checks.append(Check("model.onnx, kB", kb <= limits.max_kb, f"{kb:.1f}", f"at most {limits.max_kb:g}"))
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"manifest.json or preprocess.json lacks what is needed: {one_line(error)}") from None
    return checks
