"""A sweep as the form fills it in, and the spec that it stands for. Nothing of streamlit here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AS_IT_IS = "as it is"

QUANTIZATIONS: dict[str, dict[str, Any] | None] = {
    AS_IT_IS: None,
    "int8": {"weight_bits": 8, "activation_bits": 8},
    "fp16 weights": {"weight_bits": 16, "activation_bits": 32},
    **{f"{n}-bit weights": {"weight_bits": n, "activation_bits": 32} for n in (8, 6, 5, 4, 3, 2)},
}
"""What the form offers, as the entry of `space.quantize` that it stands for."""

CHANNEL_RATIOS = (0.125, 0.25, 0.375, 0.5, 0.6, 0.7, 0.8)
WEIGHT_RATIOS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
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
    student_epochs: int = 2
    student_images: int = 25_000
    plain: bool = True
    channels: tuple[float, ...] = ()
    zeros: tuple[float, ...] = ()
    unpruned: bool = True
    finetune_epochs: int = 1
    finetune_images: int = 20_000
    quantizations: tuple[str, ...] = (AS_IT_IS,)
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
    students = [
        {"student": name, "epochs": draft.student_epochs} | _samples("samples", draft.student_images)
        for name in draft.students
    ]
    return ([None] if draft.plain else []) + students if students else []


def _prune(draft: Draft) -> list[Any]:
    after = {}
    if draft.finetune_epochs:
        after = {"finetune_epochs": draft.finetune_epochs} | _samples("finetune_samples", draft.finetune_images)
    methods = [
        {"method": method, "ratio": list(ratios)} | after
        for method, ratios in (("channel", draft.channels), ("magnitude", draft.zeros))
        if ratios
    ]
    return ([None] if draft.unpruned else []) + methods if methods else []


def _quantize(draft: Draft) -> list[Any]:
    entries = [QUANTIZATIONS[name] for name in draft.quantizations]
    return entries if any(e is not None for e in entries) else []


def _samples(key: str, images: int) -> dict[str, int]:
    return {} if images == ALL else {key: images}
