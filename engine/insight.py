"""Answers about one stored trial that are worked out when they are asked for, and kept: why it is not faster, how it would do elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from engine.artifacts import Artifacts
from engine.code_digest import code_digest
from engine.diagnose import explain
from engine.errors import InputError, StepError
from engine.measure.machine import machine
from engine.record import Trial
from engine.spec import LatencyOptions, Sweep
from engine.steps import Quantize, Recipe, canonical_json, digest
from engine.store import NodeRow, Store

CALIBRATION_IMAGES = 100
"""On so many are the layers' shares of saturated sums counted."""
SAMPLES = 500
"""Test images on which the accuracy is predicted, unless told otherwise."""


def _measured(store: Store, sweep_ref: str, trial_id: str) -> tuple[Sweep, Trial, Trial]:
    """Spec, trial and baseline; raises NotFoundError, or InputError for a trial without a file."""
    row = store.sweep(sweep_ref)
    trial, baseline = store.trial(row.id, trial_id), store.trials(row.id)[0]
    for each in (trial, baseline):
        if each.artifact is None:
            raise InputError(f"trial {each.id} ({each.label}) has no file to look into: {each.error or each.state}")
    return store.spec(row.id), trial, baseline


def _kept(store: Store, kind: str, parts: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, from the store where the same was asked before; its StepError becomes an InputError."""
    key = digest({"kind": kind, "code": code_digest(kind), **parts})
    known = store.nodes([key])
    if key in known:
        return known[key].result
    started = time.monotonic()
    try:
        # As the store gives it back: lists, not tuples.
        result: dict[str, Any] = json.loads(canonical_json(work()))
    except StepError as error:
        raise InputError(str(error)) from None
    store.save_node(NodeRow(key, kind, 1.0, time.monotonic() - started, result))
    return result


def why(store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str) -> dict[str, Any]:
    """`diagnose.Why` of a trial as JSON, with its label; profiled here, once for each pair of files and machine.

    Raises NotFoundError or InputError.
    """
    from engine.measure.operators import profile_pair

    sweep, trial, baseline = _measured(store, sweep_ref, trial_id)
    if trial.id == baseline.id:
        raise InputError(f"trial {trial.id} is the baseline itself; ask about one of the others")
    latency, here = sweep.measure.latency or LatencyOptions(), machine()
    runtimes = [latency.filled(trial.recipe.runtime), latency.filled(None)]
    names = [trial.artifact or "", baseline.artifact or ""]

    def work() -> dict[str, Any]:
        profiles = profile_pair([artifacts.local(name) for name in names], runtimes)
        return explain(profiles[0], profiles[1], here.flags).to_json()

    parts = {"files": names, "runtimes": [r.options for r in runtimes], "machine": here.fingerprint}
    return {"trial": trial.id, "label": trial.label, "machine": here.label} | _kept(store, "why", parts, work)


def portability(
    store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str, samples: int = SAMPLES
) -> dict[str, Any]:
    """`saturation.Portability` of a trial as JSON, with its label and, where it is at risk, a recipe that is not.

    Raises NotFoundError or InputError.
    """
    from engine.datasets import dataset_checksum, load_dataset, reported

    sweep, trial, _ = _measured(store, sweep_ref, trial_id)
    name = trial.artifact or ""

    def work() -> dict[str, Any]:
        from engine.measure.saturation import measure_portability
        from engine.onnx_graph import load_onnx

        data = load_dataset(sweep.data)
        calibration, test = data.calibration.head(CALIBRATION_IMAGES), reported(data.test, sweep.measure).head(samples)
        found = measure_portability(
            load_onnx(artifacts.local(name)),
            data.preprocessing(calibration.inputs),
            data.preprocessing(test.inputs),
            test.labels,
        )
        return asdict(found)

    parts = {
        "file": name,
        "data": dataset_checksum(sweep.data),
        "samples": samples,
        "measure": sweep.measure.model_dump(include={"test_samples", "held_back"}),
    }
    result = _kept(store, "portability", parts, work)
    safe = safe_recipe(trial.recipe) if result["risk"] != "none" else None
    steps = safe and [{k: v for k, v in step.items() if v is not None} for step in safe.to_json()]
    return {"trial": trial.id, "label": trial.label} | result | {"safe_recipe": steps}


def safe_recipe(recipe: Recipe) -> Recipe | None:
    """The recipe with weights in 7 bits, whose sums cannot saturate; None where nothing in it rounds to 8 bits and multiplies them so."""
    # Fewer bits than 7 in the middle are safe already; what is not may be the ends.
    changed = tuple(
        step.model_copy(
            update={
                "weight_bits": min(step.weight_bits, 7),
                "ends_8bit": False,
                "mean_bits": step.mean_bits and min(step.mean_bits, 7.0),
            }
        )
        if isinstance(step, Quantize) and step.weight_bits <= 8 and step.activation_bits <= 8 and step.layers is None
        else step
        for step in recipe.steps
    )
    return Recipe(steps=changed) if changed != recipe.steps else None
