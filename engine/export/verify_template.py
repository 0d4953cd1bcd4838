#!/usr/bin/env python3
"""Checks this Paretoscope bundle on your machine. Needs Python 3.11, numpy and onnxruntime, nothing else.

    python verify.py [--data FILE.npz] [--max-drop POINTS] [--max-p95-ms MS] [--max-kb KB]

It holds every file against its SHA-256, runs the model on sample.npz, and compares what it says with what was recorded. Exit code 0: all
checks passed; 1: one failed; 2: the bundle or the data cannot be read. The checksums find damage and mix-ups. They are no signature: who
can change a file can change its checksum.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import sys
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Inputs = dict[str, Array]
"""Arrays (n, ...) by the names of the inputs that they are for; a single one has none."""

FORMAT = 2  # Of the bundle's layout; a reader refuses a newer one.
MAX_ARRAY_BYTES = 2 << 30  # More than this in a .npz is refused before it is unpacked.

FLIPS_ALLOWED = {"float": 0.002, "int8": 0.02}
"""Share of the sample's images whose predicted class may differ from the recorded one, by the model's arithmetic.

Float kernels differ between CPUs in the order of their sums, the sixth digit: one image in 500 may be a near tie. Int8 kernels differ more:
without VNNI, x86 adds products in 16 bits, and large ones saturate. Emulated, that changed the class of 4 in 500 images of a ResNet-8."""

AGREEMENT_SIGMAS = 5.0
"""How far the sample's accuracy may lie from the whole test split's, in standard errors: chance does that once in a million."""


class BundleError(Exception):
    """The bundle, or the data given with it, cannot be read; one line for the person at the keyboard."""


@dataclass(frozen=True)
class Check:
    """One line of the result: what was looked at, what was found, what was expected."""

    name: str
    ok: bool
    found: str
    expected: str


@dataclass(frozen=True)
class Limits:
    """What the caller asks for: accuracy lost in percentage points, p95 latency in ms, model.onnx in kB (1000 bytes)."""

    max_drop: float | None = None
    max_p95_ms: float | None = None
    max_kb: float | None = None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of the bundle; raises BundleError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path.name} cannot be read: {error}; export the bundle again") from None
    if not isinstance(value, dict):
        raise BundleError(f"{path.name} is not a JSON object")
    return value


def read_arrays(path: Path, names: Sequence[str]) -> list[Array]:
    """The named arrays of a .npz, which may hold numbers only; raises BundleError."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_ARRAY_BYTES:
                raise BundleError(f"{path.name} unpacks to more than {MAX_ARRAY_BYTES >> 30} GiB; give a smaller file")
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in names if name not in arrays]
            if missing:
                raise BundleError(f"{path.name} has no array {missing[0]!r}; it needs {', '.join(names)}")
            return [arrays[name] for name in names]
    except FileNotFoundError:
        raise BundleError(f"{path} does not exist; give the path of a .npz file") from None
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{path.name} is not a usable .npz file: {error}") from None


def preprocess(inputs: Array, settings: dict[str, Any]) -> Array:
    """Stored inputs (n, channels, ...) -> what the network reads, in float32 unless it reads them as they are."""
    if settings.get("untouched"):
        return inputs
    per_channel = (1, -1, *[1] * (inputs.ndim - 2))
    mean, std = (np.asarray(settings[name], np.float32).reshape(per_channel) for name in ("mean", "std"))
    values = inputs[:, ::-1] if settings["flip"] else inputs
    found = ((values.astype(np.float32) * np.float32(settings["scale"]) - mean) / std).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(found, 1, -1)) if settings["channels_last"] else found


LEVELS = {"disable": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED", "all": "ENABLE_ALL"}
"""A runtime's `graph_optimisation` -> onnxruntime's name for it, without its `ORT_`."""

PLUGINS = {"OpenVINO": "onnxruntime_ep_openvino"}
"""Providers that a package beside onnxruntime brings, and its module."""


def open_model(path: Path, threads: int = 1, graph_optimisation: str = "all", provider: str = "CPU") -> Any:
    """An onnxruntime session with the options that the model was measured with; raises BundleError."""
    try:  # here, so that what only reads a bundle's text parts need not wait for it
        import onnxruntime
    except ImportError:
        raise BundleError("onnxruntime is not installed; run `pip install onnxruntime numpy`") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, "ORT_" + LEVELS[graph_optimisation])
    name, plugin = {"TensorRT": "Tensorrt"}.get(provider, provider) + "ExecutionProvider", PLUGINS.get(provider)
    try:
        if plugin and name not in onnxruntime.get_available_providers():
            library = importlib.import_module(plugin).get_library_path()
            onnxruntime.register_execution_provider_library(provider, library)
        devices = [d for d in onnxruntime.get_ep_devices() if d.ep_name == name] if plugin else []
    except Exception as error:  # not installed, or any of onnxruntime's own
        raise BundleError(f"{_one_line(error)}; run `pip install {str(plugin).replace('_', '-')}`") from None
    if name not in onnxruntime.get_available_providers():
        raise BundleError(f"the onnxruntime here lacks {name}, with which this model is run; install what brings it")
    if devices:
        # Naming a plugin, as is done for what is built in, silently gives the CPU. Float32 and no choice of cores, as it was measured.
        config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "NO"}
        device = next((d for d in devices if d.device.type.name == "CPU"), devices[0])
        options.add_provider_for_devices([device], {"load_config": json.dumps({"CPU": config | {"NUM_STREAMS": "1"}})})
    providers = None if devices else [name, "CUDAExecutionProvider"] if provider == "TensorRT" else [name]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime raises a dozen unrelated classes for a bad file
        raise BundleError(f"{path.name} cannot be loaded by onnxruntime: {_one_line(error)}") from None
    if name not in session.get_providers():
        raise BundleError(f"{name} does not start here (its device or libraries are missing)")
    return session


def fixed_batch(session: Any) -> int:
    """Inputs per run where the file fixes that, else 0."""
    return next((n for one in session.get_inputs() for n in one.shape[:1] if isinstance(n, int)), 0)


def fed(session: Any, inputs: Inputs, settings: dict[str, Any], batch: int = 0) -> dict[str, Array]:
    """What one run is given: stored inputs, preprocessed, in the model's number types; the first is repeated where `batch` wants more."""
    found, types = {}, {"tensor(float)": "float32", "tensor(double)": "float64"}
    for one in session.get_inputs():
        values = preprocess(inputs[""], settings) if "" in inputs else inputs[one.name]
        more = np.repeat(values[:1], max(0, batch - len(values)), axis=0)
        found[one.name] = np.concatenate([values, more]).astype(types.get(one.type, one.type[7:-1]), copy=False)
    return found


def predict(session: Any, inputs: Array | Inputs, settings: dict[str, Any]) -> npt.NDArray[np.int64]:
    """The class with the highest score for each stored input, shape (n,); raises BundleError."""
    named = inputs if isinstance(inputs, dict) else {"": inputs}
    first, fixed, classes = next(iter(named.values())), fixed_batch(session), []
    for start in range(0, len(first), size := fixed or 100):
        some = {name: array[start : start + size] for name, array in named.items()}
        try:  # A file may fix its batch: the last one is filled up with its first image.
            scores = np.asarray(session.run(None, fed(session, some, settings, fixed))[0])
        except Exception as error:  # as in open_model
            raise BundleError(f"the model cannot run on inputs of {first.shape[1:]}: {_one_line(error)}") from None
        classes.append(scores.reshape(len(scores), -1)[: min(size, len(first) - start)].argmax(1))
    return np.concatenate(classes) if classes else np.zeros(0, np.int64)


def p95_latency_ms(session: Any, feed: Inputs, min_runs: int = 200, min_s: float = 1.0, max_s: float = 10.0) -> float:
    """95th percentile, in milliseconds, of a call on what `fed` makes, ten to warm up aside; slow networks are stopped after `max_s`."""
    for _ in range(10):
        session.run(None, feed)
    samples, begin = list[float](), time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < max_s and (len(samples) < min_runs or elapsed < min_s):
        start = time.perf_counter()
        session.run(None, feed)
        samples.append((time.perf_counter() - start) * 1e3)
    return float(np.percentile(samples, 95))


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


def read_sample(folder: Path, settings: dict[str, Any]) -> tuple[Inputs, Array, Array]:
    """Stored inputs, labels and recorded predictions of sample.npz; raises BundleError."""
    keys = {one["name"]: f"inputs/{one['name']}" for one in settings.get("inputs", ())} or {"": "inputs"}
    *arrays, labels, recorded = read_arrays(folder / "sample.npz", [*keys.values(), "labels", "predictions"])
    return dict(zip(keys, arrays, strict=True)), labels, recorded


def check_sample(session: Any, folder: Path, manifest: dict[str, Any], settings: dict[str, Any]) -> list[Check]:
    """The model's answers on sample.npz against those recorded; raises BundleError."""
    inputs, labels, recorded = read_sample(folder, settings)
    n = len(next(iter(inputs.values())))
    if not n or labels.shape != (n,) or recorded.shape != (n,):
        raise BundleError(f"sample.npz does not fit together: {n}, {labels.shape}, {recorded.shape}")
    predicted = predict(session, inputs, settings)
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


def read_data(path: Path, settings: dict[str, Any]) -> tuple[Inputs, Array]:
    """`x_test`, or each of several inputs under its array's name, and `y_test` of a .npz, as (n, ...) and (n,); raises BundleError."""
    if several := settings.get("inputs"):
        *arrays, labels = read_arrays(path, [*(f"{one['array']}_test" for one in several), "y_test"])
        if {len(array) for array in arrays} != {labels.size}:
            raise BundleError(f"{path.name} holds arrays of other lengths than its labels; save one of each")
        return {one["name"]: array for one, array in zip(several, arrays, strict=True)}, labels.reshape(-1)
    inputs, labels = read_arrays(path, ("x_test", "y_test"))
    stored, labels = tuple(settings["stored_shape"]), labels.reshape(-1)
    inputs = inputs[:, None] if (1, *inputs.shape[1:]) == stored else inputs
    if inputs.shape[1:] == (*stored[1:], stored[0]) != stored:
        inputs = np.moveaxis(inputs, -1, 1)
    if inputs.shape[1:] != stored or len(inputs) != len(labels) or not len(labels):
        shapes = f"x_test is {inputs.shape} and y_test {labels.shape}"
        raise BundleError(f"{path.name}: {shapes}, but the model is given {'×'.join(map(str, stored))}, one label each")
    if (inputs.dtype == np.uint8) != (settings["stored_dtype"] == "uint8"):
        raise BundleError(f"{path.name}: x_test is {inputs.dtype}, but it was measured on {settings['stored_dtype']}")
    return {"": inputs}, labels


def check_drop(measured: float | None, n: int, manifest: dict[str, Any], limit: float | None) -> list[Check]:
    """Accuracy on the caller's data, where given, and the points lost against the baseline's recorded accuracy."""
    checks = [] if measured is None else [Check("accuracy on your data", True, f"{measured:.2%} of {n}", "-")]
    if limit is not None:
        accuracy = (manifest["expected"]["accuracy"] or {}).get("value") if measured is None else measured
        baseline = manifest["expected"].get("baseline_accuracy")
        if baseline is None or accuracy is None:
            return [*checks, Check("points lost", False, "no accuracy recorded", f"at most {limit:g}")]
        # Rounded so that a drop of exactly the limit passes whatever the binary fractions are.
        drop = round(100 * (baseline - accuracy), 9)
        checks.append(Check("points lost", drop <= limit, f"{drop:.2f}", f"at most {limit:g}"))
    return checks


def verify(folder: Path, data: Path | None = None, limits: Limits = Limits()) -> list[Check]:
    """All checks of an unpacked bundle; raises BundleError when a part is missing or cannot be read.

    `max_drop` is held against the accuracy on `data`; without them against the recorded ones, which the sample's checks tie to this file.
    """
    manifest, settings = read_json(folder / "manifest.json"), read_json(folder / "preprocess.json")
    if manifest.get("format") != FORMAT:
        raise BundleError(f"the bundle has format {manifest.get('format')!r}, this program reads {FORMAT}; update it")
    try:
        checks = check_files(folder, manifest)
        how = manifest["runtime"]
        session = open_model(folder / "model.onnx", how["threads"], how["graph_optimisation"], how["provider"])
        checks += check_sample(session, folder, manifest, settings)
        measured, n = None, 0
        if data:
            inputs, labels = read_data(data, settings)
            measured, n = float((predict(session, inputs, settings) == labels).mean()), len(labels)
        checks += check_drop(measured, n, manifest, limits.max_drop)
        if (most := limits.max_p95_ms) is not None:
            first = {name: array[:1] for name, array in read_sample(folder, settings)[0].items()}
            p95 = p95_latency_ms(session, fed(session, first, settings, fixed_batch(session) or how["batch"]))
            checks.append(Check("p95 latency here, ms", p95 <= most, f"{p95:.3f}", f"at most {most:g}"))
        if limits.max_kb is not None:
            kb = (folder / "model.onnx").stat().st_size / 1000
            checks.append(Check("model.onnx, kB", kb <= limits.max_kb, f"{kb:.1f}", f"at most {limits.max_kb:g}"))
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"manifest.json or preprocess.json lacks what is needed: {_one_line(error)}") from None
    return checks


def table(checks: Sequence[Check]) -> list[str]:
    """The checks as lines of text, widths aligned, and a verdict."""
    rows = [("", "check", "found", "expected")]
    rows += [("ok" if c.ok else "FAIL", c.name, c.found, c.expected) for c in checks]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    n, failed = len(checks), sum(not c.ok for c in checks)
    verdict = f"FAILED: {failed} of {n} checks" if failed else f"passed: {n} checks"
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows] + [verdict]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of verify.py; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check this Paretoscope bundle on this machine.")
    parser.add_argument("--data", type=Path, metavar="FILE.npz", help="measure accuracy on your x_test and y_test too")
    parser.add_argument("--max-drop", type=float, metavar="POINTS", help="accuracy that may be lost to the baseline")
    parser.add_argument("--max-p95-ms", type=float, metavar="MS", help="95th percentile of latency on this machine")
    parser.add_argument("--max-kb", type=float, metavar="KB", help="size of model.onnx, 1 kB = 1000 bytes")
    given = parser.parse_args(arguments)
    limits = Limits(given.max_drop, given.max_p95_ms, given.max_kb)
    try:
        checks = verify(Path(__file__).resolve().parent, given.data, limits)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(table(checks)))
    return 0 if all(check.ok for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
