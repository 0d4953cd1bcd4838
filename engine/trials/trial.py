"""A trial: one recipe with its measurements. JSON in, JSON out; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from engine.graph.demand import Demand
from engine.metrics import METRICS
from engine.spec.recipe import Recipe
from engine.trials.evidence import Accuracy, Confirmation, Fidelity, Interval, Quality, Score, Seeds, interval_of
from engine.trials.measurements import Latency, Machine, PerMillion, Projection, Timing, _energy
from engine.trials.slices import Slices
from engine.trials.stated import Stated

Provenance = Literal["deployed", "simulated", "imported"]
"""deployed: every number is from the file that would be exported; simulated: no kernel for it here; imported: measured elsewhere."""


_OF_CLASSES, _OF_VALUES = ("agreement", "kl"), ("relative_error", "cosine", "neighbours")


@dataclass(frozen=True)
class Stage:
    """The network after one stage of a recipe: what each step bought or cost is the difference to the stage before.

    `accuracy` is a share in [0, 1]; `p_vs_before` is McNemar's mid-p that this stage and the one before are equally good, None for the
    first. `latency_ms` is the median time of as many images as the baseline takes per call; `score` is the number of the spec's own metric.
    `steps` is how many steps of the recipe are done.
    """

    steps: int
    accuracy: float | None
    p_vs_before: float | None
    size_bytes: int
    macs: int
    latency_ms: float | None
    score: float | None = None


@dataclass(frozen=True)
class Trial:
    """One recipe with its measurements; what was not measured is None.

    `params` counts learned parameters, `nonzero_params` those that are not zero; `macs` is multiply-accumulates per image. `projections` is
    by profile name; the host's own energy is under `host`. `demand` is what any device can be projected from. `stages` lead from the
    baseline to the trial itself. `score` is of the spec's own metric, where it has one. `quality` and `fidelity` are made of the same
    predictions as `accuracy`, which lie in the artifact `predictions`; without labels there is `fidelity` alone. `slices` say the same of
    parts of the samples, where the spec names some. `confirmation` is about other images, held back. `seeds` is there where the recipe was
    run over several; all other numbers, and the artifact, are those of the first. `layer_bits` are the weight bits that mixed precision
    chose, by layer, and `chosen` is what `auto` came to where that is worth a word. `latency_ms` is of one call, a whole batch;
    `latency_ratio` and `throughput_per_s` are per image. `timing` says how they were measured, and `load_ms` is what creating a session
    took (the file was in the system's cache). `size_parts` are the file's bytes by type (weights, scales, biases, constants, graph), which
    add up to `size_bytes`; `size_layers` those of each layer's weights, scales and biases. `finished_s` is how long the sweep had been
    running, all its runs together, when the recipe's last number was there; None for sweeps of before that was kept. `error` says why a
    recipe could not be made, `stopped` why a search that had seen it in short left it at that. `stated` are the numbers of an imported
    point, which has no others.
    """

    id: str
    recipe: Recipe
    state: Literal["pending", "done", "failed", "stopped"] = "pending"
    accuracy: Accuracy | None = None
    score: Score | None = None
    quality: Quality | None = None
    fidelity: Fidelity | None = None
    slices: Slices | None = None
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
    chosen: tuple[str, ...] = ()
    projections: dict[str, Projection] = field(default_factory=dict)
    provenance: Provenance = "deployed"
    machine: Machine | None = None
    artifact: str | None = None
    notes: tuple[str, ...] = ()
    finished_s: float | None = None
    error: str | None = None
    stated: Stated | None = None
    stopped: str | None = None

    @property
    def label(self) -> str:
        """The recipe in words."""
        return self.recipe.label_with(self.chosen)

    def to_json(self, device: str = "host") -> dict[str, Any]:
        """The record that `trials --json` prints; `energy_mj` and, off the host, `latency_ms` are those of `device`."""
        # Without the recipe, of whose every step `asdict` would make a deep copy for nothing.
        record: dict[str, Any] = asdict(replace(self, recipe=Recipe()))
        record["recipe"] = self.recipe.to_json()
        record["label"] = self.label
        projection = self.projections.get(device)
        record["energy_mj"] = asdict(projection.energy_mj) if projection and projection.energy_mj else None
        record["metric"] = self._metric_json()
        if self.fidelity:
            # Of classes, or of values: neither has what the other has.
            kept = _OF_CLASSES if self.fidelity.agreement else _OF_VALUES
            record["fidelity"] = {name: record["fidelity"][name] for name in kept}
        record["tied_with_baseline"] = self.tied_with_baseline
        return record

    @property
    def judged(self) -> Accuracy | Score | None:
        """What it is judged by: the spec's own metric, otherwise accuracy; None without labels or targets."""
        return self.score or self.accuracy

    @property
    def tied_with_baseline(self) -> bool | None:
        """Whether the test does not tell it from the baseline; None for the baseline itself, and where nothing was judged."""
        return self.judged.tied_with_baseline if self.judged else None

    def _metric_json(self) -> dict[str, Any] | None:
        found = self.judged
        if found is None:
            return None
        metric = METRICS[found.key if isinstance(found, Score) else "accuracy"]
        numbers = {name: getattr(found, name) for name in ("value", "low", "high", "n", "p_vs_baseline")}
        return {"name": metric.name, **numbers, "unit": metric.unit, "higher_is_better": metric.maximise}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Trial:
        """The inverse of `to_json`."""
        known = {k: v for k, v in record.items() if k not in {"label", "energy_mj", "metric", "tied_with_baseline"}}
        known["recipe"] = Recipe.from_json(record["recipe"])
        for name, kind in (
            ("accuracy", Accuracy.from_json),
            ("score", Score.from_json),
            ("quality", Quality.from_json),
            ("fidelity", Fidelity.from_json),
            ("slices", Slices.from_json),
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
        known["stated"] = Stated(**record["stated"]) if record.get("stated") else None
        known["notes"] = tuple(record.get("notes", ()))
        known["chosen"] = tuple(record.get("chosen", ()))
        known["stages"] = tuple(Stage(**s) for s in record.get("stages", ()))
        return cls(**known)
