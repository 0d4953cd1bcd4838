"""Steps in a few words: `channels −50 % · finetune 1 · int8`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.spec.canonical import digest
from engine.spec.runtime import Runtime
from engine.spec.steps import PARTS, Distill, Finetune, Imported, Prune, Quantize, Step, usual_qat_rate


def _percent(ratio: float) -> str:
    return f"{ratio * 100:g} %"


def _with_notes(label: str, notes: list[str]) -> str:
    return f"{label} ({', '.join(notes)})" if notes else label


def step_label(step: Step, chosen: Sequence[str] = ()) -> str:
    """A few words for one step; knobs that are not at their default are named, and what a quantize step chose by itself."""
    if isinstance(step, Distill):
        return _distill_label(step)
    if isinstance(step, Prune):
        return _prune_label(step)
    if isinstance(step, Finetune):
        return _with_notes(f"finetune {_length(step)}", _training_notes(step))
    if isinstance(step, Runtime):
        return _runtime_label(step)
    if isinstance(step, Imported):
        return step.name
    return _quantize_label(step, chosen)


def _length(step: Distill | Finetune | Quantize) -> str:
    """`2`, or `2×20k` for two epochs of 20,000 images each."""
    if step.samples is None:
        return str(step.epochs)
    thousands = step.samples >= 1000 and step.samples % 100 == 0
    return f"{step.epochs}×{step.samples / 1000:g}k" if thousands else f"{step.epochs}×{step.samples:,}"


def _training_notes(step: Distill | Finetune | Quantize) -> list[str]:
    """How a step trains, where that is not the usual way."""
    fields = type(step).model_fields
    usual = usual_qat_rate(step.weight_bits) if isinstance(step, Quantize) else fields["learning_rate"].default
    notes = [f"rate {step.learning_rate:g}"] if step.learning_rate not in (None, usual) else []
    augment = getattr(step, "augment", "none")
    return notes + ([augment] if augment != "none" else [])


def _distill_label(step: Distill) -> str:
    scale = "".join(f" ×{v:g}{n}" for v, n in ((step.width, ""), (step.depth, " deep")) if v != 1)
    repeats = f" R{step.repeats}" if step.repeats is not None else ""
    verb = "distil" if step.has_teacher else "train"
    asked = "from" if step.has_teacher else "without asking"
    notes = [f"{asked} {step.teacher}"] if step.teacher != "baseline" else []
    if step.feature_weight:
        notes.append("features" if step.feature_weight == 1 else f"features ×{step.feature_weight:g}")
    usual = Distill.model_fields
    notes += [f"alpha {step.alpha:g}"] if step.has_teacher and step.alpha != usual["alpha"].default else []
    notes += [f"temperature {step.temperature:g}"] if step.temperature != usual["temperature"].default else []
    if step.is_fresh and (step.epochs, step.samples) != (usual["epochs"].default, None):
        notes.append(_length(step) if step.samples else f"{step.epochs} epoch{'s' if step.epochs > 1 else ''}")
    notes += _training_notes(step)
    notes += ["own layers"] if step.is_taken else []
    if not step.is_fresh:
        return _with_notes(f"{verb} on {_length(step)}", notes)
    return _with_notes(f"{verb} {step.student}{scale}{repeats}", notes)


def _prune_label(step: Prune) -> str:
    if step.method == "nm":
        return f"{step.pattern} sparse"
    notes: list[str] = (
        [step.allocation]
        if step.allocation and step.allocation != ("global" if step.method == "magnitude" else "uniform")
        else []
    )
    if step.importance and step.importance != "l2":
        notes.append({"bn_scale": "BN scale", "taylor": "Taylor"}[step.importance])
    if step.round_to is not None and step.round_to != 4:
        notes.append(f"multiples of {step.round_to}")
    if step.method == "magnitude":
        return _with_notes(f"weights −{_percent(step.ratio or 0)}", notes)
    if step.method in PARTS:
        names = {"heads": "heads", "mlp": "MLP width", "heads_and_mlp": "heads and MLP width"}
        return _with_notes(f"{names[step.method]} −{_percent(step.ratio or 0)}", notes)
    what = f"−{_percent(step.ratio)}" if step.ratio is not None else f"−{_percent(step.macs_ratio or 0)} MACs"
    return _with_notes(f"channels {what}", notes)


def _quantize_label(step: Quantize, chosen: Sequence[str]) -> str:
    bits = f"mixed {step.mean_bits:g}" if step.mean_bits is not None else str(step.weight_bits)
    if step.method == "block":
        label = f"{bits}-bit blocks of {step.block_size}"
    elif step.activation_bits == 32:
        half = "fp16" if step.compute else "fp16 weights"
        fp16 = step.weight_bits == 16 and step.mean_bits is None
        label = half if fp16 else f"{bits}-bit weights"
    elif (step.weight_bits, step.activation_bits, step.mean_bits) == (8, 8, None):
        label = "int8"
    else:
        label = f"w{bits.replace(' ', '')}a{step.activation_bits}"
    if step.method == "dynamic":
        label = f"{'int8' if label == 'int8' else f'w{bits}'} dynamic"
    if step.method == "qat":
        label += f" QAT {_length(step)}"
    notes: list[str] = [step.format] if step.format != "u8s8" else []
    notes += ["per layer"] if not step.per_channel else []
    notes += ["asymmetric"] if not step.symmetric else []
    notes += ["full weight range"] if step.weight_range == "full" else []
    # What is stated reads otherwise than what auto came to: the two may stand in one sweep.
    notes += ["safe weight range"] if step.weight_range == "safe" else []
    notes += [step.calibration] if step.calibration != "auto" else []
    notes += [] if step.equalize == "auto" else ["always equalised" if step.equalize else "not equalised"]
    notes += [] if step.smooth == "auto" else [f"smoothing at {step.smooth:g}" if step.smooth else "not smoothed"]
    notes += (
        [] if step.bias_correction == "auto" else ["bias corrected" if step.bias_correction else "biases as they are"]
    )
    notes += (
        []
        if step.rounding == "auto"
        else ["learned rounding" if step.rounding == "learned" else "rounded to the nearest"]
    )
    if step.ends_8bit != (step.weight_bits < 4):
        notes.append("ends 8 bit" if step.ends_8bit else "ends too")
    notes += [f"≤ {_percent(step.max_latency)} time"] if step.max_latency is not None else []
    notes += [f"drop ≤ {step.max_drop:g}"] if step.max_drop is not None else []
    notes += ["cheapest"] if step.cheapest else []
    if step.float_layers is not None:
        notes.append(f"{step.float_layers} layer{'s' if step.float_layers > 1 else ''} in float")
    notes += [_layers_text(step.stated_layers)] if step.stated_layers else []
    notes += ["every layer alike"] if step.layers == "uniform" else []
    notes += [f"{step.weight_bits} at most"] if step.mean_bits is not None and step.weight_bits != 8 else []
    if step.accuracy_level not in (None, 4):
        notes.append(f"level {step.accuracy_level}")
    usual = Quantize.model_fields["calibration_samples"].default
    notes += [f"{step.calibration_samples:,} calibration images"] if step.calibration_samples != usual else []
    notes += _training_notes(step)
    stated = ("7-bit weights",) if step.weight_range == "safe" else ()
    notes += [text for text in chosen if text not in stated]
    return _with_notes(label, notes)


def _layers_text(layers: Mapping[str, int]) -> str:
    """`conv1 4, head 8`; of more than three layers, how many have so many bits, and four digits that tell which."""
    if len(layers) <= 3:
        return ", ".join(f"{name} {bits}" for name, bits in layers.items())
    counts = Counter(layers.values())
    told = ", ".join(f"{n} of {bits}" for bits, n in sorted(counts.items()))
    return f"bits by layer: {told} #{digest(layers)[:4]}"


def source_name(source: str) -> str:
    """A model or data source without the folders of whoever exported it, which are nobody else's business."""
    marks = (".py:", ".onnx", ".npz", ".npy", ".csv", ".parquet", ".safetensors", ".pt")
    is_file = Path(source).is_absolute() or any(mark in source for mark in marks)
    return source.rstrip("/\\").replace("\\", "/").rpartition("/")[2] if is_file else source


def _runtime_label(step: Runtime) -> str:
    parts = [] if step.threads is None else [f"{step.threads} thread{'s' if step.threads > 1 else ''}"]
    parts += [] if step.batch is None else [f"batch {step.batch}"]
    if step.graph_optimisation is not None:
        how = "graph as stored" if step.graph_optimisation == "disable" else f"optimised {step.graph_optimisation}"
        parts.append(how)
    parts += [] if step.provider is None else [step.provider]
    return " · ".join(parts)
