"""Cells of a heat map -> the recipe that rounds those layers so: what New sweep opens with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import InputError
from engine.spec.recipe import Recipe

FLOAT = 32


def with_layers(found: Mapping[str, Any], recipe: Recipe, picked: Mapping[str, int], others: int) -> Recipe:
    """The recipe of a trial with its quantize step replaced: `picked` layers, {name: bits}, at those bits, all others at `others`.

    32 bits are float. `found`: what `paretoscope sensitivity` says, of which the step rounds as it rounded; learned rounding is left to
    `auto`. Raises InputError where no layer would be rounded, SpecError where the step refuses the bits.
    """
    every: dict[str, int] = {}
    for layer in found["layers"]:
        bits = picked.get(layer["name"], others)
        every |= dict.fromkeys((layer["name"], *layer["also"]), bits)
    if all(bits == FLOAT for bits in every.values()):
        raise InputError("every layer stays in float; click a cell, or give the others fewer bits")
    usual = 8 if others == FLOAT else others
    special = {name: bits for name, bits in every.items() if bits != usual}
    step = {k: v for k, v in found["step"].items() if k not in ("rounding", "ends_8bit")}
    changed = step | {"weight_bits": usual, "layers": special or None} | ({"ends_8bit": False} if usual < 4 else {})
    # What was clicked is meant: no layer is to get other bits, even where the step would share them out.
    if not special and usual in (3, 4) and step["activation_bits"] <= 8 and step.get("method", "ptq") == "ptq":
        changed["layers"] = "uniform"
    steps: list[dict[str, Any]] = []
    for old in recipe.to_json():
        steps += [] if old["step"] in ("quantize", "runtime") else [old]
    runtime = recipe.runtime
    return Recipe.from_json([*steps, changed, *([runtime.model_dump(mode="json")] if runtime else [])])


def within(found: Mapping[str, Any], most: float) -> dict[str, int]:
    """For each layer the fewest bits at which it loses, alone, no more than `most` of the metric's unit, {name: bits}; none for a layer
    that loses more at every width.
    """
    picked: dict[str, int] = {}
    for layer in found["layers"]:
        kept = [c["bits"] for c in layer["cells"] if c["harm"] and c["harm"]["value"] <= most]
        if kept:
            picked[layer["name"]] = min(kept)
    return picked


def totals(found: Mapping[str, Any], picked: Mapping[str, int], others: int) -> dict[str, float | None]:
    """Sums over the layers that are rounded, each counted alone: `bytes` and `ms` saved, and `harm`; None where one is not known."""
    cells = [
        cell
        for layer in found["layers"]
        for cell in layer["cells"]
        if cell["bits"] == picked.get(layer["name"], others)
    ]
    times, harms = [c["ms_saved"] for c in cells], [c["harm"] for c in cells]
    return {
        "bytes": float(sum(c["bytes_saved"] for c in cells)),
        "ms": None if None in times else float(sum(times)),
        "harm": None if None in harms else float(sum(h["value"] for h in harms)),
    }
