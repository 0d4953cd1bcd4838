"""Trials in words: numbers with units and sensible digits, metrics with their device, recipes as sentences.

Plain text without markup, so that the browser, the command line and a bundle's card say the same.
"""

from __future__ import annotations

import math
from typing import Any

from engine.record import METRICS, Trial
from engine.spec import Distill, Finetune, Prune, Recipe, Step

SCALE = {"%": 100.0, "kB": 1e-3, "M": 1e-6}
"""From base units (share, bytes, operations) to the unit that `METRICS` shows."""


def shown(key: str, value: float) -> float:
    """A value in base units -> the unit that the metric is shown in."""
    return value * SCALE.get(METRICS[key].unit, 1.0)


def based(key: str, value: float) -> float:
    """The inverse of `shown`."""
    return value / SCALE.get(METRICS[key].unit, 1.0)


def text_of(key: str, value: float | None, unit: bool = True) -> str:
    """A value in base units as people read it, `91.24 %`, `84.3 kB`; an en dash where it was not measured."""
    if value is None or not math.isfinite(value):
        return "–"
    number = shown(key, value)
    if key == "accuracy":
        text = f"{number:.2f}"
    elif METRICS[key].unit == "":
        text = f"{number:,.0f}"
    else:
        # Three significant digits, but never fewer than the whole number.
        decimals = 2 if number == 0 else max(0, 2 - math.floor(math.log10(abs(number))))
        text = f"{number:,.{min(decimals, 6)}f}"
    return f"{text} {METRICS[key].unit}".rstrip() if unit else text


def metric_range(trial: Trial, key: str, device: str = "host") -> tuple[float, float] | None:
    """The interval of a number of a trial in base units, None where it has none."""
    projection = trial.projections.get(device)
    source: Any = None
    if key in {"accuracy", "latency_ratio"}:
        source = getattr(trial, key)
    elif projection and key == "energy_mj":
        source = projection.energy_mj
    elif projection and key == "latency_ms" and device != "host":
        source = projection.latency_ms
    return (source.low, source.high) if source else None


def is_estimated(trial: Trial, key: str, device: str = "host") -> bool:
    """Whether the number is not measured on the device it speaks of."""
    if key == "energy_mj":
        projection = trial.projections.get(device)
        return bool(projection and projection.energy_mj and projection.energy_mj.source == "estimated")
    return key == "latency_ms" and device != "host"


def axis_title(key: str, device: str = "host", estimated: bool = False) -> str:
    """`Latency on stm32h7a3-xcubeai, estimated (ms)`."""
    metric = METRICS[key]
    where = f" on {device}" if key in {"latency_ms", "energy_mj"} and device != "host" else ""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.name}{where}{', estimated' if estimated else ''}{unit}"


def step_text(step: Step) -> str:
    """One step as a sentence without its full stop."""
    if isinstance(step, Distill):
        width = "" if step.width == 1 else f" at {step.width:g}× width"
        teacher = (
            "from labels alone"
            if step.alpha == 0
            else f"with the network as its teacher (temperature {step.temperature:g})"
        )
        return f"Train {step.student}{width} {teacher}, {_epochs(step.epochs, step.samples)}"
    if isinstance(step, Prune):
        what = (
            "the channels of each layer"
            if step.method == "channel"
            else "all weights, the smallest, by setting them to zero"
        )
        return f"Remove {step.ratio * 100:g} % of {what}"
    if isinstance(step, Finetune):
        return f"Train on for {_epochs(step.epochs, step.samples)}"
    per = "one scale per channel" if step.per_channel else "one scale per layer"
    if step.activation_bits == 32:
        if step.weight_bits == 16:
            return "Store weights as 16-bit floats; compute in 32-bit floats"
        return f"Store weights in {step.weight_bits} bits, {per}; compute in floats"
    return (
        f"Compute in integers: weights in {step.weight_bits} bits, {per}, activations in {step.activation_bits} bits, "
        f"ranges from {step.calibration_samples:,} calibration images"
    )


def _epochs(epochs: int, samples: int | None) -> str:
    images = "" if samples is None else f" of {samples:,} images"
    return f"{epochs} {'epoch' if epochs == 1 else 'epochs'}{images}"


def recipe_texts(recipe: Recipe) -> list[str]:
    """A recipe as a chain of sentences; the baseline is a chain of one."""
    return [step_text(s) for s in recipe.steps] or ["The network as it came: nothing removed, 32-bit floats"]


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 05 s`, `1 h 12 min`; an en dash for None."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
