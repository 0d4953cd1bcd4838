"""A trial as OpenVINO's intermediate representation: model.xml and model.bin, held against what ONNX Runtime answers on the sample.

    model.xml  model.bin  preprocess.json  [labels.txt]

ONNX Runtime folds constants and inlines the file's own functions first: OpenVINO 2026.4 knows no functions, and reads weights that a graph
unpacks from 4 bits as other numbers, without a word. So weights of fewer than 8 bits become what they stand for, and take more room.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from engine.errors import InputError
from engine.export.openvino_process import in_calls, keep
from engine.export.parts_folder import Made, Opened, opened
from engine.export.predict_template import Array, BundleError, fed, fixed_batch, one_line
from engine.export.verify_template import VALUES_MAY_DIFFER, classes_of, flips_allowed, relative_error
from engine.measure.fresh_process import run_module, signal_text

_LONGEST_S = 600.0
_CALL = 100


def ready() -> None:
    """Raises InputError where OpenVINO is not installed."""
    if importlib.util.find_spec("openvino") is None:
        raise InputError("--for openvino needs the package openvino; run `pip install 'paretoscope[openvino-ir]'`")


def representation(parts: Mapping[str, bytes]) -> Made:
    """The IR of a bundle's parts; raises BundleError where OpenVINO does not read it, or answers otherwise than ONNX Runtime."""
    with opened(parts) as bundle:
        plain, xml = bundle.folder / "plain.onnx", bundle.folder / "model.xml"
        fold(bundle.folder / "model.onnx", plain)
        taken = fed(bundle.session, bundle.inputs, bundle.settings)
        size = fixed_batch(bundle.session) or (1 if bundle.settings.get("alone") else _CALL)
        names = [output.name for output in bundle.session.get_outputs()]
        found, version = _answers(plain, xml, taken, size, names)
        wanted = in_calls(lambda inputs: list(bundle.session.run(names, inputs)), taken, size)
        off = _compared(bundle, names, found, wanted)
        members = {"model.xml": xml.read_bytes(), "model.bin": xml.with_suffix(".bin").read_bytes()}
    members["preprocess.json"] = parts["preprocess.json"]
    if bundle.labels:
        members["labels.txt"] = parts["labels.txt"]
    most, n = VALUES_MAY_DIFFER[bundle.manifest["arithmetic"]], len(wanted[0])
    facts = {"openvino": version, "bytes": len(members["model.bin"]), "samples": n, "off": off, "tolerance": most}
    worst = max(off.values())
    return (
        members,
        facts,
        f"OpenVINO {version} answers {n} samples within {worst:.2g} of their spread ({most:g} at most)",
    )


def fold(model: Path, target: Path) -> None:
    """The graph with its constants worked out and without functions, in standard operators."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath, options.log_severity_level = str(target), 4
    try:
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise BundleError(f"the file cannot be prepared for OpenVINO: {one_line(error)}") from None


def _answers(
    model: Path, xml: Path, inputs: Mapping[str, Array], size: int, names: list[str]
) -> tuple[list[Array], str]:
    """What OpenVINO's CPU device answers, having written the IR, and its version."""
    given, answered = xml.with_name("given.npz"), xml.with_name("answered.npz")
    keep(given, inputs.values())
    request = {"model": model, "xml": xml, "inputs": given, "outputs": answered}
    asked = {key: str(path) for key, path in request.items()} | {
        "size": size,
        "names": names,
        "input_names": list(inputs),
    }
    try:
        done = run_module("engine.export.openvino_process", asked, _LONGEST_S)
    except subprocess.TimeoutExpired:
        raise BundleError(f"OpenVINO was not done after {_LONGEST_S:g} s") from None
    if done.returncode < 0:
        raise BundleError(f"OpenVINO's process was ended by {signal_text(-done.returncode)}")
    try:
        said = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise BundleError(f"OpenVINO's process ended with code {done.returncode}: {last[:200]}") from None
    if "error" in said:
        raise BundleError(f"OpenVINO cannot take this file: {one_line(Exception(said['error']))}")
    with np.load(answered) as arrays:
        return [arrays[str(i)] for i in range(len(names))], str(said["version"]).partition("-")[0]


def _compared(bundle: Opened, names: list[str], found: list[Array], wanted: list[Array]) -> dict[str, float]:
    """How far each output lies from ONNX Runtime's, as a share of its spread; raises BundleError where that is too far."""
    kind = bundle.manifest["arithmetic"]
    off = {}
    for name, ours, theirs in zip(names, found, wanted, strict=True):
        if ours.shape != theirs.shape:
            raise BundleError(
                f"OpenVINO gives {name} in the shape {ours.shape[1:]}, ONNX Runtime in {theirs.shape[1:]}"
            )
        off[name] = relative_error(ours, theirs)
        if not off[name] <= VALUES_MAY_DIFFER[kind]:
            raise BundleError(
                f"OpenVINO answers otherwise than ONNX Runtime: {name} lies {off[name]:.2g} of its spread off on {len(theirs)} samples, "
                f"{VALUES_MAY_DIFFER[kind]:g} at most; nothing was written"
            )
    if bundle.labels:
        flips, most = int((classes_of(found[0]) != classes_of(wanted[0])).sum()), flips_allowed(len(wanted[0]), kind)
        if flips > most:
            raise BundleError(
                f"OpenVINO tells another class than ONNX Runtime for {flips} of {len(wanted[0])} samples, {most} at most; nothing was "
                "written"
            )
    return off
