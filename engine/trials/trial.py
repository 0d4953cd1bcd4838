"""A trial: one recipe with its measurements. JSON in, JSON out; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from engine.graph.demand import Demand
from engine.spec.recipe import Recipe
from engine.trials.evidence import Accuracy, Confirmation, Fidelity, Interval, Quality, Seeds, interval_of
from engine.trials.measurements import Latency, Machine, PerMillion, Projection, Timing, _energy
from engine.trials.stated import Stated

Provenance = Literal["deployed", "simulated", "imported"]
"""deployed: every number is from the file that would be exported; simulated: no kernel for it here; imported: measured elsewhere."""


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
    `layer_bits` are the weight bits that mixed precision chose, by layer, and `chosen` is what `auto` came to where that is worth a word.
    `latency_ms` is of one call, a whole batch; `latency_ratio` and `throughput_per_s` are per image. `timing` says how they were measured,
    and `load_ms` is what creating a session took (the file was in the system's cache). `size_parts` are the file's bytes by type (weights,
    scales, biases, constants, graph), which add up to `size_bytes`; `size_layers` those of each layer's weights, scales and biases.
    `finished_s` is how long the sweep had been running, all its runs together, when the recipe's last number was there; None for sweeps of
    before that was kept. `error` says why a recipe could not be made.
    `stated` are the numbers of an imported point, which has no others.
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
    chosen: tuple[str, ...] = ()
    projections: dict[str, Projection] = field(default_factory=dict)
    provenance: Provenance = "deployed"
    machine: Machine | None = None
    artifact: str | None = None
    notes: tuple[str, ...] = ()
    finished_s: float | None = None
    error: str | None = None
    stated: Stated | None = None

    @property
    def label(self) -> str:
        """The recipe in words."""
        return self.recipe.label_with(self.chosen)

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
        known["stated"] = Stated(**record["stated"]) if record.get("stated") else None
        known["notes"] = tuple(record.get("notes", ()))
        known["chosen"] = tuple(record.get("chosen", ()))
        known["stages"] = tuple(Stage(**s) for s in record.get("stages", ()))
        return cls(**known)
