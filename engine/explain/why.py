"""Why is a trial not faster? Profiled when it is asked, and kept.

`kept_why` looks for an answer that is there already; it reads the store alone, so a web server may call it.
"""

from __future__ import annotations

from typing import Any

from engine.errors import InputError
from engine.explain.advice import explain
from engine.explain.cached_answers import kept, known, measured_pair
from engine.measure.machine import machine
from engine.measure.providers import brought_by
from engine.spec.runtime import Runtime
from engine.spec.sections import LatencyOptions
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.slice_texts import worst_text
from engine.trials.trial import Trial


def why(store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str) -> dict[str, Any]:
    """`diagnose.Why` of a trial as JSON, with its label; profiled here, once for each pair of files and machine.

    `slices`: where it is worst, in words, of data with slices.

    Raises NotFoundError or InputError.
    """
    from engine.measure.operators import profile_pair

    sweep, trial, baseline = measured_pair(store, sweep_ref, trial_id)
    if trial.id == baseline.id:
        raise InputError(f"trial {trial.id} is the baseline itself; ask about one of the others")

    def work() -> dict[str, Any]:
        names = [trial.artifact or "", baseline.artifact or ""]
        profiles = profile_pair([artifacts.local(name) for name in names], _runtimes(sweep, trial))
        return explain(profiles[0], profiles[1], machine().flags).to_json()

    return _about(trial) | kept(store, "why", _why_parts(sweep, trial, baseline), work)


def kept_why(store: Store, sweep: Sweep, trial: Trial, baseline: Trial) -> dict[str, Any] | None:
    """What `why` has found on this machine; None where it was not asked yet."""
    found = known(store, "why", _why_parts(sweep, trial, baseline))
    return None if found is None else _about(trial) | found


def _about(trial: Trial) -> dict[str, Any]:
    slices = worst_text(trial.slices) if trial.slices else ""
    return {"trial": trial.id, "label": trial.label, "machine": machine().label} | (
        {"slices": slices} if slices else {}
    )


def _runtimes(sweep: Sweep, trial: Trial) -> list[Runtime]:
    """How the trial and how the baseline is run, every option stated."""
    latency = sweep.measure.latency or LatencyOptions()
    return [latency.filled(trial.recipe.runtime), latency.filled(None)]


def _why_parts(sweep: Sweep, trial: Trial, baseline: Trial) -> dict[str, Any]:
    runtimes = _runtimes(sweep, trial)
    return {
        "files": [trial.artifact or "", baseline.artifact or ""],
        "runtimes": [r.options for r in runtimes],
        "machine": machine().fingerprint,
        **brought_by(runtimes[0].provider, machine()),
    }
