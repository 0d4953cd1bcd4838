"""What rounding one layer alone costs and saves, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def tail_name(name: str, op_type: str) -> str:
    """A layer's name without the operator that exporters end it with, `blocks.0/wide` of `/blocks.0/wide/MatMul`."""
    bare = name.strip("/")
    return bare.removesuffix(f"/{op_type}") or bare


def unit_text(value: float, unit: str) -> str:
    """A number of a metric with its unit, `1.7 points`."""
    return f"{value:.3g} {unit}".strip() if abs(value) >= 0.005 or value == 0 else f"{value:.1g} {unit}".strip()


def bytes_text(count: float) -> str:
    """Bytes as people read them, `118.4 kB`."""
    return f"{count / 1e6:.2f} MB" if abs(count) >= 1e6 else f"{count / 1e3:.1f} kB"


def time_text(layer: Mapping[str, Any], kernels: str) -> str:
    """What a layer's kernel saves in integers, in a few words."""
    saved = next((c["ms_saved"] for c in layer["cells"]), None)
    if kernels == "none":
        return "not faster"
    if saved is None:
        return "time not told apart"
    word = "faster" if saved > 0 else "slower" if saved < 0 else "as fast"
    return f"kernel {word}" if not saved else f"kernel {abs(saved):.2g} ms {word}"


def is_told(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> bool:
    """Whether what the metric lost is more than chance: its 95 % interval lies above 0. Never, where nothing is left to chance."""
    return bool(metric["tested"] and cell["harm"] and cell["harm"]["low"] > 0)
