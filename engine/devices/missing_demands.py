"""What trials ask of a device, read off their files where their records do not say it: those of sweeps from before it was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.errors import ParetoscopeError
from engine.graph.demand import Demand
from engine.store.artifacts import Artifacts
from engine.trials.trial import Trial


def with_demands(trials: Sequence[Trial], artifacts: Artifacts) -> tuple[Trial, ...]:
    """The trials, each with its `demand` where its record or its file gives it; nothing is guessed for a file that is gone."""
    return tuple(
        t if t.demand is not None or t.artifact is None else replace(t, demand=demand_of_file(t.artifact, artifacts))
        for t in trials
    )


def demand_of_file(name: str, artifacts: Artifacts) -> Demand | None:
    """What an artifact's ONNX file asks of a device; None where it is gone or damaged."""
    # Not at the top: importing onnx takes a third of a second, and new sweeps never come here.
    from engine.graph.count_demand import graph_demand
    from engine.graph.graph import load_onnx

    try:
        return graph_demand(load_onnx(artifacts.local(name), several=True)) if artifacts.has(name) else None
    except ParetoscopeError:
        # A damaged file is told of where it is exported or measured; here it is only not known.
        return None
