"""Steps as sentences, for pages and cards; `labels.py` has the few words for charts."""

from __future__ import annotations

from engine.spec.labels import source_name
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.spec.steps import PARTS, Distill, Finetune, Imported, Prune, Quantize, Step


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
    if isinstance(step, Imported):
        return f"Take {step.name}, a file made elsewhere, as it is (SHA-256 {step.sha256[:12]}…)"
    return _quantize_text(step)


_OPTIMISATION = {
    "disable": "the graph as it is stored",
    "basic": "basic graph optimisation",
    "extended": "extended graph optimisation",
    "all": "every graph optimisation",
}


def runtime_text(step: Runtime) -> str:
    """How a file is run, `Run with 4 threads, 8 samples per call, on the CPU provider`; only what the step states."""
    parts = [] if step.threads is None else [f"{step.threads} thread{'s' if step.threads > 1 else ''}"]
    parts += [] if step.batch is None else [f"{step.batch} sample{'s' if step.batch > 1 else ''} per call"]
    parts += [] if step.graph_optimisation is None else [_OPTIMISATION[step.graph_optimisation]]
    parts += [] if step.provider is None else [f"the {step.provider} provider"]
    return "Run with " + ", ".join(parts)


def _distill_text(step: Distill) -> str:
    scales = [f"{v:g}× {n}" for v, n in ((step.width, "width"), (step.depth, "depth")) if v != 1]
    scales += [f"each block applied {step.repeats} times"] if step.repeats is not None else []
    shape = f" at {', '.join(scales)}" if scales else ""
    own = "the network's own layers" if step.is_taken else "a new network of the same kind"
    student = {"self": own, "current": "the network as it now is, on,"}.get(step.student, step.student)
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
    if step.method in PARTS:
        share = f"{(step.ratio or 0) * 100:g} %"
        parts = {
            "heads": f"{share} of the attention heads",
            "mlp": f"{share} of the width between the two layers of each MLP",
            "heads_and_mlp": f"{share} of the attention heads and of the width between the two layers of each MLP",
        }
        return f"Remove {parts[step.method]}, what has the smallest {importance}, {spread}"
    return f"Remove whole channels until {what} are gone, those with the smallest {importance}, {spread}"


def _quantize_text(step: Quantize) -> str:
    per = "one scale per channel" if step.per_channel else "one scale per layer"
    if step.compute is not None:
        return "Store weights as 16-bit floats, and compute in them where the provider has kernels for it"
    if step.weight_bits == 16:
        return "Store weights as 16-bit floats; compute in 32-bit floats"
    bits = f"{step.weight_bits} bits"
    if step.mean_bits is not None:
        bits = f"2 to {step.weight_bits} bits, {step.mean_bits:g} on average, more where it hurts more"
    elif step.shares_out_bits:
        bits += f", or {step.weight_bits - 1} to 7 by layer, a twentieth more, where that answers closer"
    elif step.layers == "uniform":
        bits += " in every layer"
    elif step.stated_layers:
        count = len(step.stated_layers)
        bits += f" but for {count} layer{'s' if count > 1 else ''} with bits of their own"
    extras = [per]
    extras += ["in the 7-bit range that no CPU's sums overflow with"] if step.weight_range == "safe" else []
    extras += ["after evening out the ranges of neighbouring layers"] if step.equalize is True else []
    extras += ["ranges moved from activations to weights"] if step.smooth not in ("auto", 0) else []
    extras += ["rounded up or down as learned on calibration samples"] if step.learns_rounding else []
    extras += ["biases corrected"] if step.bias_correction is True else []
    extras += ["first and last layer in 8 bits"] if step.ends_8bit and step.weight_bits < 8 else []
    details = ", ".join(extras)
    if step.method == "block":
        extras[0] = f"one scale for every {step.block_size} inputs of an output"
        level = "in 8-bit integers" if step.accuracy_level == 4 else "in floats"
        return (
            f"Store matrices in {bits}, {', '.join(extras)}, and multiply them as they are, {level}; the rest in floats"
        )
    if step.method == "dynamic":
        return (
            f"Multiply matrices in integers: weights in {bits}, {details}, activations in 8 bits, rounded as they come to the range "
            f"that they have; convolutions in floats{_in_float(step)}"
        )
    if step.activation_bits == 32:
        return f"Store weights in {bits}, {details}; compute in floats"
    where = "in integers" if step.activation_bits <= 8 else "in floats, rounded to 16 bits"
    text = (
        f"Compute {where}: weights in {bits}, {details}, activations in {step.activation_bits} bits, "
        f"ranges from {step.calibration_samples:,} calibration samples"
    )
    if step.max_latency is not None:
        text += f"; the layers that lose most stay in floats, up to {step.max_latency * 100:g} % of the time of floats"
    text += _in_float(step)
    if step.method == "qat" and step.epochs is not None:
        text += f"; then train on with the rounding in place, {_epochs(step.epochs, step.samples)}"
    return text


def _in_float(step: Quantize) -> str:
    """Which layers are left in floats, where the step says how many, or by what."""
    if step.float_layers is not None:
        layers = "layer that loses" if step.float_layers == 1 else f"{step.float_layers} layers that lose"
        return f"; the {layers} most in floats"
    if step.max_drop is not None:
        those = "those that lose most for the time they cost" if step.cheapest else "those that lose most"
        return f"; as few layers in floats, {those}, as keep the metric within {step.max_drop:g} of what it was"
    return ""


def _epochs(epochs: int, samples: int | None) -> str:
    images = "" if samples is None else f" of {samples:,} samples"
    return f"{epochs} {'epoch' if epochs == 1 else 'epochs'}{images}"


def recipe_texts(recipe: Recipe) -> list[str]:
    """A recipe as a chain of sentences; the baseline is a chain of one."""
    return [step_text(s) for s in recipe.steps] or ["The network as it came: nothing removed, 32-bit floats"]
