"""Finished nodes -> a trial: the one place where raw results become the record that is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.artifacts import Artifacts
from engine.datasets import load_dataset
from engine.devices import project
from engine.measure.accuracy import Predictions, mcnemar_midp, summarise
from engine.measure.energy import host_energy
from engine.plan import Chain, Plan
from engine.record import Interval, Latency, Machine, Projection, Stage, Trial
from engine.spec import Data
from engine.steps import Prune

# A stage must save this share of the time to count as faster; latency ratios are known to about a third of it.
_FASTER = 0.03


@lru_cache(maxsize=1)
def test_labels(data: Data) -> npt.NDArray[np.int64]:
    """Labels of the whole test split, shape (n,); raises DatasetError. Read once per process."""
    return load_dataset(data).test.labels


def assemble(plan: Plan, chain: Chain, results: Mapping[str, dict[str, Any]], artifacts: Artifacts) -> Trial:
    """The trial of a recipe whose measurements are all in `results` (node key -> result), and the baseline's too."""
    facts = results[chain.facts]
    baseline = plan.chains[0]
    predictions = _predictions(plan, chain, artifacts)
    reference = _predictions(plan, baseline, artifacts) if chain is not baseline else None
    labels = test_labels(plan.sweep.data)[: len(predictions.predicted)]
    latency = None
    if chain.latency and baseline.latency:
        latency = on_baseline_scale(results[chain.latency], results[baseline.latency]["latency_ms"]["p50"])
    projections, notes = _projections(plan, facts, latency)
    return Trial(
        id=chain.recipe.id,
        recipe=chain.recipe,
        state="done",
        accuracy=summarise(predictions, labels, reference),
        predictions=plan.nodes[chain.accuracy].artifact,
        size_bytes=facts["size_bytes"],
        size_zipped_bytes=facts["size_zipped_bytes"],
        params=facts["params"],
        nonzero_params=facts["nonzero_params"],
        macs=facts["macs"],
        stages=tuple(_stages(plan, chain, results, artifacts, labels)),
        layer_bits=results[chain.model].get("layer_bits"),
        projections=projections,
        artifact=plan.nodes[chain.model].artifact,
        notes=(*_step_notes(plan, chain, results), *notes),
        **_latency_fields(latency),
    )


def _stages(
    plan: Plan,
    chain: Chain,
    results: Mapping[str, dict[str, Any]],
    artifacts: Artifacts,
    labels: npt.NDArray[np.int64],
) -> Iterator[Stage]:
    """The way from the baseline to the recipe, all on the same images and in the same minute's milliseconds."""
    before = None
    for stage in chain.stages:
        facts, latency = results[stage.facts], None
        if stage.latency and chain.stages[0].latency:
            baseline_p50_ms = results[chain.stages[0].latency]["latency_ms"]["p50"]
            latency = on_baseline_scale(results[stage.latency], baseline_p50_ms)["latency_ms"]["p50"]
        right = _predictions(plan, stage, artifacts).predicted == labels
        yield Stage(
            steps=len(stage.recipe.steps),
            accuracy=float(right.mean()),
            p_vs_before=None if before is None else mcnemar_midp(right, before),
            size_bytes=facts["size_bytes"],
            macs=facts["macs"],
            latency_ms=latency,
        )
        before = right


def _step_notes(plan: Plan, chain: Chain, results: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """What the steps themselves have to say, and that zeros alone make nothing faster where they did not."""
    needed = plan.needed(chain)
    yield from (note for key in plan.nodes if key in needed and (note := results.get(key, {}).get("note")))
    for before, stage in zip(chain.stages, chain.stages[1:], strict=False):
        sets_zeros = any(
            isinstance(s, Prune) and s.method != "channel" for s in stage.recipe.steps[len(before.recipe.steps) :]
        )
        if not sets_zeros or not stage.latency or not before.latency:
            continue
        ratios = [results[c.latency]["latency_ratio"]["value"] for c in (before, stage) if c.latency]
        if ratios[1] > ratios[0] * (1 - _FASTER):
            facts = results[stage.facts]
            yield (
                f"{1 - facts['nonzero_params'] / facts['params']:.0%} zeros made it no faster: this runtime multiplies zeros like "
                "any other number. What they save is bytes, zipped or stored sparse by quantize."
            )


def on_baseline_scale(result: dict[str, Any], baseline_p50_ms: float) -> dict[str, Any]:
    """A latency result with its times as they would be in the minute in which the baseline itself was measured.

    Clocks go up and down with the host's load and temperature: the same file took 0.16 to 0.22 ms within one sweep of five minutes,
    which is enough to put trials in the wrong order. The ratio, taken in turns with the baseline, hardly moves (±1 %), so times are
    that ratio times the baseline's median, and the percentiles above it follow. The node's result keeps the raw samples.
    """
    ratio = result["latency_ratio"]
    p50_ms = ratio["value"] * baseline_p50_ms
    scale = p50_ms / result["latency_ms"]["p50"]
    return result | {
        "latency_ms": {name: value * scale for name, value in result["latency_ms"].items()},
        "latency_interval_ms": {end: ratio[end] * baseline_p50_ms for end in ("value", "low", "high")},
        "throughput_per_s": result["throughput_per_s"] / scale,
    }


def _device_facts(facts: dict[str, Any]) -> Any:
    """What a profile reads of a graph. One layer left in float makes it a float graph to an int8 runtime."""
    layers = [layer for layer in facts["layers"] if layer["params"]]
    return SimpleNamespace(
        macs=facts["macs"],
        params=facts["params"],
        weight_bits=max((layer["weight_bits"] for layer in layers), default=32),
        activation_bits=max((layer["activation_bits"] for layer in layers), default=32),
    )


def _predictions(plan: Plan, chain: Chain, artifacts: Artifacts) -> Predictions:
    name = plan.nodes[chain.accuracy].artifact
    assert name is not None, "accuracy nodes always leave a file"
    return Predictions.load(artifacts.local(name))


def _latency_fields(result: dict[str, Any] | None) -> dict[str, Any]:
    if result is None:
        return {}
    return {
        "latency_ms": Latency(**result["latency_ms"]),
        "latency_ratio": Interval(**result["latency_ratio"]),
        "throughput_per_s": result["throughput_per_s"],
        "peak_memory_bytes": result["peak_memory_bytes"],
        "load_ms": result["load_ms"],
        "machine": Machine(**{**result["machine"], "flags": tuple(result["machine"]["flags"])}),
    }


def _projections(
    plan: Plan, facts: dict[str, Any], latency: dict[str, Any] | None
) -> tuple[dict[str, Projection], tuple[str, ...]]:
    """What each wanted profile says of the graph, and why it says nothing where it does not."""
    found: dict[str, Projection] = {}
    notes: list[str] = []
    options = plan.sweep.measure.latency
    for profile in plan.sweep.measure.profiles:
        if profile == "host":
            if latency and options:
                machine = Machine(**{**latency["machine"], "flags": tuple(latency["machine"]["flags"])})
                interval = Interval(**latency["latency_interval_ms"])
                per_image = Interval(*(v / options.batch for v in (interval.value, interval.low, interval.high)))
                found["host"] = Projection(None, host_energy(per_image, options.threads, machine))
            continue
        projection, reason = project(profile, _device_facts(facts))
        if projection:
            found[profile] = projection
        if reason:
            notes.append(f"{profile}: {reason}")
    return found, tuple(notes)
