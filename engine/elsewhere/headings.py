"""What numbers from elsewhere are called, and in which unit: by the keys of metrics, which say it. Nothing is guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import InputError
from engine.metrics import HOST_TIMES, METRICS, SCENARIO_METRICS

AGAINST_BASELINE = frozenset(
    {"latency_ratio", "vs_baseline", "worst_class_drop", "flip_rate", "harmful_flip_rate", "agreement", "kl"}
)
"""Metrics that compare with this sweep's baseline on this sweep's images: nobody else can state them."""
KEYS = tuple(key for key in METRICS if key not in AGAINST_BASELINE and key not in SCENARIO_METRICS)
"""What can be stated."""
TIMES = tuple(key for key in KEYS if key in HOST_TIMES)
"""What holds on one device alone."""
_SHARES = frozenset(key for key in KEYS if METRICS[key].unit == "%")
_COUNTS = frozenset({"size_bytes", "size_zipped_bytes", "params", "nonzero_params", "macs"})
_PERCENT = re.compile(r"(?P<key>\w+?)(?:_| ?)(?:%|\(%\))")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Heading:
    """What a column holds: the key of a metric, and whether its numbers are in percent."""

    key: str
    percent: bool = False


def heading(text: str, where: str) -> Heading:
    """What a column is, by its name: a metric's key, `accuracy_%` for percent. Raises InputError, which begins with `where`."""
    found = _PERCENT.fullmatch(text)
    key = found["key"] if found else text
    if key in AGAINST_BASELINE or key in SCENARIO_METRICS:
        raise InputError(
            f"{where}: {text!r} is worked out here, against this sweep’s baseline or a scenario; leave it out"
        )
    if key not in KEYS or (found and key not in _SHARES):
        raise InputError(
            f"{where}: {text!r} is not a number that is known, with its unit; known: {', '.join(KEYS)}; a share may be {'accuracy_%'!r} "
            "in percent; rename it, or name it in --ignore"
        )
    return Heading(key, bool(found))


def numbers(head: Heading, cells: Sequence[float | str | None], where: str) -> list[float | None]:
    """A column in base units, None for what is empty; raises InputError for what is no number, impossible, or of an unclear unit."""
    values = [_number(head, cell, f"{where}, row {i}") for i, cell in enumerate(cells, 1)]
    bare = [v for v, cell in zip(values, cells, strict=True) if v is not None and not str(cell).strip().endswith("%")]
    if head.percent and bare and max(bare) <= 0.01:
        raise InputError(
            f"{where}: no number is above 1, which may be percent or shares; write the % in every cell, or, of shares, call the column "
            f"{head.key!r}"
        )
    return values


def _number(head: Heading, cell: float | str | None, where: str) -> float | None:
    text = "" if cell is None else str(cell).strip()
    if not text:
        return None
    marked = head.key in _SHARES and text.endswith("%")
    bare = text.removesuffix("%").strip() if marked else text
    if not _NUMBER.fullmatch(bare) or not math.isfinite(value := float(bare)):
        raise InputError(
            f"{where}: {text!r} is no number; write it as 1234.5, or leave it empty where nothing was measured"
        )
    if head.key in _SHARES:
        share = value / 100 if marked or head.percent else value
        if not 0 <= share <= 1:
            hint = (
                ""
                if marked or head.percent
                else f"; in percent, write it with a % or call the column {head.key + '_%'!r}"
            )
            raise InputError(f"{where}: {text!r} is no share between 0 and 1{hint}")
        return share
    if head.key in _COUNTS and not value.is_integer():
        raise InputError(
            f"{where}: {text!r} is not a whole number, as {METRICS[head.key].name.lower()} has ({head.key})"
        )
    if value < 0 or (value == 0 and head.key in (*TIMES, "size_bytes", "size_zipped_bytes")):
        raise InputError(f"{where}: {text!r} cannot be; leave it empty where nothing was measured")
    return value
