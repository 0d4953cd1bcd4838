"""Answers about one stored trial that are worked out when they are asked for, and kept: why it is not faster, how it would do elsewhere.

`kept_why` and `kept_portability` look for an answer that is there already, and `latency_samples` for what a latency was made of; they read
the store alone, so a web server may call them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.datasets.dataset import dataset_checksum, load_dataset, reported
from engine.errors import InputError, StepError
from engine.measure.diagnose import explain
from engine.measure.machine import machine
from engine.paths import EXAMPLE
from engine.run.code_digest import code_digest
from engine.run.plan import make_plan
from engine.spec.steps import Quantize, Recipe, Runtime, Step, canonical_json, digest
from engine.spec.sweep import LatencyOptions, Sweep
from engine.store.artifacts import Artifacts
from engine.store.store import NodeRow, Store
from engine.trials.trial import Trial

CALIBRATION_IMAGES = 100
"""On so many are the layers' shares of saturated sums counted."""
SAMPLES = 500
"""Test images on which the accuracy is predicted, unless told otherwise."""
SIDES, SHIPPED_PER_MS = ("trial", "baseline"), 10_000
"""How the shipped samples are called, each after its trial's id, and in how many parts of a millisecond they are whole numbers."""


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
    known = _known(store, kind, parts)
    if known is not None:
        return known
    started = time.monotonic()
    try:
        # As the store gives it back: lists, not tuples.
        result: dict[str, Any] = json.loads(canonical_json(work()))
    except StepError as error:
        raise InputError(str(error)) from None
    store.save_node(NodeRow(_key(kind, parts), kind, 1.0, time.monotonic() - started, result))
    return result


def _key(kind: str, parts: dict[str, Any]) -> str:
    return digest({"kind": kind, "code": code_digest(kind), **parts})


def _known(store: Store, kind: str, parts: dict[str, Any]) -> dict[str, Any] | None:
    found = store.nodes([_key(kind, parts)])
    return next((row.result for row in found.values()), None)


def why(store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str) -> dict[str, Any]:
    """`diagnose.Why` of a trial as JSON, with its label; profiled here, once for each pair of files and machine.

    Raises NotFoundError or InputError.
    """
    from engine.measure.operators import profile_pair

    sweep, trial, baseline = _measured(store, sweep_ref, trial_id)
    if trial.id == baseline.id:
        raise InputError(f"trial {trial.id} is the baseline itself; ask about one of the others")

    def work() -> dict[str, Any]:
        names = [trial.artifact or "", baseline.artifact or ""]
        profiles = profile_pair([artifacts.local(name) for name in names], _runtimes(sweep, trial))
        return explain(profiles[0], profiles[1], machine().flags).to_json()

    return _about(trial) | _kept(store, "why", _why_parts(sweep, trial, baseline), work)


def kept_why(store: Store, sweep: Sweep, trial: Trial, baseline: Trial) -> dict[str, Any] | None:
    """What `why` has found on this machine; None where it was not asked yet."""
    found = _known(store, "why", _why_parts(sweep, trial, baseline))
    return None if found is None else _about(trial) | found


def _about(trial: Trial) -> dict[str, Any]:
    return {"trial": trial.id, "label": trial.label, "machine": machine().label}


def _runtimes(sweep: Sweep, trial: Trial) -> list[Runtime]:
    """How the trial and how the baseline is run, every option stated."""
    latency = sweep.measure.latency or LatencyOptions()
    return [latency.filled(trial.recipe.runtime), latency.filled(None)]


def _why_parts(sweep: Sweep, trial: Trial, baseline: Trial) -> dict[str, Any]:
    return {
        "files": [trial.artifact or "", baseline.artifact or ""],
        "runtimes": [r.options for r in _runtimes(sweep, trial)],
        "machine": machine().fingerprint,
    }


def portability(
    store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str, samples: int = SAMPLES
) -> dict[str, Any]:
    """`saturation.Portability` of a trial as JSON, with its label and, where it is at risk, a recipe that is not.

    Raises NotFoundError or InputError.
    """
    sweep, trial, _ = _measured(store, sweep_ref, trial_id)
    name = trial.artifact or ""

    def work() -> dict[str, Any]:
        from engine.graph.graph import load_onnx
        from engine.measure.saturation import measure_portability

        data = load_dataset(sweep.data)
        calibration, test = data.calibration.head(CALIBRATION_IMAGES), reported(data.test, sweep.measure).head(samples)
        found = measure_portability(
            load_onnx(artifacts.local(name)),
            data.preprocessing(calibration.inputs),
            data.preprocessing(test.inputs),
            test.labels,
        )
        return asdict(found)

    return _with_safe_recipe(trial, _kept(store, "portability", _portability_parts(sweep, trial, samples), work))


def kept_portability(store: Store, sweep: Sweep, trial: Trial) -> dict[str, Any] | None:
    """What `portability` has found on as many images as it takes by itself; None where it was not asked yet."""
    found = _known(store, "portability", _portability_parts(sweep, trial, SAMPLES))
    return None if found is None else _with_safe_recipe(trial, found)


def _portability_parts(sweep: Sweep, trial: Trial, samples: int) -> dict[str, Any]:
    return {
        "file": trial.artifact or "",
        "data": dataset_checksum(sweep.data),
        "samples": samples,
        "measure": sweep.measure.model_dump(include={"test_samples", "held_back"}),
    }


def _with_safe_recipe(trial: Trial, result: dict[str, Any]) -> dict[str, Any]:
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
        if isinstance(step, Quantize) and _is_integer(step) and step.layers is None
        else step
        for step in recipe.steps
    )
    return Recipe(steps=changed) if changed != recipe.steps else None


def _is_integer(step: Step) -> bool:
    return isinstance(step, Quantize) and step.weight_bits <= 8 and step.activation_bits <= 8


def computes_in_integers(recipe: Recipe) -> bool:
    """Whether the file multiplies integers, so that sums of it may saturate where a CPU has no instruction for them."""
    return any(_is_integer(step) for step in recipe.steps)


@dataclass(frozen=True)
class Samples:
    """Every timed call of a trial and, in turns with it, of the baseline, in ms, disturbed ones too; the baseline has only its own."""

    trial_ms: tuple[float, ...]
    baseline_ms: tuple[float, ...]


def latency_samples(store: Store, sweep: Sweep, trial: Trial) -> Samples | None:
    """What a trial's latency was made of; None where it was not measured, or by another version of the program, or in another store.

    The samples of the shipped example ship with it. Raises InputError when the model or the data that the sweep names are not there any
    more.
    """
    if trial.machine is None or trial.timing is None:
        return None
    # A node's key depends on its own recipe alone: planning the others as well would take seconds in a large sweep.
    steps = (trial.recipe.steps,)
    alone = Sweep(model=sweep.model, data=sweep.data, recipes=steps, measure=sweep.measure, seed=sweep.seed)
    plan = make_plan(alone, trial.machine)
    key = next((c.latency for c in plan.chains if c.recipe.id == trial.recipe.id), None)
    row = store.nodes([key]).get(key) if key else None
    if row is not None:
        return samples_of(row.result)
    is_example = any(row.example and row.id == sweep.id for row in store.sweeps())
    return _shipped_samples(trial.id) if is_example else None


def samples_of(latency: Mapping[str, Any]) -> Samples:
    """The samples in the result of a `latency` node."""
    sides = ("candidate_ms", "baseline_ms")
    own, before = (tuple(ms for p in latency["processes"] for block in p[side] for ms in block) for side in sides)
    return Samples(own, before)


def _shipped_samples(trial_id: str) -> Samples | None:
    """Written by data/make_example.py, in units of 100 ns."""
    path = EXAMPLE / "latency.npz"
    if not path.exists():
        return None
    with np.load(path) as shipped:
        sides = [shipped.get(f"{trial_id} {side}") for side in SIDES]
    own, before = (() if side is None else tuple((side / SHIPPED_PER_MS).tolist()) for side in sides)
    return Samples(own, before) if own else None
