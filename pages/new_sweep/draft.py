"""A sweep as the form fills it in, and the spec that it stands for. Nothing of streamlit here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from engine.models.catalog import zoo_index, zoo_names
from engine.spec.sections import EMBEDDED, LatencyOptions
from engine.spec.steps import SELF, Distill, Finetune, Quantize
from pages.new_sweep.reading import Reading, to_data, to_model
from pages.new_sweep.searching import SEARCH_BOUNDS, Searching, to_search

AS_IT_IS = "as it is"
BUILT_IN = "fashion_mnist"
"""The dataset that a form opens with."""

QUANTIZATIONS = (AS_IT_IS, "int8", "w4a8", "fp16 weights", *(f"{n}-bit weights" for n in (8, 6, 5, 4, 3, 2)))
"""What the form offers without training; `bits_of` reads these names, and any other of their kind."""
MATRICES: dict[str, dict[str, Any]] = {
    "int8 dynamic": {"method": "dynamic"},
    "4-bit dynamic": {"method": "dynamic", "weight_bits": 4},
    "8-bit blocks": {"method": "block", "weight_bits": 8},
    "4-bit blocks": {"method": "block", "weight_bits": 4},
}
"""What the form offers for networks of matrix products, as a spec has it."""
TRAINED = ("w8a8", "w4a8", "w3a8", "w2a8", "w6a6", "w4a4")
"""What the form offers to train in."""

CHANNEL_RATIOS = (0.125, 0.25, 0.375, 0.5, 0.6, 0.7, 0.8)
WEIGHT_RATIOS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
PATTERNS = ("2:4", "4:8", "1:4")
MEAN_BITS = (6.0, 5.0, 4.0, 3.5, 3.0, 2.5)
TIME_SHARES = (0.9, 0.8, 0.7, 0.6)
OWN_WIDTHS = (0.75, 0.5, 0.35, 0.25)
OWN_DEPTHS = (0.75, 0.5, 0.25)
PART_RATIOS = (0.25, 0.5, 0.75)
ALL = 0
IMAGES = (1_000, 5_000, 10_000, 20_000, 25_000, ALL)
"""Training images per epoch."""
TEST_IMAGES = (ALL, 5_000, 2_000, 1_000, 500)
THREADS = (1, 2, 4, 8, 16)
BATCHES = (1, 8, 32, 128)
LIMITED = ("accuracy", "latency_ms", "size_bytes", "size_zipped_bytes", "energy_mj")
"""Metrics that the form has a limit for."""


def readers_of(data: str) -> tuple[str, ...]:
    """The built-in networks that can be students on data of this name: those for images, or for series; all where nobody knows."""
    index = zoo_index()
    return tuple(n for n in zoo_names() if data not in EMBEDDED or n not in index or index[n].dataset == data)


@dataclass(frozen=True)
class Draft(Searching, Reading):
    """The form's fields. Ratios are shares; `ALL` images are all there are; empty weights means the model's own.

    `limits` are (metric, value in base units).
    """

    name: str = "my sweep"
    model: str = "resnet8"
    weights: str = ""
    data: str = BUILT_IN
    students: tuple[str, ...] = ()
    own_widths: tuple[float, ...] = ()
    own_depths: tuple[float, ...] = ()
    own_start: str = "taken"
    repeats: tuple[int, ...] = ()
    student_epochs: int = 2
    student_images: int = 25_000
    student_rate: float = 0.1
    student_augment: str = "none"
    teacher: str = "baseline"
    temperature: float = 4.0
    alpha: float = 0.9
    feature_weight: float = 0.0
    untaught: bool = False
    plain: bool = True
    channels: tuple[float, ...] = ()
    channel_quantity: str = "ratio"
    importances: tuple[str, ...] = ("l2",)
    allocation: str = "uniform"
    round_to: int = 4
    parts: tuple[str, ...] = ()
    part_ratios: tuple[float, ...] = (0.25, 0.5)
    zeros: tuple[float, ...] = ()
    patterns: tuple[str, ...] = ()
    rounds: int = 1
    unpruned: bool = True
    finetune_epochs: int = 1
    finetune_images: int = 20_000
    finetune_rate: float = 0.02
    finetune_augment: str = "none"
    quantizations: tuple[str, ...] = (AS_IT_IS,)
    trained: tuple[str, ...] = ()
    matrices: tuple[str, ...] = ()
    trained_epochs: int = 1
    trained_images: int = ALL
    trained_rate: float = 0.0  # by the bits
    mean_bits: tuple[float, ...] = ()
    time_shares: tuple[float, ...] = ()
    rounding: str = "auto"
    weight_range: str = "auto"
    bias_correction: str = "auto"
    equalize: str = "auto"
    ends_8bit: str = "auto"
    per_channel: tuple[bool, ...] = (True,)
    formats: tuple[str, ...] = ("u8s8",)
    calibrations: tuple[str, ...] = ("auto",)
    calibration_images: int = 256
    run_threads: tuple[int, ...] = ()
    run_batches: tuple[int, ...] = ()
    run_levels: tuple[str, ...] = ()
    run_providers: tuple[str, ...] = ()
    run_usual: bool = True
    test_images: int = ALL
    held_back: float = 0.0
    latency: bool = True
    threads: int = 1
    batch: int = 1
    half_width: float = 0.02
    time_limit_s: float = 10.0
    processes: int = 3
    profiles: tuple[str, ...] = ("host",)
    target_device: str = "host"
    limits: tuple[tuple[str, float], ...] = ()
    replicates: int = 1
    seed: int = 0


SWITCH: dict[str, str | bool] = {"auto": "auto", "yes": True, "no": False}
"""A knob that decides for itself where nobody does, as a spec has it."""

BOUNDS: dict[str, tuple[float, float]] = {
    "student_epochs": (1, 1000),
    "student_rate": (0.0001, 10.0),
    "temperature": (0.5, 100.0),
    "alpha": (0.0, 1.0),
    "feature_weight": (0.0, 1000.0),
    "finetune_epochs": (0, 1000),
    "finetune_rate": (0.0001, 10.0),
    "rounds": (1, 100),
    "round_to": (1, 256),
    "trained_epochs": (1, 1000),
    "trained_rate": (0.0, 10.0),
    "calibration_images": (1, 1_000_000),
    "held_back": (0.0, 0.9),
    "threads": (1, 1024),
    "batch": (1, 65_536),
    "data_resize": (0, 8192),
    "data_crop": (0, 8192),
    "half_width": (0.001, 0.5),
    "time_limit_s": (0.5, 3600.0),
    "processes": (1, 50),
    "replicates": (1, 100),
    "seed": (0, 2**31 - 1),
    **SEARCH_BOUNDS,
}
"""Least and most of the form's number boxes; integers where the field is one."""


def bits_of(quantization: str) -> tuple[int, int]:
    """(weight bits, activation bits) of a name such as `int8`, `w4a8`, `3-bit weights`, `fp16 weights`."""
    if quantization == "int8":
        return 8, 8
    if quantization == "fp16 weights":
        return 16, 32
    found = re.fullmatch(r"w(\d+)a(\d+)", quantization)
    return (int(found[1]), int(found[2])) if found else (int(quantization.partition("-")[0]), 32)


def quantization_name(weight_bits: int, activation_bits: int) -> str:
    """The inverse of `bits_of`."""
    if activation_bits == 32:
        return "fp16 weights" if weight_bits == 16 else f"{weight_bits}-bit weights"
    return "int8" if (weight_bits, activation_bits) == (8, 8) else f"w{weight_bits}a{activation_bits}"


def to_spec(draft: Draft) -> dict[str, Any]:
    """The spec, ready for `parse_sweep`; what is not used, or not special, is left out of it.

    Raises SpecError for texts that are no numbers.
    """
    space = {
        "distill": _distill(draft),
        "prune": _prune(draft),
        "quantize": _quantize(draft),
        "runtime": _runtime(draft),
    }
    model = {"source": draft.model.strip()} | ({"weights": draft.weights.strip()} if draft.weights.strip() else {})
    spec: dict[str, Any] = {
        "name": draft.name.strip(),
        "model": model | to_model(draft),
        "data": {"source": draft.data.strip()} | to_data(draft),
        "space": {step: entries for step, entries in space.items() if entries},
        "search": to_search(draft),
        "measure": _measure(draft),
        "seed": draft.seed,
        "replicates": draft.replicates,
    }
    if draft.limits or draft.target_device != Draft.target_device:
        spec["target"] = {"device": draft.target_device, "limits": dict(draft.limits)}
    return spec


def _measure(draft: Draft) -> dict[str, Any]:
    names = LatencyOptions.model_fields
    return {
        "test_samples": draft.test_images or "all",
        "held_back": draft.held_back,
        "latency": {name: getattr(draft, name) for name in names} if draft.latency else None,
        "profiles": list(dict.fromkeys([*draft.profiles, *_beyond_host(draft)])),
    }


def _beyond_host(draft: Draft) -> tuple[str, ...]:
    """The target's profile: its limits need its figures."""
    return () if draft.target_device == Draft.target_device else (draft.target_device,)


def _special(kind: Any, **options: Any) -> dict[str, Any]:
    """The options that are not the step's defaults; a spec says what is special."""
    return {name: value for name, value in options.items() if value != kind.model_fields[name].default}


def _distill(draft: Draft) -> list[Any]:
    students: list[dict[str, Any]] = [{"student": name} for name in draft.students]
    if draft.repeats:
        students = [
            s | ({"repeats": list(draft.repeats)} if s["student"] == "recursive_resnet" else {}) for s in students
        ]
    if draft.own_widths:
        students.append({"student": SELF, "width": list(draft.own_widths)})
    if draft.own_depths:
        students.append({"student": SELF, "depth": list(draft.own_depths)} | _special(Distill, start=draft.own_start))
    training = {"epochs": draft.student_epochs} | _samples("samples", draft.student_images)
    training |= _special(Distill, learning_rate=draft.student_rate, augment=draft.student_augment)
    teaching = _special(
        Distill,
        teacher=draft.teacher,
        temperature=draft.temperature,
        alpha=draft.alpha,
        feature_weight=draft.feature_weight,
    )
    entries = [s | training | teaching for s in students]
    if draft.untaught:
        entries += [s | training | {"alpha": 0} for s in students]
    return ([None] if draft.plain else []) + entries if entries else []


def _prune(draft: Draft) -> list[Any]:
    after: dict[str, Any] = {}
    if draft.finetune_epochs:
        after = {"finetune_epochs": draft.finetune_epochs} | _samples("finetune_samples", draft.finetune_images)
        told = _special(Finetune, learning_rate=draft.finetune_rate, augment=draft.finetune_augment)
        after |= {f"finetune_{name}": value for name, value in told.items()}
    rounds = {"rounds": draft.rounds} if draft.rounds > 1 else {}
    methods: list[dict[str, Any]] = []
    if draft.channels:
        target = {draft.channel_quantity: list(draft.channels)}
        methods.append({"method": "channel"} | target | _what_goes(draft, "channel") | rounds | after)
    if draft.part_ratios:
        ratio = {"ratio": list(draft.part_ratios)}
        methods += [{"method": part} | ratio | _what_goes(draft, part) | rounds | after for part in draft.parts]
    if draft.zeros:
        methods.append({"method": "magnitude", "ratio": list(draft.zeros)} | rounds | after)
    if draft.patterns:
        methods.append({"method": "nm", "pattern": list(draft.patterns)} | after)
    return ([None] if draft.unpruned else []) + methods if methods else []


def _what_goes(draft: Draft, method: str) -> dict[str, Any]:
    """What is special of how a method chooses; batch norms say nothing of heads, which are no multiples of anything."""
    importances = [i for i in draft.importances if method == "channel" or i != "bn_scale"]
    how: dict[str, Any] = {"importance": importances} if importances not in ([], [*Draft.importances]) else {}
    names = ("allocation",) if method == "heads" else ("allocation", "round_to")
    return how | {n: getattr(draft, n) for n in names if getattr(draft, n) != getattr(Draft, n)}


def _quantize(draft: Draft) -> list[Any]:
    entries: list[dict[str, Any] | None] = [
        None if name == AS_IT_IS else _entry(*bits_of(name)) for name in draft.quantizations
    ]
    entries = [None if e is None else e | _rounding(draft, e) for e in entries]
    if draft.mean_bits:
        entries.append(_entry(8, 8) | {"mean_bits": list(draft.mean_bits)} | _rounding(draft, _entry(8, 8)))
    if draft.time_shares:
        entries.append(_entry(8, 8) | {"max_latency": list(draft.time_shares)} | _rounding(draft, _entry(8, 8)))
    training = {"method": "qat", "epochs": draft.trained_epochs} | _samples("samples", draft.trained_images)
    if draft.trained_rate:
        training["learning_rate"] = draft.trained_rate
    entries += [_entry(*bits_of(name)) | training for name in draft.trained]
    entries += [MATRICES[name] for name in draft.matrices]
    return entries if any(e is not None for e in entries) else []


def _entry(weight_bits: int, activation_bits: int) -> dict[str, Any]:
    return {"weight_bits": weight_bits, "activation_bits": activation_bits}


def _rounding(draft: Draft, entry: dict[str, Any]) -> dict[str, Any]:
    """The knobs of the second row, for the entries that they mean something to."""
    if entry["weight_bits"] == 16:
        return {}
    integer = entry["activation_bits"] <= 8
    knobs: dict[str, Any] = {}
    if draft.per_channel != Draft.per_channel:
        knobs["per_channel"] = list(draft.per_channel)
    switches = {"bias_correction": SWITCH[draft.bias_correction], "equalize": SWITCH[draft.equalize]}
    knobs |= _special(Quantize, rounding=draft.rounding, **switches)
    if draft.ends_8bit != Draft.ends_8bit:
        knobs["ends_8bit"] = draft.ends_8bit == "yes"
    if integer and draft.weight_range != Draft.weight_range:
        knobs["weight_range"] = draft.weight_range
    if integer and draft.formats != Draft.formats:
        knobs["format"] = list(draft.formats)
    if integer and draft.calibrations != Draft.calibrations:
        knobs["calibration"] = list(draft.calibrations)
    if integer:
        knobs |= _special(Quantize, calibration_samples=draft.calibration_images)
    return knobs


def _runtime(draft: Draft) -> list[Any]:
    swept = {
        "threads": draft.run_threads,
        "batch": draft.run_batches,
        "graph_optimisation": draft.run_levels,
        "provider": draft.run_providers,
    }
    entry = {name: list(values) for name, values in swept.items() if values}
    return ([None] if draft.run_usual else []) + [entry] if entry else []


def _samples(key: str, images: int) -> dict[str, int]:
    return {} if images == ALL else {key: images}
