"""Users' own boards as devices: what they measured beside what a profile or the host says, and as columns of a sweep.

A board's latency is never the host's. It has an axis of its own, `--device BOARD`, on which a trial has a place once its very file was
measured there; what was measured of an earlier file of the same recipe counts no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from engine.devices.missing_demands import with_demands
from engine.devices.profiles import HOST, all_profiles
from engine.devices.projected import _Over
from engine.devices.projection import project
from engine.frontier.columns import Numbers, Trials
from engine.metrics import DEVICE_METRICS
from engine.store.artifacts import Artifacts
from engine.trials.boards import Beside, BoardRun
from engine.trials.evidence import Interval
from engine.trials.measurements import Projection
from engine.trials.metric_values import metric_interval
from engine.trials.trial import Trial


def file_digest(artifact: str, artifacts: Artifacts) -> str | None:
    """SHA-256 of an artifact's bytes, in hex; None where it is gone."""
    return hashlib.sha256(artifacts.local(artifact).read_bytes()).hexdigest() if artifacts.has(artifact) else None


def current_runs(
    runs: Iterable[BoardRun], files: Mapping[str, str | None], artifacts: Artifacts
) -> dict[str, list[BoardRun]]:
    """By trial, the measurements of the files that trials have now; `files` are the artifacts by trial."""
    found: dict[str, list[BoardRun]] = {}
    for run in runs:
        name = files.get(run.trial)
        # The same name is always the same content; under another name it may be the same content too, after an update.
        if name and (name == run.artifact or file_digest(name, artifacts) == run.sha256):
            found.setdefault(run.trial, []).append(run)
    return found


def beside(trial: Trial, run: BoardRun, artifacts: Artifacts) -> Beside:
    """What was measured of a trial on a board, beside the latency that the measurement's profile estimates for it."""
    if run.profile is None:
        return Beside(run)
    if run.profile == HOST.name:
        found = metric_interval(trial, "latency_ms")
        here = trial.timing.batch if trial.timing else 1
        if found is None:
            return Beside(run, reason="no latency was measured on the sweep’s own machine")
        if here != run.batch:
            return Beside(run, reason=f"the board ran {run.batch} images a call, the sweep’s own machine {here}")
        return _against(run, found if isinstance(found, Interval) else Interval(found, found, found))
    if run.batch != 1:
        return Beside(run, reason=f"the board ran {run.batch} images a call, profiles speak of one")
    said = _projection(trial, run.profile, artifacts)
    if isinstance(said, str):
        return Beside(run, reason=said)
    return _against(run, said)


def _projection(trial: Trial, name: str, artifacts: Artifacts) -> Interval | str:
    """The latency that a profile says, or why there is none."""
    said = trial.projections.get(name)
    if said is None:
        profile = all_profiles().get(name)
        if profile is None:
            return f"there is no profile {name} any more"
        (known,) = with_demands([trial], artifacts)
        if known.demand is None:
            return "what its file asks of a device is not known"
        said = project(profile, known.demand)
    return said.latency_ms or said.reason or f"{name} says no latency"


def _against(run: BoardRun, projected: Interval) -> Beside:
    measured = run.latency_ms.value
    error = (projected.value / measured - 1) * 100
    return Beside(run, projected, error, projected.low <= measured <= projected.high)


def with_boards(trials: Sequence[Trial], runs: Mapping[str, Sequence[BoardRun]]) -> list[Trial]:
    """The trials with what boards measured of them, by the boards' names, beside the projections onto profiles.

    Of what a board has not measured it says just that: a latency there would be measured, not estimated.
    """
    nothing = {
        board: Projection(None, None, reason=f"not measured on {board}", source="measured") for board in _boards(runs)
    }
    return [replace(t, projections=t.projections | nothing | _as_devices(runs.get(t.id, ()))) for t in trials]


def _boards(runs: Mapping[str, Sequence[BoardRun]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.board for found in runs.values() for run in found))


def _as_devices(runs: Sequence[BoardRun]) -> dict[str, Projection]:
    return {run.board: Projection(run.latency_ms, None, source="measured") for run in runs}


def on_boards(trials: Trials, runs: Mapping[str, Sequence[BoardRun]]) -> Trials:
    """As `with_boards`, of columns; as they are where no board measured anything."""
    return Trials(_OnBoards(trials, runs)) if runs else trials


class _OnBoards(_Over):
    """Other trials, some of which were measured on boards."""

    def __init__(self, whole: Trials, runs: Mapping[str, Sequence[BoardRun]]) -> None:
        super().__init__(whole)
        self._runs = runs
        self._boards = _boards(runs)

    def devices(self) -> tuple[str, ...]:
        return (*self._whole.devices, *self._boards)

    def numbers(self, key: str, device: str) -> Numbers:
        if device not in self._boards or key not in DEVICE_METRICS:
            return self._whole.numbers(key, device)
        nothing = Numbers.none(len(self))
        if key != "latency_ms":
            return nothing
        ends = np.full((len(self), 3), np.nan)
        for trial, runs in self._runs.items():
            for run in runs:
                if run.board == device and trial in self._whole.place:
                    ends[self._whole.place[trial]] = (run.latency_ms.value, run.latency_ms.low, run.latency_ms.high)
        value, low, high = ends.T
        return Numbers(value, low, high, nothing.estimated)

    def load(self, rows: Sequence[int]) -> list[Trial]:
        return with_boards(list(self._whole.take(np.asarray(rows, np.intp))), self._runs)
