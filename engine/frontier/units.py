"""Numbers as people type them, with a unit, in the base units of a metric: `92 %`, `50 kB`, `1.5 ms`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal

from engine.errors import SpecError
from engine.metrics import COUNTS, METRICS

_UNITS: Mapping[str, Mapping[str, str]] = {
    "%": {"%": "0.01"},
    "points": {"points": "0.01", "point": "0.01", "pp": "0.01"},
    "kB": {
        "B": "1", "bytes": "1", "kB": "1e3", "MB": "1e6", "GB": "1e9", "KiB": "1024", "MiB": "1048576", "GiB": "1073741824"
    },
    "ms": {"ns": "1e-6", "us": "1e-3", "µs": "1e-3", "μs": "1e-3", "ms": "1", "s": "1e3"},
    "mJ": {"nJ": "1e-6", "uJ": "1e-3", "µJ": "1e-3", "μJ": "1e-3", "mJ": "1", "J": "1e3"},
    "kWh": {"Wh": "1e-3", "kWh": "1", "MWh": "1e3"},
    "kg": {"g": "1e-3", "kg": "1", "t": "1e3"},
    "M": {"k": "1e3", "K": "1e3", "M": "1e6", "G": "1e9", "B": "1e9"},
    "×": {"×": "1", "x": "1"},
}  # fmt: skip
"""By the unit that a metric is shown in: what else it may be given in, and how many base units that is."""
_COUNTED = {"k": "1e3", "K": "1e3", "M": "1e6", "G": "1e9", "B": "1e9"}
_PERCENT = frozenset({"%", "points"})


def base_value(key: str, name: str, number: str, unit: str) -> float:
    """A typed number -> base units of the metric `key`, which was called `name`.

    A number without a unit is in the unit that the metric is shown in, where that cannot be mistaken. SpecError for a unit that the metric
    does not have, and where a number without one could mean two things: sizes and operations, unless the name says their unit, and shares
    of at most one, which may be percent or not.
    """
    shown_in = METRICS[key].unit
    known = _COUNTED if key in COUNTS else _UNITS.get(shown_in, {shown_in: "1"} if shown_in else {})
    if not unit:
        return _finite(name, number, Decimal(_bare(name, shown_in, number)))
    scale = known.get(unit)
    if scale is None and len(unit) > 1:
        scale = next((s for u, s in known.items() if len(u) > 1 and u.lower() == unit.lower()), None)
    if scale is None:
        names = ", ".join(known)
        raise SpecError(
            f"{unit!r} is no unit of {name}; known: {names}" if names else f"{name} has no unit; leave {unit!r} out"
        )
    return _finite(name, number, Decimal(scale))


def _bare(name: str, shown_in: str, number: str) -> str:
    """How many base units one is, of a number that was typed without a unit."""
    if shown_in == "kB":
        if name.lower().endswith("_bytes"):
            return "1"
        raise SpecError(f"{name} needs a unit: write {number} kB, or {number} B")
    if shown_in == "M":
        raise SpecError(f"{name} needs a unit: write {number} M, or {number} k")
    if shown_in in _PERCENT:
        if 0 < abs(Decimal(number)) <= 1:
            other = f"{Decimal(number) * 100:f}".rstrip("0").rstrip(".") if "." in number else f"{number}00"
            raise SpecError(f"{name} needs a unit here: write {number} {shown_in}, or {other} {shown_in}")
        return "0.01"
    return "1"


def _finite(name: str, number: str, scale: Decimal) -> float:
    # In decimals: 91.24 % is the very number that 9124 of 10,000 is.
    value = float(Decimal(number) * scale)
    if not math.isfinite(value):
        raise SpecError(f"{name}: {number} is too large")
    return value
