"""Where do a trial's answers begin to differ from the baseline's? Each layer's output against the baseline's on test samples, worked out
when it is asked, and kept.

`kept_layers` looks for an answer that is there already; it reads the store alone, so a web server may call it.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from engine.datasets.load import dataset_checksum, load_dataset, reported
from engine.errors import InputError
from engine.explain.cached_answers import kept, known, measured_pair
from engine.explain.float_network import FloatNetwork, float_network
from engine.spec.steps import Distill
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial

if TYPE_CHECKING:
    import onnx

    from engine.datasets.dataset import Dataset

SAMPLES = 100
"""Test samples, unless told otherwise."""
_SMOOTHED = re.compile(r"smoothed ([0-9.]+)")


def layers(store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str, samples: int = SAMPLES) -> dict[str, Any]:
    """`divergence.compare_layers` of a trial as JSON, with its label, `reference` (the label of what it is held against), `samples`, and
    in words: `sentence`, where answers begin to differ, and `note`, what is not compared, None for nothing.

    It is held against the baseline; where most of its layers are not the baseline's (a student's, or pruned ones), against the float
    network that it quantizes. Raises NotFoundError or InputError.
    """
    sweep, trial, baseline = measured_pair(store, sweep_ref, trial_id)
    if trial.id == baseline.id:
        raise InputError(f"trial {trial.id} is the baseline itself; ask about one of the others")
    before = _quantized_from(store, store.sweep(sweep_ref).id, trial)

    def work() -> dict[str, Any]:
        return _worked_out(artifacts, sweep, trial, baseline, before, samples)

    return _about(trial) | kept(store, "layers", _parts(sweep, trial, baseline, samples), work)


def kept_layers(store: Store, sweep: Sweep, trial: Trial, baseline: Trial) -> dict[str, Any] | None:
    """What `layers` has found on as many samples as it takes by itself; None where it was not asked yet."""
    found = known(store, "layers", _parts(sweep, trial, baseline, SAMPLES))
    return None if found is None else _about(trial) | found


def _about(trial: Trial) -> dict[str, Any]:
    return {"trial": trial.id, "label": trial.label}


def _parts(sweep: Sweep, trial: Trial, baseline: Trial, samples: int) -> dict[str, Any]:
    return {
        "files": [trial.artifact or "", baseline.artifact or ""],
        "recipe": trial.recipe.to_json(),
        "data": dataset_checksum(sweep.data),
        "samples": samples,
        "measure": sweep.measure.model_dump(include={"test_samples", "held_back"}),
    }


def _quantized_from(store: Store, sweep_id: str, trial: Trial) -> FloatNetwork | None:
    try:
        found = float_network(store, sweep_id, trial)
    except InputError:
        return None
    return found if found.step is not None else None


def _worked_out(
    artifacts: Artifacts, sweep: Sweep, trial: Trial, baseline: Trial, before: FloatNetwork | None, samples: int
) -> dict[str, Any]:
    from engine.explain.divergence import compare_layers, plain
    from engine.graph.graph import load_onnx

    data = load_dataset(sweep.data)
    images = data.preprocessing(reported(data.test, sweep.measure).head(samples).inputs)
    found = plain(load_onnx(artifacts.local(trial.artifact or ""), several=True))
    own = before is not None and before.trial.id != baseline.id
    step = before.step if before else None
    moves = step is not None and (step.equalize is True or bool(_moved(trial)))

    student = any(isinstance(step, Distill) and step.is_fresh for step in trial.recipe.steps)

    def against(other: Trial) -> dict[str, Any]:
        reference = plain(load_onnx(artifacts.local(other.artifact or ""), several=True))
        if before is not None and other.id == before.trial.id:
            reference = _with_ranges_moved(reference, before, trial, data)
        # A student's layers may bear the names of its teacher's, and are others.
        same = not student or other.id != baseline.id
        return compare_layers(reference, found, images, same) | {"reference": other.label, "samples": len(images)}

    compared = None if own and moves else against(baseline)
    if own and before is not None and (compared is None or 2 * compared["compared"] < compared["all"]):
        compared = against(before.trial)
    assert compared is not None
    return compared | {"sentence": sentence(compared), "note": note(compared)}


def _moved(trial: Trial) -> tuple[float, ...]:
    """How strongly ranges were moved from activations to weights, or 0 where channels were equalised, of what `auto` came to."""
    found = [_SMOOTHED.fullmatch(text) for text in trial.chosen]
    stated = [getattr(step, "smooth", "auto") for step in trial.recipe.steps]
    strengths = [float(m[1]) for m in found if m] + [float(s) for s in stated if s not in ("auto", 0)]
    return (*strengths, *(0.0 for text in trial.chosen if text == "equalised"))


def _with_ranges_moved(model: onnx.ModelProto, before: FloatNetwork, trial: Trial, data: Dataset) -> onnx.ModelProto:
    """The float network with the ranges of its channels moved as its quantization did: it answers as before, but inside, channels have
    other scales, which are no error.
    """
    from engine.compress.quantization.equalize import equalize
    from engine.compress.quantization.smooth import smooth

    assert before.step is not None
    calibrating = data.calibrating(before.step.calibration_samples)
    calibration = data.preprocessing(calibrating.inputs)[: before.step.calibration_samples]
    model = equalize(model) if before.step.equalize is True else model
    for strength in _moved(trial):
        model = smooth(model, calibration, strength) if strength else equalize(model)
    return model


def sentence(found: dict[str, Any]) -> str:
    """Where answers begin to differ, in words."""
    end = found["output"]
    answers = "" if end is None else f" At the output {_db(end['sqnr_db'], end['exact'])}{_cosine(end['cosine'])}."
    for name, other in found.get("others", {}).items():
        answers += f" At the output {name} {_db(other['sqnr_db'], other['exact'])}{_cosine(other['cosine'])}."
    if not found["compared"]:
        return f"No layer can be held against {found['reference']}.{answers}"
    layer = next((x for x in found["layers"] if x["name"] == found["largest"]), None)
    if layer is None:
        lowest = min((x["sqnr_db"] for x in found["layers"] if x["sqnr_db"] is not None), default=math.inf)
        if lowest >= 40:
            return f"No layer stands out: none is below 40 dB, 1 % of its signal.{answers}"
        return (
            f"No layer stands out: none loses a decibel against what it reads; the lowest has {lowest:.0f} dB.{answers}"
        )
    before = "no difference" if layer["before_exact"] else _db(layer["before_db"], False)
    name, after = shown_name(layer["name"]), _db(layer["sqnr_db"], layer["exact"])
    return f"Answers begin to differ at {name}: {before} before it, {after} after.{answers}"


def shown_name(name: str) -> str:
    """A layer's name as tables show it."""
    return name.strip("/")


def _db(ratio: float | None, exact: bool) -> str:
    return "no difference" if exact else "no ratio" if ratio is None else f"{ratio:.0f} dB"


def _cosine(cosine: float | None) -> str:
    return "" if cosine is None else f", cosine {cosine:.4f}"


def note(found: dict[str, Any]) -> str | None:
    """What is not compared and why, in words; None where every layer is."""
    missing, other = found["all"] - found["shared"], found["shared"] - found["compared"]
    if not found["shared"]:
        return (
            f"It shares no layer with {found['reference']}: it is another network (a student, say), was made elsewhere, or its nodes "
            "have no names."
        )
    parts = []
    if missing:
        parts.append(f"{missing} of its {found['all']} layers are none of {found['reference']}’s")
    if other:
        parts.append(f"{other} read or give other shapes (pruned layers are narrower) and are not compared")
    return "; ".join(parts) + "." if parts else None
