"""Trials in the form that other runtimes want: `paretoscope export --for NAME`."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from engine.export.parts_folder import Made
from engine.export.predict_template import BundleError
from engine.export.zips import check_target, packed, write_atomically
from engine.graph.states import states_of

if TYPE_CHECKING:
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store


def _openvino(parts: Mapping[str, bytes]) -> Made:
    from engine.export.openvino_ir import representation

    return representation(parts)


def _ready_for_openvino() -> None:
    from engine.export.openvino_ir import ready

    ready()


def _tflite(parts: Mapping[str, bytes]) -> Made:
    from engine.export.tflite.package import packaged

    return packaged(parts)


def _ready_for_tflite() -> None:
    from engine.export.tflite.flat import interpreters

    interpreters()


def _triton(parts: Mapping[str, bytes]) -> Made:
    from engine.export.triton import repository

    return repository(parts)


def _c(parts: Mapping[str, bytes]) -> Made:
    from engine.export.c_array import sources

    return sources(parts)


def _nothing() -> None:
    """It needs nothing that is not here."""


TARGETS: dict[str, tuple[Callable[[], None], Callable[[Mapping[str, bytes]], Made]]] = {
    "c": (_nothing, _c),
    "openvino": (_ready_for_openvino, _openvino),
    "tflite": (_ready_for_tflite, _tflite),
    "triton": (_nothing, _triton),
}
"""By name: what raises where something is not installed, before any work, and what makes a zip of a bundle's parts."""

TITLES = {
    "c": "C array",
    "openvino": "OpenVINO (IR)",
    "tflite": "TensorFlow Lite (int8)",
    "triton": "Triton Inference Server",
}
"""What people call them, where that is not their name."""


def refuse_states(model: bytes) -> None:
    """Raise BundleError for a file that remembers: nothing but a bundle's predict.py feeds its states back, or begins them as zeros."""
    # Not at the top: pages list the targets.
    import onnx

    if states := states_of(onnx.load_model_from_string(model)):
        names = ", ".join(state.input for state in states)
        raise BundleError(
            f"the network remembers ({names} are fed back from call to call), which only a bundle's predict.py does; export a bundle"
        )


def export_for(
    name: str, store: Store, artifacts: Artifacts, sweep: str, trial: str, target: Path
) -> tuple[Path, dict[str, Any], str]:
    """Write a stored trial for another runtime as a zip at `target`: the path, and what was found, as JSON and in one line.

    Raises InputError as `export_bundle` does, for an unknown name, and for what that runtime cannot do.
    """
    from engine.export.bundle import export_bundle

    if name not in TARGETS:
        raise InputError(f"--for {name} is unknown; choose from {', '.join(sorted(TARGETS))}")
    ready, make = TARGETS[name]
    ready()
    check_target(target)
    with tempfile.TemporaryDirectory(prefix="paretoscope-export-") as folder:
        with zipfile.ZipFile(export_bundle(store, artifacts, sweep, trial, Path(folder) / "bundle.zip")) as bundle:
            parts = {member: bundle.read(member) for member in bundle.namelist()}
        try:
            refuse_states(parts["model.onnx"])
            members, facts, line = make(parts)
        except BundleError as error:
            raise InputError(f"--for {name}: {error}") from None
    write_atomically(target, packed(members))
    return target, facts, line
