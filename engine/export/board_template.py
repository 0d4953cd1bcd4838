"""What programs on a user's own board say of it: the machine, times as they are told, two models in turns, and a digest of it all.

A part of a bundle's verify.py and of a frontier's measure.py (`programs.py`); the rules of `verify_template.py` hold for it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MEASUREMENT = 1
"""Of the layout of what they write; a reader refuses a newer one."""

_CPUS = Path("/proc/cpuinfo")
_BLOCKS, _CALLS = 40, 5

Seconds = Callable[[], float]
"""One call of a model, which tells the seconds that it took for each sample."""


def machine_here() -> dict[str, Any]:
    """What this machine is, as far as it says so."""
    about = _CPUS.read_text(errors="replace") if _CPUS.is_file() else ""
    said = [line.split(":", 1)[1] for line in about.splitlines() if line.startswith(("Model", "model name"))]
    # A board's own name, which comes last, rather than its processor's.
    cpu = " ".join(said[-1].split()) if said else platform.processor() or platform.machine()
    runtime = importlib.import_module("onnxruntime").__version__
    return {"cpu": cpu, "cores": os.cpu_count() or 1, "os": platform.platform(), "onnxruntime": runtime}


def spread_of(times: Sequence[float]) -> dict[str, float]:
    """Percentiles of the times of calls, `low` and `high` of the 95 % interval of the median, by their order; how many there are."""
    reach = min(50.0, 98 / math.sqrt(len(times)))
    at = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "low": 50 - reach, "high": 50 + reach}
    return {name: float(np.percentile(times, q)) for name, q in at.items()} | {"calls": len(times)}


def in_turns(
    a: Seconds, b: Seconds, longest_s: float = 20.0, block_s: float = 0.0
) -> tuple[list[list[float]], list[list[float]]]:
    """The times of either model's calls, in blocks of a few (of `block_s` at least), in turns; as many blocks of both, 8 or more."""
    calls = {}
    for call in (a, b):
        warm = [call() for _ in range(10)]
        calls[call] = max(_CALLS, min(1000, math.ceil(block_s / max(1e-7, float(np.median(warm))))))
    taken: dict[Seconds, list[list[float]]] = {a: [], b: []}
    start = time.perf_counter()
    while len(taken[a]) < _BLOCKS and (len(taken[a]) < 8 or time.perf_counter() - start < longest_s):
        # Each begins every other time: what warms up or cools down meets both.
        for call in (a, b) if len(taken[a]) % 2 else (b, a):
            taken[call].append([call() for _ in range(calls[call])])
    return taken[a], taken[b]


def ratio_of(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """How long `a` takes as a share of `b`: the median over pairs of blocks, with its 95 % interval by their order."""
    ratios = [float(np.median(one) / np.median(other)) for one, other in zip(a, b)]
    reach = min(50.0, 98 / len(ratios) ** 0.5)
    low, value, high = np.percentile(ratios, [50 - reach, 50, 50 + reach])
    return float(value), float(low), float(high)


def digest(report: dict[str, Any]) -> str:
    """SHA-256 of all else in a report, in hex: finds what an editor or a copy has changed. It is no signature either."""
    said = {key: value for key, value in report.items() if key != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
