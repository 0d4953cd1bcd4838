"""Confirms a chosen trial on test images that no figure of its sweep has seen: the answer to having picked the best of many.

The images are those that `measure.held_back` kept out. A trial is evaluated on them once; asking again gives the same answer. It is kept as
a finished node, so that running the sweep again keeps it.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from engine.datasets.load import dataset_checksum, load_dataset
from engine.errors import InputError
from engine.measure.accuracy import predict
from engine.quality.predictions import Predictions
from engine.quality.scores import accuracy
from engine.spec.canonical import digest
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.rows import NodeRow
from engine.store.store import Store
from engine.trials.evidence import Confirmation
from engine.trials.trial import Trial


def confirm_trial(store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str) -> Trial:
    """The trial with its confirmation, which is stored with it.

    Raises NotFoundError for an unknown sweep, trial or artifact, and InputError for a sweep that is running or held nothing back, and for a
    trial that is not measured or has no labels to be measured against.
    """
    row = store.sweep(sweep_ref)
    sweep, trial, trials = store.spec(row.id), store.trial(row.id, trial_id), store.trials(row.id)
    baseline = trials[0]
    if not sweep.measure.held_back:
        raise InputError(
            f"{row.id} held no test images back; write `measure: {{held_back: 0.2}}` into the spec and run it: what is measured "
            "already has seen all of them"
        )
    if row.state == "running":
        raise InputError(f"{row.id} is still running; confirm a trial when it is done")
    if trial.state != "done" or trial.artifact is None or baseline.artifact is None:
        raise InputError(
            f"trial {trial.id} ({trial.label}) has no measured model to confirm: {trial.error or trial.state}"
        )
    if sweep.metric is not None or (trial.fidelity and trial.fidelity.agreement is None):
        raise InputError(
            f"{row.id} is judged by {sweep.metric.title if sweep.metric else 'how close outputs are to the baseline'}; only accuracy can "
            "be confirmed on held-back samples as yet"
        )
    if trial.confirmation:
        return trial
    others = sum(t.confirmation is not None for t in trials)
    started = time.monotonic()
    found = _evaluate(sweep, trial, baseline, artifacts, others + 1)
    key = confirmation_key(sweep, trial)
    store.save_node(NodeRow(key, "confirm", 0.0, time.monotonic() - started, asdict(found)))
    confirmed = replace(trial, confirmation=found)
    store.save_trial(row.id, confirmed)
    return confirmed


def confirmation_key(sweep: Sweep, trial: Trial) -> str:
    """The key under which the confirmation of a trial is stored (SHA-256): its file, how that is run where it may change answers, the
    images, and the sweep that chose it.
    """
    held_back = {"data": dataset_checksum(sweep.data), "held_back": sweep.measure.held_back}
    return digest({"kind": "confirm", "sweep": sweep.id, "artifact": trial.artifact} | held_back | _numerics(trial))


def _numerics(trial: Trial) -> dict[str, Any]:
    """Options of the trial's runtime that may change answers."""
    return trial.recipe.runtime.numerics if trial.recipe.runtime else {}


def with_confirmation(sweep: Sweep, trial: Trial, store: Store) -> Trial:
    """A trial that was assembled anew, with the confirmation that an earlier run of its sweep was given."""
    if not sweep.measure.held_back or trial.state != "done":
        return trial
    key = confirmation_key(sweep, trial)
    row = store.nodes([key]).get(key)
    return replace(trial, confirmation=Confirmation.from_json(row.result)) if row else trial


def _evaluate(sweep: Sweep, trial: Trial, baseline: Trial, artifacts: Artifacts, order: int) -> Confirmation:
    data = load_dataset(sweep.data)
    images = data.test.held_back(sweep.measure.held_back)

    def predictions(of: Trial) -> Predictions:
        path = artifacts.local(of.artifact or "")
        return predict(path, images, data.preprocessing, len(data.classes), **_numerics(of))

    reference = predictions(baseline)
    own = None if trial.id == baseline.id else predictions(trial)
    found = accuracy(own or reference, images.labels, reference if own else None)
    before = accuracy(reference, images.labels, None)
    if found is None or before is None:
        raise InputError(
            f"{sweep.id}: its test images have no labels, so no accuracy can be confirmed; add y_test to the data"
        )
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Confirmation(found, before.value, order, when)
