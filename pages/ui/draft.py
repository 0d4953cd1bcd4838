"""A sweep as the form fills it in, and the spec that it stands for. Nothing of streamlit here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AS_IT_IS = "as it is"

QUANTIZATIONS: dict[str, dict[str, Any] | None] = {
    AS_IT_IS: None,
    "int8": {"weight_bits": 8, "activation_bits": 8},
    "w4a8": {"weight_bits": 4, "activation_bits": 8},
    "fp16 weights": {"weight_bits": 16, "activation_bits": 32},
    **{f"{n}-bit weights": {"weight_bits": n, "activation_bits": 32} for n in (8, 6, 5, 4, 3, 2)},
}
"""What the form offers without training, as the entry of `space.quantize` that it stands for."""
TRAINED: dict[str, tuple[int, int]] = {f"w{w}a{a}": (w, a) for w, a in ((8, 8), (4, 8), (3, 8), (2, 8), (6, 6), (4, 4))}
"""(weight bits, activation bits) that the form offers to train in."""

CHANNEL_RATIOS = (0.125, 0.25, 0.375, 0.5, 0.6, 0.7, 0.8)
WEIGHT_RATIOS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
PATTERNS = ("2:4", "4:8", "1:4")
MEAN_BITS = (6, 5, 4, 3.5, 3, 2.5)
OWN_WIDTHS = (0.75, 0.5, 0.35, 0.25)
ALL = 0
IMAGES = (1_000, 5_000, 10_000, 20_000, 25_000, ALL)
"""Training images per epoch."""
TEST_IMAGES = (ALL, 5_000, 2_000, 1_000, 500)


@dataclass(frozen=True)
class Draft:
    """The form's fields. Ratios are shares; `ALL` images are all there are; empty weights means the model's own."""

    name: str = "my sweep"
    model: str = "resnet8"
    weights: str = ""
    data: str = "fashion_mnist"
    students: tuple[str, ...] = ()
    own_widths: tuple[float, ...] = ()
    repeats: tuple[int, ...] = ()
    student_epochs: int = 2
    student_images: int = 25_000
    temperature: float = 4.0
    alpha: float = 0.9
    feature_weight: float = 0.0
    untaught: bool = False
    plain: bool = True
    channels: tuple[float, ...] = ()
    channel_quantity: str = "ratio"
    importances: tuple[str, ...] = ("l2",)
    allocation: str = "uniform"
    zeros: tuple[float, ...] = ()
    patterns: tuple[str, ...] = ()
    rounds: int = 1
    unpruned: bool = True
    finetune_epochs: int = 1
    finetune_images: int = 20_000
    quantizations: tuple[str, ...] = (AS_IT_IS,)
    trained: tuple[str, ...] = ()
    trained_epochs: int = 1
    trained_images: int = ALL
    mean_bits: tuple[float, ...] = ()
    learned_rounding: bool = False
    bias_correction: bool = False
    per_channel: tuple[bool, ...] = (True,)
    formats: tuple[str, ...] = ("u8s8",)
    calibrations: tuple[str, ...] = ("percentile",)
    test_images: int = ALL
    latency: bool = True
    threads: int = 1
    profiles: tuple[str, ...] = ("host",)
    seed: int = 0


def to_spec(draft: Draft) -> dict[str, Any]:
    """The spec, ready for `parse_sweep`; steps that are not used are left out of its space."""
    space = {"distill": _distill(draft), "prune": _prune(draft), "quantize": _quantize(draft)}
    model = {"source": draft.model.strip()} | ({"weights": draft.weights.strip()} if draft.weights.strip() else {})
    return {
        "name": draft.name.strip(),
        "model": model,
        "data": {"source": draft.data.strip()},
        "space": {step: entries for step, entries in space.items() if entries},
        "measure": {
            "test_samples": draft.test_images or "all",
            "latency": {"threads": draft.threads, "batch": 1} if draft.latency else None,
            "profiles": list(draft.profiles),
        },
        "seed": draft.seed,
    }


def _distill(draft: Draft) -> list[Any]:
    students: list[dict[str, Any]] = [{"student": name} for name in draft.students]
    if draft.repeats:
        students = [
            s | ({"repeats": list(draft.repeats)} if s["student"] == "recursive_resnet" else {}) for s in students
        ]
    if draft.own_widths:
        students.append({"student": "self", "width": list(draft.own_widths)})
    training = {"epochs": draft.student_epochs} | _samples("samples", draft.student_images)
    teaching = _unless(draft, "temperature", "alpha", "feature_weight")
    entries = [s | training | teaching for s in students]
    if draft.untaught:
        entries += [s | training | {"alpha": 0} for s in students]
    return ([None] if draft.plain else []) + entries if entries else []


def _unless(draft: Draft, *names: str) -> dict[str, Any]:
    """The fields named that are not at their default; a spec says what is special."""
    return {name: getattr(draft, name) for name in names if getattr(draft, name) != getattr(Draft, name)}


def _prune(draft: Draft) -> list[Any]:
    after: dict[str, Any] = {}
    if draft.finetune_epochs:
        after = {"finetune_epochs": draft.finetune_epochs} | _samples("finetune_samples", draft.finetune_images)
    rounds = {"rounds": draft.rounds} if draft.rounds > 1 else {}
    methods: list[dict[str, Any]] = []
    if draft.channels:
        how = {"importance": list(draft.importances)} if draft.importances != Draft.importances else {}
        how |= _unless(draft, "allocation")
        methods.append({"method": "channel", draft.channel_quantity: list(draft.channels)} | how | rounds | after)
    if draft.zeros:
        methods.append({"method": "magnitude", "ratio": list(draft.zeros)} | rounds | after)
    if draft.patterns:
        methods.append({"method": "nm", "pattern": list(draft.patterns)} | after)
    return ([None] if draft.unpruned else []) + methods if methods else []


def _quantize(draft: Draft) -> list[Any]:
    untrained = [QUANTIZATIONS[name] for name in draft.quantizations]
    entries = [None if e is None else e | _rounding(draft, e) for e in untrained]
    if draft.mean_bits:
        mixed = {"weight_bits": 8, "activation_bits": 8}
        entries.append(mixed | {"mean_bits": list(draft.mean_bits)} | _rounding(draft, mixed | {"weight_bits": 4}))
    training = {"method": "qat", "epochs": draft.trained_epochs} | _samples("samples", draft.trained_images)
    for name in draft.trained:
        weight_bits, activation_bits = TRAINED[name]
        entries.append({"weight_bits": weight_bits, "activation_bits": activation_bits} | training)
    return entries if any(e is not None for e in entries) else []


def _rounding(draft: Draft, entry: dict[str, Any]) -> dict[str, Any]:
    """The knobs of the second row, for the entries that they mean something to."""
    if entry["weight_bits"] == 16:
        return {}
    knobs: dict[str, Any] = {}
    if draft.per_channel != Draft.per_channel:
        knobs["per_channel"] = list(draft.per_channel)
    if draft.bias_correction:
        knobs["bias_correction"] = True
    if draft.learned_rounding and entry["weight_bits"] <= 4:
        knobs["rounding"] = "learned"
    if entry["activation_bits"] <= 8 and draft.formats != Draft.formats:
        knobs["format"] = list(draft.formats)
    if entry["activation_bits"] <= 8 and draft.calibrations != Draft.calibrations:
        knobs["calibration"] = list(draft.calibrations)
    return knobs


def _samples(key: str, images: int) -> dict[str, int]:
    return {} if images == ALL else {key: images}
