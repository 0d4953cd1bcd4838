"""Finished nodes -> a trial: the one place where raw results become the record that is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.datasets.load import load_dataset, reported
from engine.devices.projection import project
from engine.graph.demand import Demand
from engine.measure.energy import host_energy
from engine.measure.energy_counter import counted_energy
from engine.quality.judged import judged, load_answers
from engine.quality.predictions import Predictions
from engine.quality.statistics import mcnemar_midp
from engine.quality.values import Values
from engine.run.plan import Chain, Plan
from engine.spec.providers import provider_of
from engine.spec.sections import Data, Measure
from engine.spec.steps import Prune
from engine.store.artifacts import Artifacts
from engine.trials.evidence import Accuracy, Interval, Score, SeedRun, Seeds
from engine.trials.measurements import Latency, Machine, Projection, Timing
from engine.trials.text import placement_texts
from engine.trials.trial import Stage, Trial

# A stage must save this share of the time to count as faster; latency ratios are known to about a third of it.
_FASTER = 0.03


@lru_cache(maxsize=2)  # of the sweep, and of its recipes in short
def reported_labels(
    data: Data, measure: Measure
) -> tuple[npt.NDArray[np.int64], tuple[str, ...], Mapping[str, npt.NDArray[Any]]]:
    """Of the test images that a sweep is measured on: labels (n,), the classes' names, and slices (n,) by name; raises DatasetError.

    Read once per process.
    """
    dataset = load_dataset(data)
    split = reported(dataset.test, measure)
    return split.labels, dataset.classes, split.slices


def assemble(plan: Plan, chain: Chain, results: Mapping[str, dict[str, Any]], artifacts: Artifacts) -> Trial:
    """The trial of a recipe whose measurements are all in `results` (node key -> result), and the baseline's too."""
    facts = results[chain.facts]
    baseline = plan.chains[0]
    labels, classes, slices = reported_labels(plan.sweep.data, plan.sweep.measure)
    answers = _answers(plan, chain, artifacts, classes)
    reference = _answers(plan, baseline, artifacts, classes) if chain is not baseline else None
    key = plan.sweep.metric.key if plan.sweep.metric else None
    found = judged(answers, reference, labels, classes, key, slices)
    found["accuracy"] = _accuracy(found["accuracy"], results[chain.accuracy])
    found["score"] = _score(found["score"], results[chain.accuracy])
    latency, elsewhere = _latency(chain, baseline, results)
    demand = Demand.from_json(facts["demand"])
    projections, notes = _projections(plan, demand, latency)
    return Trial(
        id=chain.recipe.id,
        recipe=chain.recipe,
        state="done",
        **found,
        seeds=_seeds(plan, chain, results),
        predictions=plan.nodes[chain.accuracy].artifact,
        size_bytes=facts["size_bytes"],
        size_zipped_bytes=facts["size_zipped_bytes"],
        size_parts=facts["size_parts"],
        size_layers=facts["size_layers"],
        params=facts["params"],
        nonzero_params=facts["nonzero_params"],
        macs=facts["macs"],
        stages=tuple(_stages(plan, chain, results, artifacts, classes)),
        demand=demand,
        layer_bits=results[chain.model].get("layer_bits"),
        chosen=tuple(results[chain.model].get("chosen", ())),
        projections=projections,
        artifact=plan.nodes[chain.model].artifact,
        notes=(*_step_notes(plan, chain, results), *notes, *elsewhere),
        **({"machine": Machine.from_json(results[chain.accuracy]["machine"])} | _latency_fields(latency)),
    )


def _accuracy(found: Accuracy | None, result: Mapping[str, Any]) -> Accuracy | None:
    """With what it is where sums are exact, if it was counted where they saturate."""
    right = result.get("exact_right")
    return found if found is None or right is None else replace(found, exact_sums=right / found.n)


def _score(found: Score | None, result: Mapping[str, Any]) -> Score | None:
    """As `_accuracy`, of the spec's own metric."""
    return found if found is None else replace(found, exact_sums=result.get("exact_score"))


def _seeds(plan: Plan, chain: Chain, results: Mapping[str, dict[str, Any]]) -> Seeds | None:
    """What every seed gave; None for a recipe of one, and where there is nothing to be right about."""
    runs, metric = (chain, *chain.replicas), plan.sweep.metric
    values = [_judged(results[c.accuracy], metric is not None) for c in runs]
    if len(runs) == 1 or None in values:
        return None
    return Seeds.of(
        tuple(
            SeedRun(
                seed=c.seed,
                accuracy=value or 0.0,
                size_bytes=results[c.facts]["size_bytes"],
                artifact=plan.nodes[c.model].artifact or "",
            )
            for c, value in zip(runs, values, strict=True)
        ),
        metric.key if metric else "accuracy",
    )


def _judged(result: Mapping[str, Any], by_metric: bool) -> float | None:
    """What an accuracy node says of how good a file is."""
    if by_metric:
        return result.get("score")
    return None if result["right"] is None else result["right"] / result["n"]


def _latency(
    chain: Chain, baseline: Chain, results: Mapping[str, dict[str, Any]]
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """A recipe's latency on the baseline's scale; None, with the reason as a note, where another machine measured it."""
    if not chain.latency or not baseline.latency:
        return None, ()
    own, reference = results[chain.latency], results[baseline.latency]
    if own["machine"]["fingerprint"] != reference["machine"]["fingerprint"]:
        where, there = Machine.from_json(own["machine"]), Machine.from_json(reference["machine"])
        return None, (
            f"latency left out: it was measured on {where.label}, the baseline's on {there.label}, and times of two machines are "
            "never put on one axis; run the sweep again with workers on one machine",
        )
    return on_baseline_scale(own, reference["latency_ms"]["p50"]), ()


def _stages(
    plan: Plan,
    chain: Chain,
    results: Mapping[str, dict[str, Any]],
    artifacts: Artifacts,
    classes: tuple[str, ...],
) -> Iterator[Stage]:
    """The way from the baseline to the recipe, all on the same images and in the same minute's milliseconds."""
    before = None
    for stage in chain.stages:
        facts, latency_ms = results[stage.facts], None
        latency, _ = _latency(stage, chain.stages[0], results)
        if latency and chain.stages[0].latency:
            # For as many images as a call of the baseline has, whatever the stage's own batch.
            latency_ms = latency["latency_ratio"]["value"] * results[chain.stages[0].latency]["latency_ms"]["p50"]
        answers = _answers(plan, stage, artifacts, classes)
        right = answers.right if isinstance(answers, Predictions) else None
        yield Stage(
            steps=len(stage.recipe.steps),
            accuracy=None if right is None else float(right.mean()),
            p_vs_before=None if before is None or right is None else mcnemar_midp(right, before),
            size_bytes=facts["size_bytes"],
            macs=facts["macs"],
            latency_ms=latency_ms,
            score=None if answers.scored is None else answers.scored.value,
        )
        before = right


def _step_notes(plan: Plan, chain: Chain, results: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """What the steps themselves have to say, and that zeros alone make nothing faster where they did not."""
    needed = plan.needed(chain)
    if old := needed & plan.old:
        yield f"{len(old)} of its {len(needed)} steps and measurements were made by an earlier version of Paretoscope and kept as asked."
    yield from (note for key in plan.nodes if key in needed and (note := results.get(key, {}).get("note")))
    latency = results[chain.latency] if chain.latency else {}
    if len(latency.get("placement", {})) > 1:
        # A network that runs wholly where it was sent needs no note.
        yield placement_texts(latency["runtime"]["provider"], latency["placement"])[0]
    for before, stage in zip(chain.stages, chain.stages[1:], strict=False):
        sets_zeros = any(
            isinstance(s, Prune) and not s.is_smaller for s in stage.recipe.steps[len(before.recipe.steps) :]
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
    # The ratio is per image, the times are of a call.
    call_ms = baseline_p50_ms * result["runtime"]["batch"] / result["baseline_runtime"]["batch"]
    p50_ms = ratio["value"] * call_ms
    scale = p50_ms / result["latency_ms"]["p50"]
    return result | {
        "latency_ms": {name: value * scale for name, value in result["latency_ms"].items()},
        "latency_interval_ms": {end: ratio[end] * call_ms for end in ("value", "low", "high")},
        "throughput_per_s": result["throughput_per_s"] / scale,
    }


def _answers(plan: Plan, chain: Chain, artifacts: Artifacts, classes: tuple[str, ...]) -> Predictions | Values:
    name = plan.nodes[chain.accuracy].artifact
    assert name is not None, "accuracy nodes always leave a file"
    return load_answers(artifacts.local(name), classes)


def _latency_fields(result: dict[str, Any] | None) -> dict[str, Any]:
    if result is None:
        return {}
    return {
        "latency_ms": Latency(**result["latency_ms"]),
        "latency_ratio": Interval(**result["latency_ratio"]),
        "throughput_per_s": result["throughput_per_s"],
        "peak_memory_bytes": result["peak_memory_bytes"],
        "load_ms": result["load_ms"],
        "timing": _timing(result),
        "machine": Machine.from_json(result["machine"]),
    }


def _timing(result: dict[str, Any]) -> Timing:
    same = ("stopped", "half_width", "blocks", "disturbed_blocks", "first_run_ms", "arena_bytes")
    return Timing(
        **result["runtime"],
        baseline_batch=result["baseline_runtime"]["batch"],
        cpus=tuple(result["cpus"]),
        processes=len(result["processes"]),
        placement=result.get("placement", {}),
        **{name: result[name] for name in same},
    )


def _projections(
    plan: Plan, demand: Demand, latency: dict[str, Any] | None
) -> tuple[dict[str, Projection], tuple[str, ...]]:
    """What each wanted profile says of the graph, and why it says nothing where it does not."""
    found: dict[str, Projection] = {}
    notes: list[str] = []
    for profile in plan.sweep.measure.profiles:
        if profile == "host":
            if latency:
                machine, runtime = Machine.from_json(latency["machine"]), latency["runtime"]
                interval = Interval(**latency["latency_interval_ms"])
                per_image = Interval(*(v / runtime["batch"] for v in (interval.value, interval.low, interval.high)))
                counted, energy = latency.get("energy"), None
                if counted:
                    energy = counted_energy(counted, runtime["batch"])
                elif provider_of(runtime["provider"]).computes_on == "processor":
                    energy = host_energy(per_image, runtime["threads"], machine)
                else:
                    # What a processor's cores draw says nothing of a card.
                    notes.append(
                        f"energy left out: no counter of what {runtime['provider']} computes on can be read here; for a graphics card of "
                        "NVIDIA's run `pip install nvidia-ml-py`"
                    )
                found["host"] = Projection(None, energy)
            continue
        found[profile] = project(profile, demand)
        if reason := found[profile].reason:
            notes.append(f"{profile}: {reason}")
    return found, tuple(notes)
