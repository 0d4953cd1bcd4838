"""What is measured of a file, and on which machine: frozen records with units in their names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from engine.trials.evidence import Interval

Source = Literal["measured", "fitted", "datasheet"]


@dataclass(frozen=True)
class Latency:
    """Percentiles of one call, in milliseconds: of as many images as the trial's batch, one unless said otherwise."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Timing:
    """How a latency was measured, and what starting the file costs.

    `threads`, `batch` (images per call), `graph_optimisation` and `provider` are what the trial ran with, `baseline_batch` is the
    baseline's; `cpus` are those that its threads were pinned to, empty where the system cannot pin. `stopped` says whether the ratio's
    95 % interval got as narrow as asked; `half_width` is half of its width, relative, None where it is not known. `blocks` pairs of blocks
    were timed in `processes` fresh processes; `disturbed_blocks` of them did not count. `first_run_ms`: the first run of a session just
    created. `arena_bytes`: what ONNX Runtime's arena held after running, None where not readable. `placement` is
    {provider: {type of operator: how many}}: what ran where, of another provider than the CPU's.
    """

    threads: int
    batch: int
    baseline_batch: int
    graph_optimisation: str
    provider: str
    cpus: tuple[int, ...]
    stopped: Literal["precise", "time limit"]
    half_width: float | None
    processes: int
    blocks: int
    disturbed_blocks: int
    first_run_ms: float
    arena_bytes: int | None
    placement: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Energy:
    """Millijoules per inference with a range; `basis` says in words from what.

    `source`: `measured` by a counter here; `fitted` to measurements of other networks on that device; `datasheet`: from design power or a
    power that somebody stated. All but `measured` are estimates, and people are told so. A counter also gives the energy with the idle
    power that was subtracted (`with_idle_mj`) and that power.
    """

    value: float
    low: float
    high: float
    source: Source
    basis: str
    with_idle_mj: float | None = None
    idle_w: float | None = None


@dataclass(frozen=True)
class PerMillion:
    """A million inferences under a scenario: kilowatt hours at the plug, money in the scenario's currency, kilograms of CO2 equivalent.

    None where the scenario or the device does not say what it takes.
    """

    kwh: float | None
    cost: float | None
    co2e_kg: float | None


@dataclass(frozen=True)
class Projection:
    """What a profile says of a trial: latency (ms) and energy (mJ) on that device.

    Where it does not fit, or nothing is known, there are no numbers but a `reason`. `source` is that of the latency. `per_million` is
    filled in where a scenario is given. A user's own board that measured the trial's file has one too, whose source is `measured`.
    """

    latency_ms: Interval | None
    energy_mj: Energy | None
    fits: bool = True
    reason: str | None = None
    source: Source | None = None
    per_million: PerMillion | None = None


@dataclass(frozen=True)
class Machine:
    """The host that measured: latencies of different machines are never put on one axis.

    `governor` is how the system sets the processor's clock, where it says so; `gpus` are the graphics cards of NVIDIA's, by their names.
    """

    fingerprint: str
    cpu: str
    cores: int
    memory_gib: float
    flags: tuple[str, ...]
    os: str
    versions: dict[str, str]
    governor: str | None = None
    gpus: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """One line for charts and cards."""
        cards = "".join(f", {gpu}" for gpu in self.gpus)
        return f"{self.cpu}, {self.cores} cores{cards}, {self.os}, onnxruntime {self.versions.get('onnxruntime', '?')}"

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Machine:
        """The inverse of `asdict`."""
        return cls(**{**record, "flags": tuple(record["flags"]), "gpus": tuple(record.get("gpus", ()))})


def _energy(record: dict[str, Any]) -> Energy:
    """An energy from JSON. Sweeps of before sources were told apart say `estimated`: what it was estimated from is in the basis."""
    if record["source"] == "estimated":
        return Energy(**{**record, "source": "fitted" if "MLPerf" in record["basis"] else "datasheet"})
    return Energy(**record)
