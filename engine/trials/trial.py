"""What was measured: frozen records with units in their names. JSON in, JSON out; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from engine.graph.demand import Demand
from engine.spec.steps import Recipe
from engine.trials.evidence import Accuracy as Accuracy
from engine.trials.evidence import Confirmation as Confirmation
from engine.trials.evidence import Fidelity as Fidelity
from engine.trials.evidence import Interval as Interval
from engine.trials.evidence import Quality as Quality
from engine.trials.evidence import Seeds as Seeds
from engine.trials.evidence import interval_of

Provenance = Literal["deployed", "simulated", "imported"]
"""deployed: every number is from the file that would be exported; simulated: no kernel for it here; imported: made elsewhere."""


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
    created. `arena_bytes`: what ONNX Runtime's arena held after running, None where not readable.
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
    filled in where a scenario is given.
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

    `governor` is how the system sets the processor's clock, where it says so.
    """

    fingerprint: str
    cpu: str
    cores: int
    memory_gib: float
    flags: tuple[str, ...]
    os: str
    versions: dict[str, str]
    governor: str | None = None

    @property
    def label(self) -> str:
        """One line for charts and cards."""
        return f"{self.cpu}, {self.cores} cores, {self.os}, onnxruntime {self.versions.get('onnxruntime', '?')}"

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Machine:
        """The inverse of `asdict`."""
        return cls(**{**record, "flags": tuple(record["flags"])})


@dataclass(frozen=True)
class Stage:
    """The network after one stage of a recipe: what each step bought or cost is the difference to the stage before.

    `accuracy` is a share in [0, 1]; `p_vs_before` is McNemar's mid-p that this stage and the one before are equally good, None for the
    first. `latency_ms` is the median time of as many images as the baseline takes per call. `steps` is how many steps of the recipe are
    done.
    """

    steps: int
    accuracy: float | None
    p_vs_before: float | None
    size_bytes: int
    macs: int
    latency_ms: float | None


@dataclass(frozen=True)
class Trial:
    """One recipe with its measurements; what was not measured is None.

    `params` counts learned parameters, `nonzero_params` those that are not zero; `macs` is multiply-accumulates per image.
    `projections` is by profile name; the host's own energy is under `host`. `demand` is what any device can be projected from.
    `stages` lead from the baseline to the trial itself.
    `quality` and `fidelity` are made of the same predictions as `accuracy`, which lie in the artifact `predictions`; without labels there
    is `fidelity` alone. `confirmation` is about other images, held back. `seeds` is there where the recipe was run over several; all other
    numbers, and the artifact, are those of the first.
    `layer_bits` are the weight bits that mixed precision chose, by layer. `latency_ms` is of one call, a whole batch; `latency_ratio` and
    `throughput_per_s` are per image. `timing` says how they were measured, and `load_ms` is what creating a session took (the file was in
    the system's cache). `size_parts` are the file's bytes by type (weights, scales, biases, constants, graph), which add up to
    `size_bytes`; `size_layers` those of each layer's weights, scales and biases. `finished_s` is how long the sweep had been running, all
    its runs together, when the recipe's last number was there; None for sweeps of before that was kept. `error` says why a recipe could
    not be made.
    """

    id: str
    recipe: Recipe
    state: Literal["pending", "done", "failed"] = "pending"
    accuracy: Accuracy | None = None
    quality: Quality | None = None
    fidelity: Fidelity | None = None
    confirmation: Confirmation | None = None
    seeds: Seeds | None = None
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
    timing: Timing | None = None
    size_parts: dict[str, int] | None = None
    size_layers: dict[str, int] | None = None
    stages: tuple[Stage, ...] = ()
    demand: Demand | None = None
    layer_bits: dict[str, int] | None = None
    projections: dict[str, Projection] = field(default_factory=dict)
    provenance: Provenance = "deployed"
    machine: Machine | None = None
    artifact: str | None = None
    notes: tuple[str, ...] = ()
    finished_s: float | None = None
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
        record["tied_with_baseline"] = self.accuracy.tied_with_baseline if self.accuracy else None
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Trial:
        """The inverse of `to_json`."""
        known = {k: v for k, v in record.items() if k not in {"label", "energy_mj", "tied_with_baseline"}}
        known["recipe"] = Recipe.from_json(record["recipe"])
        for name, kind in (
            ("accuracy", Accuracy.from_json),
            ("quality", Quality.from_json),
            ("fidelity", Fidelity.from_json),
            ("confirmation", Confirmation.from_json),
            ("seeds", Seeds.from_json),
            ("latency_ms", lambda r: Latency(**r)),
            ("latency_ratio", interval_of),
        ):
            if known.get(name) is not None:
                known[name] = kind(known[name])
        if known.get("timing") is not None:
            known["timing"] = Timing(**{**known["timing"], "cpus": tuple(known["timing"]["cpus"])})
        if known.get("machine") is not None:
            known["machine"] = Machine.from_json(known["machine"])
        known["projections"] = {
            name: Projection(
                latency_ms=Interval(**p["latency_ms"]) if p["latency_ms"] else None,
                energy_mj=_energy(p["energy_mj"]) if p["energy_mj"] else None,
                fits=p.get("fits", True),
                reason=p.get("reason"),
                source=p.get("source"),
                per_million=PerMillion(**p["per_million"]) if p.get("per_million") else None,
            )
            for name, p in record.get("projections", {}).items()
        }
        known["demand"] = Demand.from_json(record["demand"]) if record.get("demand") else None
        known["notes"] = tuple(record.get("notes", ()))
        known["stages"] = tuple(Stage(**s) for s in record.get("stages", ()))
        return cls(**known)


def _energy(record: dict[str, Any]) -> Energy:
    """An energy from JSON. Sweeps of before sources were told apart say `estimated`: what it was estimated from is in the basis."""
    if record["source"] == "estimated":
        return Energy(**{**record, "source": "fitted" if "MLPerf" in record["basis"] else "datasheet"})
    return Energy(**record)


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
            "Median time of one call in ONNX Runtime on the machine named: the ratio to the baseline, which was measured in "
            "turns with it, times the baseline's own median. A call is one image unless a runtime step says otherwise.",
        ),
        Metric("latency_ratio", "Latency vs baseline", "×", False, "Time per image relative to the baseline, measured in turns with it."),
        Metric("energy_mj", "Energy", "mJ", False, "Energy per inference; estimated unless it says measured."),
        Metric(
            "kwh_per_million", "Energy per million", "kWh", False, "Energy at the plug for a million inferences, under the scenario."
        ),
        Metric(
            "cost_per_million", "Cost per million", "¤", False, "What a million inferences cost, in the scenario's currency."
        ),
        Metric(
            "co2e_kg_per_million", "CO2e per million", "kg", False, "CO2 equivalent of a million inferences, under the scenario."
        ),
        Metric("params", "Parameters", "", False, "Learned weights in the graph."),
        Metric("nonzero_params", "Non-zero parameters", "", False, "Weights that are not zero."),
        Metric("macs", "MACs", "M", False, "Multiply-accumulate operations per image."),
        Metric(
            "vs_baseline", "Accuracy vs baseline", "points", True,
            "Accuracy minus the baseline's on the same images; its 95 % interval is narrower than that of either (Tango's, paired).",
        ),
        Metric("top5", "Top-5 accuracy", "%", True, "Share of test images whose class is among the five likeliest answers."),
        Metric("lowest_recall", "Recall of the worst class", "%", True, "Share right of the class that is classified worst."),
        Metric(
            "worst_class_drop", "Worst class drop", "points", False,
            "How much recall the class lost that lost most against the baseline. The worst of many flatters nobody: by chance alone "
            "it is above zero.",
        ),
        Metric("flip_rate", "Flips", "%", False, "Share of test images that get another answer than from the baseline."),
        Metric(
            "harmful_flip_rate", "Harmful flips", "%", False, "Share of test images that the baseline has right and this one wrong."
        ),
        Metric("nll", "Negative log-likelihood", "nats", False, "Mean of -log p of the true class: punishes sureness that is wrong."),
        Metric(
            "ece", "Calibration error", "%", False,
            "Expected calibration error over 15 bins of equal width: how far confidence and share right are apart.",
        ),
        Metric("agreement", "Fidelity: agreement", "%", True, "Share of test images with the baseline's answer. Needs no labels."),
        Metric(
            "kl", "Fidelity: KL divergence", "nats", False,
            "Kullback-Leibler divergence of the class probabilities from the baseline's, mean over test images. Needs no labels.",
        ),
    )
}  # fmt: skip

ON_IMAGES = frozenset(
    {
        "accuracy", "vs_baseline", "top5", "lowest_recall", "worst_class_drop", "flip_rate", "harmful_flip_rate", "nll", "ece",
        "agreement", "kl",
    }
)  # fmt: skip
"""Metrics that are counted on test images."""

SCENARIO_METRICS = {"kwh_per_million": "kwh", "cost_per_million": "cost", "co2e_kg_per_million": "co2e_kg"}
"""Metrics that exist where a scenario is given, and their fields of `PerMillion`."""
DEVICE_METRICS = {"latency_ms", "energy_mj", *SCENARIO_METRICS}
"""Metrics that are those of the device that is looked at."""

HOST_TIMES = frozenset({"latency_ms", "latency_ratio", "energy_mj"})
"""Metrics that, for the host, hold on the machine that measured them and on no other."""


def metric_interval(trial: Trial, key: str, device: str = "host") -> Interval | float | None:
    """One number of a trial in base units (share, bytes, ms, mJ, nats), with its interval where it has one; None where not measured.

    For another device than the host, `latency_ms` and `energy_mj` are that profile's projections. On the host the interval of
    `latency_ms` is that of the ratio to the baseline, which is how it was measured.
    """
    projection, accuracy = trial.projections.get(device), trial.accuracy
    if key in SCENARIO_METRICS:
        per_million = projection.per_million if projection else None
        return getattr(per_million, SCENARIO_METRICS[key]) if per_million else None
    if key == "energy_mj":
        energy = projection.energy_mj if projection else None
        return Interval(energy.value, energy.low, energy.high) if energy else None
    if key == "latency_ms":
        if device != "host":
            return projection.latency_ms if projection else None
        ratio, p50 = trial.latency_ratio, trial.latency_ms.p50 if trial.latency_ms else None
        if p50 is None or ratio is None:
            return p50
        return Interval(p50, p50 * ratio.low / ratio.value, p50 * ratio.high / ratio.value)
    if key == "accuracy":
        return Interval(accuracy.value, accuracy.low, accuracy.high) if accuracy else None
    if key in {"vs_baseline", "worst_class_drop"} and trial.quality and not trial.recipe.steps:
        return 0.0
    if key == "vs_baseline":
        return accuracy.vs_baseline if accuracy else None
    if trial.quality and key in trial.quality.intervals:
        return trial.quality.intervals[key]
    if key == "worst_class_drop":
        return trial.quality.worst_class.drop if trial.quality and trial.quality.worst_class else None
    for part in (trial.quality, trial.fidelity):
        if key in getattr(type(part), "__dataclass_fields__", ()):
            found: Interval | float | None = getattr(part, key)
            return found
    return getattr(trial, key, None)


def metric_value(trial: Trial, key: str, device: str = "host") -> float | None:
    """One number of a trial in base units, None where not measured; see `metric_interval`."""
    found = metric_interval(trial, key, device)
    return found.value if isinstance(found, Interval) else found


def measured_metrics(trials: Sequence[Trial], device: str = "host") -> tuple[str, ...]:
    """The keys of the metrics that some trial has, in the order of `METRICS`."""
    return tuple(k for k in METRICS if any(metric_value(t, k, device) is not None for t in trials))
