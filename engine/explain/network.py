"""A trial's network as a graph, and what became of its layers in another trial's: of the files themselves, with nothing run but one blank
sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import InputError, NotFoundError
from engine.graph.graph_difference import Difference, box_row, graph_difference
from engine.graph.layer_graph import LayerGraph
from engine.spec.recipe import Recipe
from engine.spec.steps import SELF, Distill
from engine.store.artifacts import Artifacts
from engine.trials.trial import Trial


def network(trial: Trial, artifacts: Artifacts, fold: bool = True) -> LayerGraph:
    """The graph of a trial's file; without `fold` a box for every node.

    Raises InputError for a trial without a file, NotFoundError for one whose file is gone, ModelError for a damaged one.
    """
    if trial.artifact is None:
        raise InputError(f"trial {trial.id} ({trial.label}) has no file to look into: {trial.error or trial.state}")
    if not artifacts.has(trial.artifact):
        raise NotFoundError(f"the file of trial {trial.id} ({trial.label}) is gone; run the sweep again to make it")
    return graph_of_file(artifacts.local(trial.artifact), fold)


def graph_of_file(path: Path, fold: bool = True) -> LayerGraph:
    """The graph of an ONNX file; raises ModelError for a damaged one."""
    # onnx and onnxruntime take a while to load, and only this needs them.
    from engine.graph.count_layer_graph import layer_graph
    from engine.graph.graph import read_onnx
    from engine.measure.size_parts import measure_parts

    return layer_graph(read_onnx(path), {n: sum(b.values()) for n, b in measure_parts(path).by_layer.items()}, fold)


def names_hold(first: Recipe, second: Recipe) -> bool:
    """Whether a layer's name means the same layer in both: not where one is of a student that was built anew and the other is not, whose
    layers are numbered alike and are others.
    """
    return _origin(first) == _origin(second)


def _origin(recipe: Recipe) -> tuple[str, float, int | None]:
    """What network's layers a recipe's are; another width leaves them what they are."""
    fresh = [step for step in recipe.steps if isinstance(step, Distill) and step.is_fresh]
    return (fresh[-1].student, fresh[-1].depth, fresh[-1].repeats) if fresh else (SELF, 1.0, None)


def network_difference(first: Trial, second: Trial, artifacts: Artifacts) -> Difference:
    """What became of each layer of the first trial's network in the second's; raises as `network`."""
    one, other = network(first, artifacts), network(second, artifacts)
    return difference_of_graphs(one, other, first.recipe, second.recipe)


def difference_of_graphs(one: LayerGraph, other: LayerGraph, first: Recipe, second: Recipe) -> Difference:
    """The difference of two networks of which it is known how they were made."""
    return graph_difference(one, other, names_hold(first, second))


def layer_times(why: Mapping[str, Any], of_baseline: bool = False) -> dict[str, float]:
    """Milliseconds per sample by layer, from what `paretoscope why` has found; what is no layer's own is left out."""
    side = "baseline_ms" if of_baseline else "trial_ms"
    return {row["name"]: row[side] for row in why["by_layer"] if row["name"] and row[side] is not None}


def layer_similarity(layers: Mapping[str, Any]) -> dict[str, float]:
    """How like the baseline's each layer's output is, in decibels of signal to noise, infinite where it is the same, by name, as
    `paretoscope layers` found it; without those that have none.
    """
    found = {row["name"]: math.inf if row["exact"] else row["sqnr_db"] for row in layers["layers"]}
    return {name: ratio for name, ratio in found.items() if ratio is not None}


def network_rows(graph: LayerGraph) -> list[dict[str, Any]]:
    """The graph as a table, a row for each box that computes."""
    return [
        {"layer": box.title, "operator": box.op_type, **box_row(box), "inside": box.inside or None}
        for box in graph.boxes
        if box.kind == "operator"
    ]


def network_json(graph: LayerGraph) -> dict[str, Any]:
    """The graph as JSON: boxes with their numbers, edges by position among them."""
    boxes = [{"kind": box.kind, "layer": box.title, "operator": box.op_type, **box_row(box)} for box in graph.boxes]
    return {"boxes": boxes, "edges": [list(edge) for edge in graph.edges], "notes": list(graph.notes)}
