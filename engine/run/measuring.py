"""What the nodes that measure a file do: what can be read off it, its answers to the test samples, and how long they take."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.datasets.load import reported
from engine.run.task import Task, dataset_of
from engine.spec.runtime import Runtime
from engine.spec.sections import LatencyOptions, Measure


def noted(note: str | None) -> dict[str, Any]:
    """What a trial is to say of the node, if anything."""
    return {"note": note} if note else {}


def facts(task: Task, output: Path) -> dict[str, Any]:
    """Sizes, counts, and what any device can be projected from."""
    from engine.graph.count_demand import graph_demand
    from engine.graph.counts import graph_facts
    from engine.graph.graph import load_onnx
    from engine.measure.size import measure_size
    from engine.measure.size_parts import external_files, measure_parts

    path = task.input()
    model, parts = load_onnx(path, several=True), measure_parts(path)
    layers = {layer: sum(roles.values()) for layer, roles in parts.by_layer.items()}
    size = asdict(measure_size(path, external_files(path)))
    demand = graph_demand(model).to_json()
    return asdict(graph_facts(model)) | size | {"size_parts": parts.by_type, "size_layers": layers, "demand": demand}


def accuracy(task: Task, output: Path) -> dict[str, Any]:
    """Answers to the test samples, which are left as the node's file."""
    from engine.measure.answers import answers
    from engine.measure.batches import batch_note
    from engine.measure.elsewhere import metric_with_exact_sums, right_with_exact_sums
    from engine.measure.machine import machine
    from engine.measure.task_metric import metric_of

    data, options = dataset_of(task.data), task.node.options
    split = reported(data.test, Measure(test_samples=options["samples"], held_back=options["held_back"]))
    said, metric_note = answers(task.input(), split, data, options.get("metric"), **_numerics(task))
    said.save(output)
    note = batch_note(task.input(), split, data.preprocessing, data.has_classes, **_numerics(task))
    elsewhere = right_with_exact_sums(task.input(), split, data.preprocessing, **_numerics(task))
    choice = metric_of(metric) if (metric := options.get("metric")) else None
    exact_score, apart = metric_with_exact_sums(task.input(), split, data, choice, **_numerics(task))
    score = None if said.scored is None else said.scored.value
    found = {"n": len(split), "right": said.right_count, "exact_right": elsewhere, "machine": asdict(machine())}
    return (
        found
        | ({} if score is None else {"score": score})
        | ({} if exact_score is None else {"exact_score": exact_score})
        | noted("; ".join(n for n in (note, metric_note, apart) if n) or None)
    )


def _numerics(task: Task) -> dict[str, Any]:
    """Options of a runtime step that may change answers."""
    return {name: task.node.options[name] for name in ("graph_optimisation", "provider") if name in task.node.options}


def latency(task: Task, output: Path) -> dict[str, Any]:
    """How long calls take in turns with the baseline, and the energy of them where a counter tells."""
    from engine.measure.energy_counter import measure_energy
    from engine.measure.latency import measure_latency
    from engine.measure.machine import machine
    from engine.measure.timed_on import timed_on

    options, runtime = LatencyOptions(**task.node.options["measure"]), Runtime(**task.node.options["runtime"])
    baseline = task.input(1) if len(task.inputs) > 1 else None
    given = timed_on(task.input(), dataset_of(task.data), options.filled(runtime).batch or 1)
    result = measure_latency(task.input(), baseline, given, options, runtime)
    energy = measure_energy(task.input(), given, options.filled(runtime))
    return result.to_json() | {"machine": asdict(machine()), "energy": energy}
