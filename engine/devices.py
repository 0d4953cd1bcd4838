"""Profiles: what is known of the speed and power of a (board, runtime) pair, and what it says of a network.

The microcontrollers are fitted, each time they are asked for, to MLPerf Tiny results (`data/mlperf_tiny.csv`):

    latency = MACs x time per MAC;  energy = latency x mean power

with both factors the geometric mean over the models that a board ran, several rows of one model counted as one. Rows
before X-CUBE-AI 9 are left out: they are up to 2.5 times slower. What was tried, as the mean
absolute percentage error of latency with the model left out of its board's fit, over the 15 rows kept:

    time per MAC (used)                               23.1 %, worst 40 %
    the same, plus a time per parameter               35.1 %, worst 217 %
    the same, plus a fixed time                       56.2 %, worst 319 %
    time per MAC, all X-CUBE-AI versions (54 rows)    30.9 %, worst 104 %

A fixed time and a time per parameter sound right, but three or four models a board cannot tell them apart. A range is
90 %: Student's t with three degrees of freedom (four models) times the root mean square of the left-out log errors of
all boards.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine.errors import SetupError, SpecError
from engine.paths import DATA
from engine.record import Energy, Interval, Projection

# Multiply-accumulates per inference of the four MLPerf Tiny networks (Banbury et al. 2021, arXiv:2106.07597), counted on
# their graphs.
MLPERF_MACS = {"resnet8": 12_501_632, "ds_cnn": 2_656_768, "mobilenetv1_0.25_96": 7_489_664, "fc_autoencoder": 264_192}
# Two-sided 90 % quantile of Student's t with three degrees of freedom: four models, one mean.
T_90_DF_3 = 2.353
OLDEST_RUNTIME = 9


class Facts(Protocol):
    """What a projection reads of a graph; `weight_bits` and `activation_bits` are 32 for float."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image."""
        ...

    @property
    def params(self) -> int:
        """Weights and biases."""
        ...

    @property
    def weight_bits(self) -> int:
        """Bits of a stored weight."""
        ...

    @property
    def activation_bits(self) -> int:
        """Bits that the runtime computes in."""
        ...


@dataclass(frozen=True)
class Row:
    """One submission: ms per inference and, where energy was submitted, microjoules and milliwatts of that run."""

    board: str
    model: str
    latency_ms: float
    energy_uj: float | None
    power_mw: float | None


@dataclass(frozen=True)
class Board:
    """A microcontroller with its vendor's runtime. `flash_bytes` is in ST's ordering code: G is 1 MiB, I is 2 MiB."""

    name: str
    board: str
    chip: str
    flash_bytes: int
    runtime: str = "X-CUBE-AI"


@dataclass(frozen=True)
class Fit:
    """What the rows gave: how many rows of how many models, ns per MAC, mean milliwatts.

    `latency_mape`, `energy_mape`: mean absolute error, as a share, on a model that was left out of the fit.
    `latency_spread`, `energy_spread`: half-widths of the 90 % ranges on a natural log scale.
    """

    rows: int
    models: int
    ns_per_mac: float
    power_mw: float
    latency_mape: float
    energy_mape: float
    latency_spread: float
    energy_spread: float


@dataclass(frozen=True)
class Profile:
    """A profile as shown. `fit` is None for the host, which is measured; `basis` says in words what numbers rest on."""

    name: str
    board: str
    runtime: str
    basis: str
    fit: Fit | None = None


HOST = Profile(
    "host",
    "this machine",
    "onnxruntime",
    "latency is measured here; energy is that latency times an assumed power, or measured",
)
_MIB = 2**20
BOARDS = {
    b.name: b
    for b in (
        Board("stm32h7a3-xcubeai", "NUCLEO-H7A3ZI-Q", "Cortex-M7, 280 MHz", 2 * _MIB),
        Board("stm32l4r5-xcubeai", "NUCLEO-L4R5ZI", "Cortex-M4, 120 MHz", 2 * _MIB),
        Board("stm32u575-xcubeai", "NUCLEO-U575ZI-Q", "Cortex-M33, 160 MHz", 2 * _MIB),
        Board("stm32u385-xcubeai", "NUCLEO-U385RG-Q", "Cortex-M33, 96 MHz", 1 * _MIB),
    )
}


def read_rows(path: Path, boards: tuple[str, ...], oldest: int = OLDEST_RUNTIME) -> tuple[Row, ...]:
    """The int8 rows of these boards with X-CUBE-AI `oldest` (major version) or later. Raises SetupError for a damaged file."""
    prefix = "X-CUBE-AI v"
    found = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for record in csv.DictReader(file):
                framework = record["framework"]
                if record["board"] not in boards or record["precision"] != "int8" or not framework.startswith(prefix):
                    continue
                if int(framework.removeprefix(prefix).split(".")[0]) < oldest or record["model"] not in MLPERF_MACS:
                    continue
                energy = float(record["energy_uj"]) if record["energy_uj"] else None
                power = float(record["energy_run_power_mw"]) if record["energy_run_power_mw"] else None
                found.append(Row(record["board"], record["model"], float(record["latency_ms"]), energy, power))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SetupError(f"{path} cannot be read ({error!r}); restore it from a fresh clone") from None
    return tuple(found)


def _ns_per_mac(row: Row) -> float:
    return row.latency_ms * 1e6 / MLPERF_MACS[row.model]


def _mean_over_models(rows: tuple[Row, ...], value: Callable[[Row], float | None]) -> float:
    """Geometric mean of `value`, rows of one model counted as one, so that resubmissions weigh nothing."""
    by_model: dict[str, list[float]] = {}
    for row in rows:
        number = value(row)
        if number is not None:
            by_model.setdefault(row.model, []).append(math.log(number))
    return math.exp(float(np.mean([np.mean(logs) for logs in by_model.values()])))


def left_out_errors(rows: tuple[Row, ...]) -> tuple[list[float], list[float]]:
    """Log (predicted / measured) of latency and of energy for every row of one board, its model left out of the fit."""
    latency, energy = [], []
    for row in rows:
        others = tuple(r for r in rows if r.model != row.model)
        predicted_ms = MLPERF_MACS[row.model] * _mean_over_models(others, _ns_per_mac) * 1e-6
        latency.append(math.log(predicted_ms / row.latency_ms))
        if row.energy_uj is not None:
            predicted_uj = predicted_ms * _mean_over_models(others, lambda r: r.power_mw)
            energy.append(math.log(predicted_uj / row.energy_uj))
    return latency, energy


def _mape(log_errors: list[float]) -> float:
    return float(np.mean(np.abs(np.expm1(log_errors))))


@lru_cache(maxsize=4)
def fit_profiles(path: Path = DATA / "mlperf_tiny.csv") -> dict[str, Profile]:
    """Every microcontroller profile, by name, fitted to the rows of `path`. Raises SetupError when they are missing."""
    rows = read_rows(path, tuple(b.board for b in BOARDS.values()))
    own = {name: tuple(r for r in rows if r.board == board.board) for name, board in BOARDS.items()}
    for name, found in own.items():
        if len({r.model for r in found if r.power_mw is not None}) < 2:
            raise SetupError(f"{path} has too few rows of {BOARDS[name].board}; restore it from a fresh clone")
    errors = {name: left_out_errors(found) for name, found in own.items()}
    # Boards of one family share a runtime and so its errors; one board alone has three models, too few for a range.
    latency_spread, energy_spread = (
        T_90_DF_3 * float(np.sqrt(np.mean(np.square([e for pair in errors.values() for e in pair[i]])))) for i in (0, 1)
    )
    fitted = {}
    for name, board in BOARDS.items():
        latency_errors, energy_errors = errors[name]
        result = Fit(
            rows=len(own[name]),
            models=len({r.model for r in own[name]}),
            ns_per_mac=_mean_over_models(own[name], _ns_per_mac),
            power_mw=_mean_over_models(own[name], lambda r: r.power_mw),
            latency_mape=_mape(latency_errors),
            energy_mape=_mape(energy_errors),
            latency_spread=latency_spread,
            energy_spread=energy_spread,
        )
        fitted[name] = Profile(
            name=name,
            board=f"STMicroelectronics {board.board} ({board.chip})",
            runtime=f"{board.runtime} {OLDEST_RUNTIME} or later, int8",
            basis=f"time per MAC and mean power of {result.rows} MLPerf Tiny rows ({result.models} models) of "
            f"{board.board} with {board.runtime}; error on a model left out: latency {result.latency_mape:.0%}, "
            f"energy {result.energy_mape:.0%}",
            fit=result,
        )
    return fitted


def profiles() -> tuple[Profile, ...]:
    """All profiles, the host first. Raises SetupError when the table they are fitted to is damaged."""
    return (HOST, *fit_profiles().values())


def profile_names() -> tuple[str, ...]:
    """Names to write in a spec; no file is read."""
    return (HOST.name, *BOARDS)


def devices_json() -> list[dict[str, Any]]:
    """What `paretoscope devices --json` prints: shares for the errors, None where not fitted."""
    listed = []
    for profile in profiles():
        fit = profile.fit
        listed.append(
            {
                "name": profile.name,
                "board": profile.board,
                "runtime": profile.runtime,
                "fitted": fit.rows if fit else None,
                "models": fit.models if fit else None,
                "latency_mape": fit.latency_mape if fit else None,
                "energy_mape": fit.energy_mape if fit else None,
                "basis": profile.basis,
            }
        )
    return listed


def _obstacle(name: str, facts: Facts) -> str | None:
    """Why this profile can say nothing of this graph; None when it can."""
    board = BOARDS[name]
    if facts.activation_bits > 8 or facts.weight_bits > 8:
        return (
            f"{name} is fitted to int8 results only and this graph computes in float; "
            "quantize weights and activations to 8 bits"
        )
    if facts.macs <= 0:
        return f"{name} needs a graph with multiply-accumulates, and this one has none"
    # The runtime keeps weights of fewer than 8 bits in 8, so a parameter costs a byte whatever the file holds.
    if facts.params > board.flash_bytes:
        return f"{facts.params:,} int8 parameters do not fit {board.board}'s flash of {board.flash_bytes // 1024:,} KiB"
    return None


def project(name: str, facts: Facts) -> tuple[Projection | None, str | None]:
    """What a profile says of a graph, or None and the reason in words. The host is measured: it has no projection.

    Raises SpecError for an unknown name, SetupError when the table is damaged.
    """
    if name not in profile_names():
        raise SpecError(f"measure.profiles: {name!r} is not a profile; known profiles: {', '.join(profile_names())}")
    profile = HOST if name == HOST.name else fit_profiles()[name]
    if profile.fit is None:
        return None, "the host is measured, not projected"
    reason = _obstacle(name, facts)
    if reason:
        return None, reason
    basis = f"{profile.basis}; 90 % range"
    low, high = min(MLPERF_MACS.values()), max(MLPERF_MACS.values())
    if not low <= facts.macs <= high:
        basis += f"; {facts.macs / 1e6:.3g} M MACs lie outside the {low / 1e6:.3g}–{high / 1e6:.3g} M of the fit"
    latency_ms = facts.macs * profile.fit.ns_per_mac * 1e-6
    energy_mj = latency_ms * profile.fit.power_mw * 1e-3
    latency = Interval(latency_ms, *_around(latency_ms, profile.fit.latency_spread))
    energy = Energy(energy_mj, *_around(energy_mj, profile.fit.energy_spread), source="estimated", basis=basis)
    return Projection(latency, energy), None


def _around(value: float, spread: float) -> tuple[float, float]:
    return value * math.exp(-spread), value * math.exp(spread)
