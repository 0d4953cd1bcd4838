"""What another tool's settings can say of a recipe, and what they cannot: what both `olive_config.py` and `inc_config.py` have to tell.

Such tools round to the nearest, with ranges from calibration, in 8 bits or in blocks. Nothing is said in their words that means something
else there: it is listed as not said instead, since a setting that quietly does another thing gives another network under the same name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import InputError
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.spec.sentences import step_text
from engine.spec.steps import Imported, Quantize
from engine.trials.trial import Trial

_SMOOTHED = re.compile(r"smoothed ([0-9.]+)")


@dataclass(frozen=True)
class Said:
    """A recipe in another tool's words: its settings, as that tool reads them from JSON, and a sentence for all that it cannot say."""

    settings: dict[str, Any]
    not_said: tuple[str, ...]


def quantization(trial: Trial, tool: str) -> tuple[Quantize, list[str]]:
    """The step that a tool can say something of, and what none can say of the recipe; raises InputError where there is no such step."""
    step = next((s for s in trial.recipe.steps if isinstance(s, Quantize)), None)
    if step is None:
        there = "; ".join(_others(trial.recipe, tool)) or "it has no step"
        raise InputError(
            f"{trial.label} cannot be said as settings of {tool}: {there}; choose a trial with a quantize step"
        )
    refined = _refinements(step, trial.chosen, tool)
    return step, [*_others(trial.recipe, tool), *refined, *_layer_texts(step, trial.layer_bits, tool)]


def _others(recipe: Recipe, tool: str) -> Iterator[str]:
    """A sentence for each step that is none of quantization."""
    for step in recipe.steps:
        if isinstance(step, Runtime):
            yield f"{step_text(step)}: says how the finished file is run, not how it is made"
        elif isinstance(step, Imported):
            yield f"{step_text(step)}: the file was made elsewhere"
        elif not isinstance(step, Quantize):
            yield f"{step_text(step)}: {tool} has no such step; give it a network that has been through this one"


def _refinements(step: Quantize, chosen: Sequence[str], tool: str) -> Iterator[str]:
    """A sentence for each thing that a quantize step does beyond rounding to the nearest within calibrated ranges."""
    integer = step.activation_bits <= 8 and step.method == "ptq"
    if step.learns_rounding and step.method != "dynamic":
        yield f"rounding: learned on calibration samples; {tool} rounds to the nearest"
    if integer and step.bias_correction is not False:
        yield f"bias_correction: biases make up for what rounding shifts; {tool} leaves them"
    if integer and (step.equalize is True or (step.equalize == "auto" and not step.per_channel)):
        yield f"equalize: ranges of channels are evened out before rounding; {tool} does not"
    for name in ("mean_bits", "max_latency", "max_drop", "float_layers"):
        if (value := getattr(step, name)) is not None:
            came_to = f", which came to {', '.join(chosen)}" if chosen else ""
            yield f"{name} {value:g}: chooses bits by layer{came_to}; {tool} does not choose"
    if step.ends_8bit and step.weight_bits < 8:
        yield f"ends_8bit: the first and last layer keep 8 bits; {tool} is told one number for all"


def _layer_texts(step: Quantize, layer_bits: Mapping[str, int] | None, tool: str) -> Iterator[str]:
    """A sentence on layers that got other bits than the step's own, except those in float."""
    bits = {**(layer_bits or {}), **step.stated_layers}
    odd = sorted({n for n in bits.values() if n not in (32, step.weight_bits)})
    if odd:
        count = sum(n in odd for n in bits.values())
        yield f"{count} layers have {' or '.join(map(str, odd))} bits rather than {step.weight_bits}; {tool} is told one number for all"


def in_float(step: Quantize, layer_bits: Mapping[str, int] | None) -> list[str]:
    """The layers that stay in float, by their names in the ONNX file."""
    bits = {**(layer_bits or {}), **step.stated_layers}
    return sorted(name for name, n in bits.items() if n == 32)


def smoothing(trial: Trial, step: Quantize) -> float | None:
    """How strongly SmoothQuant moved ranges, stated or as `auto` came to; None for not at all."""
    if step.smooth != "auto":
        return float(step.smooth) or None
    found = [m for m in map(_SMOOTHED.fullmatch, trial.chosen) if m]
    return float(found[0][1]) if found else None


def is_safe(trial: Trial, step: Quantize) -> bool:
    """Whether 8-bit weights kept to 7 bits, stated or as the measuring machine needed."""
    return step.weight_range == "safe" or "7-bit weights" in trial.chosen
