"""How would an int8 file answer on CPUs of the other kind, without VNNI or with it? Worked out when it is asked, and kept.

`kept_portability` looks for an answer that is there already; it reads the store alone, so a web server may call it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from engine.datasets.load import dataset_checksum, load_dataset, reported
from engine.explain.cached_answers import kept, known, measured_pair
from engine.spec.recipe import Recipe
from engine.spec.steps import Imported, Quantize, Step
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial

CALIBRATION_IMAGES = 100
"""On so many are the layers' shares of saturated sums counted."""
SAMPLES = 500
"""Test images on which the accuracy is predicted, unless told otherwise."""


def portability(
    store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str, samples: int = SAMPLES
) -> dict[str, Any]:
    """`saturation.Portability` of a trial as JSON, with its label and, where it is at risk, a recipe that is not.

    Raises NotFoundError or InputError.
    """
    sweep, trial, _ = measured_pair(store, sweep_ref, trial_id)
    name = trial.artifact or ""

    def work() -> dict[str, Any]:
        from engine.graph.graph import load_onnx
        from engine.measure.portability import measure_portability

        data = load_dataset(sweep.data)
        calibration, test = data.calibration.head(CALIBRATION_IMAGES), reported(data.test, sweep.measure).head(samples)
        found = measure_portability(
            load_onnx(artifacts.local(name), several=True),
            data.preprocessing(calibration.inputs),
            data.preprocessing(test.inputs),
            test.labels,
            data.has_classes,
        )
        return asdict(found)

    return _with_safe_recipe(trial, kept(store, "portability", _portability_parts(sweep, trial, samples), work))


def kept_portability(store: Store, sweep: Sweep, trial: Trial) -> dict[str, Any] | None:
    """What `portability` has found on as many images as it takes by itself; None where it was not asked yet."""
    found = known(store, "portability", _portability_parts(sweep, trial, SAMPLES))
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
        if isinstance(step, Quantize) and _is_integer(step) and not step.stated_layers
        else step
        for step in recipe.steps
    )
    return Recipe(steps=changed) if changed != recipe.steps else None


def _is_integer(step: Step) -> bool:
    return isinstance(step, Quantize) and step.weight_bits <= 8 and step.activation_bits <= 8


def computes_in_integers(recipe: Recipe) -> bool:
    """Whether the file multiplies integers, or may for all that is known, so that sums of it may saturate where a CPU has no instruction
    for them.
    """
    return any(_is_integer(step) or isinstance(step, Imported) for step in recipe.steps)
