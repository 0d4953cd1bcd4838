"""Published measurements: the MLPerf Tiny rows, which system each is of, and what the four networks ask of a device."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from engine.errors import SetupError
from engine.graph.demand import Demand, in_integers
from engine.paths import DATA

DeviceClass = Literal["microcontroller", "accelerator", "application"]
"""application: a processor that runs an operating system; accelerator: a neural engine or vector unit with its own memory."""

TABLE = DATA / "mlperf_tiny.csv"
DEMANDS = DATA / "mlperf_tiny_demands.json"


@dataclass(frozen=True)
class Rule:
    """Rows whose `where` matches `pattern` belong to a family: software (or an engine) that makes layers cost alike on any board."""

    where: Literal["board", "framework", "system"]
    pattern: str
    family: str
    device_class: DeviceClass


# The first rule that matches decides. A runtime's release is part of the family where a release made layers faster by other
# factors: X-CUBE-AI 8.1 and Plumerai 2023.05 made 1×1 convolutions twice as fast and left dense layers as they were.
_MCU: DeviceClass = "microcontroller"
RULES = (
    Rule("board", r"GAP9", "gap9", "accelerator"),
    Rule("board", r"^K1_BOARD", "k1", "accelerator"),
    Rule("board", r"NDP9120", "syntiant", "accelerator"),
    Rule("framework", r"Qualcomm", "qualcomm", "accelerator"),
    Rule("board", r"VCU128|ZCU106", "anpu", "accelerator"),
    Rule("framework", r"LEIP", "leip", "application"),
    Rule("board", r"xG24", "mvp", _MCU),
    Rule("board", r"RA8D1", "helium", _MCU),
    Rule("board", r"^LC236", "lc236", _MCU),
    Rule("board", r"Tinker", "onnc-riscv", _MCU),
    Rule("framework", r"X-CUBE-AI v(9|10)|STEDGE", "xcubeai-9", _MCU),
    Rule("framework", r"X-CUBE-AI v8\.1", "xcubeai-8.1", _MCU),
    Rule("framework", r"X-CUBE-AI", "xcubeai-7", _MCU),
    Rule("framework", r"Plumerai.*2023", "plumerai-2023", _MCU),
    Rule("framework", r"Plumerai", "plumerai", _MCU),
    Rule("framework", r"Bosch", "hale", _MCU),
    Rule("system", r"(?i)cmsis", "microtvm-cmsis", _MCU),
    Rule("framework", r"microTVM", "microtvm", _MCU),
    Rule("framework", r"ONNC", "onnc", _MCU),
    Rule("framework", r"(?i)tflite|tensorflow", "tflm", _MCU),
)


@dataclass(frozen=True)
class Row:
    """What one system measured on one network, the geometric mean over its submissions (`count` of them).

    `power_mw` is the mean of the run that measured energy; None where none was submitted. Energy is in mJ, latency in ms.
    """

    system: str
    family: str
    device_class: DeviceClass
    board: str
    framework: str
    precision: str
    model: str
    latency_ms: float
    energy_mj: float | None
    power_mw: float | None
    count: int


def system_name(record: dict[str, str], family: str) -> str:
    """One board at one clock with one runtime and precision, whoever submitted it and under whatever spelling."""
    board = re.sub(r"-q$|-p$", "", record["board"].replace("_", "-").lower())
    runtime = family
    if family.startswith(("xcubeai", "plumerai")):
        runtime = record["framework"].replace("Plumerai Inference Engine", "Plumerai").strip()
        runtime = "X-CUBE-AI v9" if runtime.startswith("X-CUBE-AI v9") else runtime
    # Options of one submitter that change the generated code, and cores that share a board.
    options = re.findall(r"max_performance|min_ram|AndesCore_\w+?(?=_)", record["system"])
    clock = re.sub(r"[^0-9.]", "", record["freq"].split(",")[0]) if record["freq"][:1].isdigit() else ""
    return " ".join(part for part in (board, runtime, *options, record["precision"], clock) if part)


@lru_cache(maxsize=4)
def read_rows(path: Path = TABLE) -> tuple[Row, ...]:
    """Every row that a rule knows, submissions of one system and network merged. Raises SetupError for a damaged file."""
    merged: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    rules: dict[str, Rule] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for record in csv.DictReader(file):
                rule = next((r for r in RULES if re.search(r.pattern, record[r.where])), None)
                # Fixed-point designs on FPGAs are circuits made for one network: they say nothing of another.
                if rule is None or record["precision"] == "fixed-point":
                    continue
                name = system_name(record, rule.family)
                rules[name] = rule
                merged[name, record["model"]].append(record)
        return tuple(_merge(name, model, rules[name], found) for (name, model), found in merged.items())
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise SetupError(f"{path} cannot be read ({error!r}); restore it from a fresh clone") from None


def _merge(name: str, model: str, rule: Rule, found: list[dict[str, str]]) -> Row:
    def mean(key: str) -> float | None:
        values = [math.log(float(r[key])) for r in found if r[key]]
        return math.exp(sum(values) / len(values)) if values else None

    latency_ms, energy_uj = mean("latency_ms"), mean("energy_uj")
    if latency_ms is None:
        raise ValueError(f"{name}, {model}: no latency")
    first = found[0]
    return Row(
        system=name,
        family=rule.family,
        device_class=rule.device_class,
        board=first["board"],
        framework=first["framework"],
        precision="fp32" if first["precision"] == "fp32" else "int8",
        model=model,
        latency_ms=latency_ms,
        energy_mj=energy_uj * 1e-3 if energy_uj is not None else None,
        power_mw=mean("energy_run_power_mw"),
        count=len(found),
    )


@lru_cache(maxsize=2)
def reference_demands(path: Path = DEMANDS) -> dict[str, Demand]:
    """What the four networks ask for in float, by name; a test recomputes the file from their graphs. Raises SetupError."""
    try:
        return {name: Demand.from_json(record) for name, record in json.loads(path.read_text()).items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{path} cannot be read ({error!r}); restore it from a fresh clone") from None


def demand_of(row: Row) -> Demand:
    """What a row's network asks for in the precision that it ran in."""
    return reference_demands()[row.model] if row.precision == "fp32" else _in_integers(row.model)


# Thousands of rows are of four networks.
@lru_cache(maxsize=8)
def _in_integers(model: str) -> Demand:
    return in_integers(reference_demands()[model])
