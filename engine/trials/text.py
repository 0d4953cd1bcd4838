"""Trials in words: numbers with units and sensible digits, metrics with their device, recipes as sentences.

Plain text without markup, so that the browser, the command line and a bundle's card say the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from engine.spec.steps import Distill, Finetune, Prune, Quantize, Recipe, Runtime, Step
from engine.trials.evidence import Seeds
from engine.trials.trial import DEVICE_METRICS, METRICS, SCENARIO_METRICS, Interval, Timing, Trial, metric_interval

SCALE = {"%": 100.0, "points": 100.0, "kB": 1e-3, "M": 1e-6}
"""From base units (share, bytes, operations) to the unit that `METRICS` shows."""
SATURATION_RISKS = {
    "none": "none: no pair of its products can saturate",
    "unseen": "unseen: some could saturate, but none did on these images",
    "harmless": "harmless: some saturate, and the accuracy is not told apart",
    "harmful": "harmful: the accuracy is another one",
}
"""What an int8 file risks on CPUs without VNNI, by `risk` of its portability."""


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
    if METRICS[key].unit in {"%", "points"}:
        text = f"{number:.2f}"
    elif METRICS[key].unit == "":
        text = f"{number:,.0f}"
    else:
        # Three significant digits, but never fewer than the whole number.
        decimals = 2 if number == 0 else max(0, 2 - math.floor(math.log10(abs(number))))
        text = f"{number:,.{min(decimals, 6)}f}"
    return f"{text} {METRICS[key].unit}".rstrip() if unit else text


def limits_text(limits: Mapping[str, float]) -> str:
    """Limits by metric in base units as people read them, `accuracy ≥ 90.00 %, file size ≤ 500 kB`; empty for none."""
    return ", ".join(
        f"{METRICS[k].name.lower()} {'≥' if METRICS[k].maximise else '≤'} {text_of(k, v)}" for k, v in limits.items()
    )


def metric_range(trial: Trial, key: str, device: str = "host") -> tuple[float, float] | None:
    """The interval of a number of a trial in base units, None where it has none."""
    found = metric_interval(trial, key, device)
    return (found.low, found.high) if isinstance(found, Interval) else None


def is_estimated(trial: Trial, key: str, device: str = "host") -> bool:
    """Whether the number is not measured on the device it speaks of."""
    if key == "energy_mj" or key in SCENARIO_METRICS:
        projection = trial.projections.get(device)
        return bool(projection and projection.energy_mj and projection.energy_mj.source != "measured")
    return key == "latency_ms" and device != "host"


def axis_title(key: str, device: str = "host", estimated: bool = False) -> str:
    """`Latency on stm32h7a3-xcubeai, estimated (ms)`."""
    metric = METRICS[key]
    where = f" on {device}" if key in DEVICE_METRICS and device != "host" else ""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.name}{where}{', estimated' if estimated else ''}{unit}"


def source_name(source: str) -> str:
    """A model or data source without the folders of whoever exported it, which are nobody else's business."""
    is_file = any(mark in source for mark in (".py:", ".onnx", ".npz", ".safetensors", ".pt"))
    return source.replace("\\", "/").rpartition("/")[2] if is_file else source


def step_text(step: Step) -> str:
    """One step as a sentence without its full stop."""
    if isinstance(step, Distill):
        return _distill_text(step)
    if isinstance(step, Prune):
        return _prune_text(step)
    if isinstance(step, Finetune):
        return f"Train on for {_epochs(step.epochs, step.samples)}"
    if isinstance(step, Runtime):
        return runtime_text(step)
    return _quantize_text(step)


_OPTIMISATION = {
    "disable": "the graph as it is stored",
    "basic": "basic graph optimisation",
    "extended": "extended graph optimisation",
    "all": "every graph optimisation",
}


def runtime_text(step: Runtime) -> str:
    """How a file is run, `Run with 4 threads, 8 images per call, on the CPU provider`; only what the step states."""
    parts = [] if step.threads is None else [f"{step.threads} thread{'s' if step.threads > 1 else ''}"]
    parts += [] if step.batch is None else [f"{step.batch} image{'s' if step.batch > 1 else ''} per call"]
    parts += [] if step.graph_optimisation is None else [_OPTIMISATION[step.graph_optimisation]]
    parts += [] if step.provider is None else [f"the {step.provider} provider"]
    return "Run with " + ", ".join(parts)


def timing_texts(timing: Timing) -> list[str]:
    """How a latency was measured: what ran, how sure it is, and the cold start, a sentence each without its full stop."""
    stated = {n: getattr(timing, n) for n in ("threads", "batch", "graph_optimisation", "provider")}
    pinned = f", pinned to CPU {', '.join(map(str, timing.cpus))}" if timing.cpus else ""
    other = f"; the baseline with a batch of {timing.baseline_batch}" if timing.baseline_batch != timing.batch else ""
    how = f"{timing.blocks - timing.disturbed_blocks:,} pairs of blocks in {timing.processes} processes"
    how += f", {timing.disturbed_blocks} more disturbed and not counted" if timing.disturbed_blocks else ""
    reached = "of unknown width" if timing.half_width is None else f"±{timing.half_width * 100:.2g} %"
    stop = "as narrow as asked" if timing.stopped == "precise" else "stopped by the time limit"
    arena = "" if timing.arena_bytes is None else f"; ONNX Runtime's arena held {timing.arena_bytes / 1e6:.1f} MB"
    return [
        runtime_text(Runtime(**stated)) + pinned + other,
        f"Latency: {how}; interval {reached}, {stop}",
        f"First run after loading {timing.first_run_ms:.3g} ms{arena}",
    ]


def _distill_text(step: Distill) -> str:
    scales = [f"{v:g}× {n}" for v, n in ((step.width, "width"), (step.depth, "depth")) if v != 1]
    scales += [f"each block applied {step.repeats} times"] if step.repeats is not None else []
    shape = f" at {', '.join(scales)}" if scales else ""
    student = {"self": "a new network of the same kind", "current": "the network as it now is, on,"}.get(
        step.student, step.student
    )
    teacher = {"baseline": "the baseline", "previous": "the network so far"}.get(
        step.teacher, source_name(step.teacher)
    )
    how = "from labels alone"
    if step.has_teacher:
        what = [f"temperature {step.temperature:g}, weight {step.alpha:g}"] if step.alpha else []
        what += [f"features with weight {step.feature_weight:g}"] if step.feature_weight else []
        how = f"with {teacher} as its teacher ({'; '.join(what)})"
    return f"Train {student}{shape} {how}, {_epochs(step.epochs, step.samples)}"


def _prune_text(step: Prune) -> str:
    if step.method == "nm":
        kept, of = (step.pattern or "").split(":")
        return f"Keep the {kept} largest of every {of} neighbouring weights, set the others to zero"
    where = {
        "uniform": "the same share in each layer",
        "global": "wherever they matter least",
        "sensitivity": "more where it hurts less",
    }
    spread = where[step.allocation or "uniform"]
    if step.method == "magnitude":
        return f"Set {(step.ratio or 0) * 100:g} % of all weights to zero, the smallest, {spread}"
    what = (
        f"{step.ratio * 100:g} % of the parameters"
        if step.ratio is not None
        else f"{(step.macs_ratio or 0) * 100:g} % of the operations"
    )
    importance = {"l2": "weights", "bn_scale": "batch-norm scales", "taylor": "effect on the loss"}[
        step.importance or "l2"
    ]
    return f"Remove whole channels until {what} are gone, those with the smallest {importance}, {spread}"


def _quantize_text(step: Quantize) -> str:
    per = "one scale per channel" if step.per_channel else "one scale per layer"
    if step.weight_bits == 16:
        return "Store weights as 16-bit floats; compute in 32-bit floats"
    bits = f"{step.weight_bits} bits"
    if step.mean_bits is not None:
        bits = f"2 to {step.weight_bits} bits, {step.mean_bits:g} on average, more where it hurts more"
    extras = [per]
    extras += ["after evening out the ranges of neighbouring layers"] if step.equalize else []
    extras += ["rounded up or down as learned on calibration images"] if step.rounding == "learned" else []
    extras += ["biases corrected"] if step.bias_correction else []
    extras += ["first and last layer in 8 bits"] if step.ends_8bit and step.weight_bits < 8 else []
    details = ", ".join(extras)
    if step.activation_bits == 32:
        return f"Store weights in {bits}, {details}; compute in floats"
    where = "in integers" if step.activation_bits <= 8 else "in floats, rounded to 16 bits"
    text = (
        f"Compute {where}: weights in {bits}, {details}, activations in {step.activation_bits} bits, "
        f"ranges from {step.calibration_samples:,} calibration images"
    )
    if step.max_latency is not None:
        text += f"; the layers that lose most stay in floats, up to {step.max_latency * 100:g} % of the time of floats"
    if step.method == "qat" and step.epochs is not None:
        text += f"; then train on with the rounding in place, {_epochs(step.epochs, step.samples)}"
    return text


def _epochs(epochs: int, samples: int | None) -> str:
    images = "" if samples is None else f" of {samples:,} images"
    return f"{epochs} {'epoch' if epochs == 1 else 'epochs'}{images}"


def stage_rows(trial: Trial) -> list[dict[str, str]]:
    """What each stage of a recipe bought or cost: label, and accuracy, size and latency with their change; the first is the baseline."""
    rows = []
    for before, stage in zip((None, *trial.stages), trial.stages, strict=False):
        steps = trial.recipe.steps[before.steps if before else 0 : stage.steps]
        points, kilobytes, milliseconds = "", "", ""
        if before:
            sure = stage.p_vs_before is None or stage.p_vs_before < 0.05
            if stage.accuracy is not None and before.accuracy is not None:
                points = f"{(stage.accuracy - before.accuracy) * 100:+.2f} points{'' if sure else ', not told apart'}"
            kilobytes = f"{(stage.size_bytes - before.size_bytes) / 1e3:+,.1f} kB"
            if stage.latency_ms is not None and before.latency_ms is not None:
                milliseconds = f"{stage.latency_ms - before.latency_ms:+.3f} ms"
        rows.append(
            {
                "After": Recipe(steps=steps).label,
                "Accuracy": _with_change(text_of("accuracy", stage.accuracy), points),
                "File size": _with_change(text_of("size_bytes", stage.size_bytes), kilobytes),
                "Latency": _with_change(text_of("latency_ms", stage.latency_ms), milliseconds),
            }
        )
    return rows


def _with_change(text: str, change: str) -> str:
    return f"{text} ({change})" if change else text


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


def share_text(share: float) -> str:
    """A share of draws as people read it: `64 %`, `over 99 %`, `under 1 %`."""
    return "over 99 %" if share > 0.99 else "under 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


def baseline_text(trial: Trial) -> str:
    """How a trial's accuracy compares with the baseline's on the same images; empty for the baseline itself."""
    a = trial.accuracy
    if a is None or a.p_vs_baseline is None:
        return ""
    odds = "p < 0.001" if a.p_vs_baseline < 0.001 else f"p = {a.p_vs_baseline:.3f}"
    verdict = "tied with" if a.tied_with_baseline else "different from"
    text = f"{verdict} the baseline ({odds}, McNemar)"
    if d := a.vs_baseline:
        text += f", {100 * d.value:+.2f} points ({100 * d.low:+.2f} to {100 * d.high:+.2f})"
    return text


def seeds_text(seeds: Seeds) -> str:
    """`91.20 ± 0.14 % over 3 seeds (91.04 to 91.30)`."""
    mean, low, high = (text_of("accuracy", v, unit=False) for v in (seeds.mean, seeds.low, seeds.high))
    return f"{mean} ± {100 * seeds.deviation:.2f} % over {len(seeds.runs)} seeds ({low} to {high})"


def confirmation_text(trial: Trial) -> str:
    """What held-back images said of a trial; empty where they were not asked."""
    c = trial.confirmation
    if c is None:
        return ""
    a = c.accuracy
    low, high = (text_of("accuracy", v, unit=False) for v in (a.low, a.high))
    text = f"{text_of('accuracy', a.value)} ({low} to {high}) on {a.n:,} held-back images"
    if d := a.vs_baseline:
        verdict = "tied with" if a.tied_with_baseline else "different from"
        text += (
            f", {100 * d.value:+.2f} points ({100 * d.low:+.2f} to {100 * d.high:+.2f}) against the baseline’s "
            f"{text_of('accuracy', c.baseline)}: {verdict} it"
        )
    return text + ("" if c.order == 1 else f"; number {c.order} of this sweep to be confirmed on them")


def best_text(best: float | None, optimism: float | None, candidates: int) -> str:
    """How sure the best choice is, and what picking it flatters: one sentence, empty where neither is known."""
    parts = []
    if best is not None:
        parts.append(f"the same choice in {share_text(best)} of redraws of the measurements")
    if optimism is not None and candidates > 1:
        parts.append(
            f"picked from {candidates} by the images it is scored on, its accuracy is expected to be {100 * optimism:.2f} points too high"
        )
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]
