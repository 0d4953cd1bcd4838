"""Trials made up for tests of what reads trials; nothing here is shown to anybody."""

from __future__ import annotations

import math

from engine.spec.recipe import Recipe
from engine.spec.space import expand_space
from engine.spec.steps import Prune, Quantize
from engine.trials.evidence import Accuracy, Interval
from engine.trials.measurements import Energy, Latency, Machine, Projection
from engine.trials.trial import Trial

MACHINE = Machine(
    fingerprint="f" * 64,
    cpu="Test CPU",
    cores=2,
    memory_gib=8.0,
    flags=("avx2",),
    os="Linux",
    versions={"onnxruntime": "1.32.0"},
)
INT8 = Recipe(steps=(Quantize(weight_bits=8, activation_bits=8),))
FOUR = Recipe(steps=(Quantize(weight_bits=4, activation_bits=32),))
CUT = Recipe(steps=(Prune(method="channel", ratio=0.5),))
SPACE = {
    "distill": [None, {"student": "ds_cnn"}],
    "prune": [None, {"method": "channel", "ratio": [0.25, 0.5, 0.7], "finetune_epochs": 1}],
    "quantize": [
        None,
        {"weight_bits": 8, "activation_bits": 8},
        {"weight_bits": 4, "activation_bits": 32},
    ],
}


def trial(
    recipe: Recipe | None = None,
    *,
    accuracy: float | None = 0.9,
    size_bytes: int | None = 100_000,
    latency_ms: float | None = 1.0,
    energy_mj: float | None = 2.0,
    **fields: object,
) -> Trial:
    """One finished trial; None leaves a number unmeasured."""
    recipe = recipe or Recipe()
    energy = energy_mj and Energy(energy_mj, energy_mj * 0.7, energy_mj * 1.4, "datasheet", "10 W for one core at work")
    board = energy_mj and Energy(energy_mj * 9, energy_mj * 5, energy_mj * 14, "fitted", "fit to 9 rows of MLPerf Tiny")
    projections = {}
    if energy:
        projections["host"] = Projection(None, energy)
    if board and latency_ms:
        projections["stm32h7a3-xcubeai"] = Projection(
            Interval(latency_ms * 80, latency_ms * 60, latency_ms * 110), board
        )
    half = 1.96 * math.sqrt(accuracy * (1 - accuracy) / 10_000) if accuracy else 0
    defaults = {
        "id": recipe.id,
        "recipe": recipe,
        "state": "done",
        "accuracy": Accuracy(accuracy, accuracy - half, accuracy + half, 10_000, 0.2 if recipe.steps else None)
        if accuracy is not None
        else None,
        "size_bytes": size_bytes,
        "size_zipped_bytes": size_bytes and int(size_bytes * 0.9),
        "params": 78_000,
        "nonzero_params": 78_000,
        "macs": 9_500_000,
        "latency_ms": Latency(latency_ms, latency_ms * 1.2, latency_ms * 1.6) if latency_ms else None,
        "latency_ratio": Interval(latency_ms, latency_ms * 0.98, latency_ms * 1.02) if latency_ms else None,
        "throughput_per_s": 1000 / latency_ms if latency_ms else None,
        "peak_memory_bytes": 41_000_000,
        "projections": projections,
        "machine": MACHINE,
    }
    return Trial(**{**defaults, **fields})  # type: ignore[arg-type]


def sweep_trials(failed: int = 0, pending: int = 0) -> list[Trial]:
    """24 recipes of the usual kinds; the last ones may have failed or be still to come."""
    trials = []
    recipes = expand_space(SPACE)
    for number, recipe in enumerate(recipes):
        names = [s.step for s in recipe.steps]
        ratio = next((s.ratio for s in recipe.steps if s.step == "prune"), 0.0)
        bits = next((s.weight_bits for s in recipe.steps if s.step == "quantize"), 32)
        computes_int8 = any(s.step == "quantize" and s.activation_bits == 8 for s in recipe.steps)
        student = "distill" in names
        keep = (1 - ratio) ** 2
        params = (24_000 if student else 78_000) * keep
        made = trial(
            recipe,
            accuracy=0.927
            - 0.012 * student
            - 0.05 * ratio**2
            - {32: 0.0, 8: 0.001, 4: 0.013}[bits]
            - 0.0003 * (number % 3),
            size_bytes=int(params * bits / 8 + 6_000),
            latency_ms=(0.9 if student else 0.62) * (0.2 + 0.8 * keep) * (0.7 if computes_int8 else 1.0),
            energy_mj=6.0 * keep,
            params=int(params),
            nonzero_params=int(params),
            macs=int((3.1e6 if student else 9.5e6) * keep),
        )
        if number >= len(recipes) - pending:
            made = Trial(id=recipe.id, recipe=recipe)
        elif number >= len(recipes) - pending - failed:
            made = Trial(
                id=recipe.id, recipe=recipe, state="failed", error="channel pruning: layer conv1 would have 0 channels"
            )
        trials.append(made)
    return trials
