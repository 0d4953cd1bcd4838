"""What was measured: frozen records with units in their names. JSON in, JSON out; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from engine.steps import Recipe

Provenance = Literal["deployed", "simulated", "imported"]
"""deployed: every number is from the file that would be exported; simulated: no kernel for it here; imported: made elsewhere."""


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its interval (95 % unless the field says otherwise)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Accuracy:
    """Share of images that are right, in [0, 1], with its Wilson interval, over `n` images.

    `p_vs_baseline`: McNemar's mid-p that this trial and the baseline are equally good on these images; None for the baseline.
    """

    value: float
    low: float
    high: float
    n: int
    p_vs_baseline: float | None = None


@dataclass(frozen=True)
class Latency:
    """Percentiles of one inference, in milliseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Energy:
    """Millijoules per inference with a range. `source` is `estimated` or `measured`; `basis` says in words from what."""

    value: float
    low: float
    high: float
    source: Literal["estimated", "measured"]
    basis: str


@dataclass(frozen=True)
class Projection:
    """What a profile says of a trial: latency (ms) and energy (mJ) on that device."""

    latency_ms: Interval | None
    energy_mj: Energy | None


@dataclass(frozen=True)
class Machine:
    """The host that measured: latencies of different machines are never put on one axis."""

    fingerprint: str
    cpu: str
    cores: int
    memory_gib: float
    flags: tuple[str, ...]
    os: str
    versions: dict[str, str]

    @property
    def label(self) -> str:
        """One line for charts and cards."""
        return f"{self.cpu}, {self.cores} cores, {self.os}, onnxruntime {self.versions.get('onnxruntime', '?')}"


@dataclass(frozen=True)
class Stage:
    """The network after one stage of a recipe: what each step bought or cost is the difference to the stage before.

    `accuracy` is a share in [0, 1]; `p_vs_before` is McNemar's mid-p that this stage and the one before are equally good, None for the
    first. `latency_ms` is the median of one inference. `steps` is how many steps of the recipe are done.
    """

    steps: int
    accuracy: float
    p_vs_before: float | None
    size_bytes: int
    macs: int
    latency_ms: float | None


@dataclass(frozen=True)
class Trial:
    """One recipe with its measurements; what was not measured is None.

    `params` counts learned parameters, `nonzero_params` those that are not zero; `macs` is multiply-accumulates per image.
    `projections` is by profile name; the host's own energy is under `host`. `stages` lead from the baseline to the trial itself.
    `predictions` names the artifact with its answer to every test image, None in records that do not say. `layer_bits` are the weight bits
    that mixed precision chose, by layer. `load_ms` is what opening the file took, once. `error` says why a recipe could not be made.
    """

    id: str
    recipe: Recipe
    state: Literal["pending", "done", "failed"] = "pending"
    accuracy: Accuracy | None = None
    predictions: str | None = None
    size_bytes: int | None = None
    size_zipped_bytes: int | None = None
    params: int | None = None
    nonzero_params: int | None = None
    macs: int | None = None
    latency_ms: Latency | None = None
    latency_ratio: Interval | None = None
    throughput_per_s: float | None = None
    peak_memory_bytes: int | None = None
    load_ms: float | None = None
    stages: tuple[Stage, ...] = ()
    layer_bits: dict[str, int] | None = None
    projections: dict[str, Projection] = field(default_factory=dict)
    provenance: Provenance = "deployed"
    machine: Machine | None = None
    artifact: str | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def label(self) -> str:
        """The recipe in words."""
        return self.recipe.label

    def to_json(self, device: str = "host") -> dict[str, Any]:
        """The record that `trials --json` prints; `energy_mj` and, off the host, `latency_ms` are those of `device`."""
        record = asdict(self)
        record["recipe"] = self.recipe.to_json()
        record["label"] = self.label
        projection = self.projections.get(device)
        record["energy_mj"] = asdict(projection.energy_mj) if projection and projection.energy_mj else None
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Trial:
        """The inverse of `to_json`."""
        known = {k: v for k, v in record.items() if k not in {"label", "energy_mj"}}
        known["recipe"] = Recipe.from_json(record["recipe"])
        for name, kind in (
            ("accuracy", Accuracy),
            ("latency_ms", Latency),
            ("latency_ratio", Interval),
        ):
            if known.get(name) is not None:
                known[name] = kind(**known[name])
        if known.get("machine") is not None:
            known["machine"] = Machine(**{**known["machine"], "flags": tuple(known["machine"]["flags"])})
        known["projections"] = {
            name: Projection(
                latency_ms=Interval(**p["latency_ms"]) if p["latency_ms"] else None,
                energy_mj=Energy(**p["energy_mj"]) if p["energy_mj"] else None,
            )
            for name, p in record.get("projections", {}).items()
        }
        known["notes"] = tuple(record.get("notes", ()))
        known["stages"] = tuple(Stage(**s) for s in record.get("stages", ()))
        return cls(**known)


@dataclass(frozen=True)
class Metric:
    """How a number of a trial is named, shown and compared."""

    key: str
    name: str
    unit: str
    maximise: bool
    help: str


METRICS: dict[str, Metric] = {
    m.key: m
    for m in (
        Metric("accuracy", "Accuracy", "%", True, "Share of test images classified correctly, with its 95 % interval."),
        Metric("size_bytes", "File size", "kB", False, "Bytes of the ONNX file that would be exported."),
        Metric("size_zipped_bytes", "Zipped size", "kB", False, "The file after zip, as an app store would ship it."),
        Metric(
            "latency_ms", "Latency", "ms", False,
            "Median time of one inference in ONNX Runtime on the machine named: the ratio to the baseline, which was measured in "
            "turns with it, times the baseline's own median.",
        ),
        Metric("latency_ratio", "Latency vs baseline", "×", False, "Time relative to the baseline, measured in turns with it."),
        Metric("energy_mj", "Energy", "mJ", False, "Energy per inference; estimated unless it says measured."),
        Metric("params", "Parameters", "", False, "Learned weights in the graph."),
        Metric("nonzero_params", "Non-zero parameters", "", False, "Weights that are not zero."),
        Metric("macs", "MACs", "M", False, "Multiply-accumulate operations per image."),
    )
}  # fmt: skip


def metric_value(trial: Trial, key: str, device: str = "host") -> float | None:
    """One number of a trial in base units (share, bytes, ms, mJ), None where not measured.

    For another device than the host, `latency_ms` and `energy_mj` are that profile's projections.
    """
    if key in {"latency_ms", "energy_mj"}:
        projection = trial.projections.get(device)
        if key == "energy_mj":
            return projection.energy_mj.value if projection and projection.energy_mj else None
        if device != "host":
            return projection.latency_ms.value if projection and projection.latency_ms else None
        return trial.latency_ms.p50 if trial.latency_ms else None
    value: Any = getattr(trial, key)
    number: float | None = getattr(value, "value", value)
    return number
