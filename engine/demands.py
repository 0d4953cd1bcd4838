"""What trials ask of a device, read off their files where their records do not say it: those of sweeps from before it was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.artifacts import Artifacts
from engine.errors import ParetoscopeError
from engine.record import Trial


def with_demands(trials: Sequence[Trial], artifacts: Artifacts) -> tuple[Trial, ...]:
    """The trials, each with its `demand` where its record or its file gives it; nothing is guessed for a file that is gone."""
    return tuple(t if t.demand is not None or t.artifact is None else _read(t, artifacts) for t in trials)


def _read(trial: Trial, artifacts: Artifacts) -> Trial:
    # Not at the top: importing onnx takes a third of a second, and new sweeps never come here.
    from engine.onnx_demand import graph_demand
    from engine.onnx_graph import load_onnx

    assert trial.artifact is not None, "the caller has looked"
    try:
        if not artifacts.has(trial.artifact):
            return trial
        return replace(trial, demand=graph_demand(load_onnx(artifacts.local(trial.artifact))))
    except ParetoscopeError:
        # A damaged file is told of where it is exported or measured; here it is only not known.
        return trial
