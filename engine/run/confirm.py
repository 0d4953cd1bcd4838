"""Confirms a chosen trial on test samples that no figure of its sweep has seen: the answer to having picked the best of many.

The samples are those that `measure.held_back` kept out. A trial is evaluated on them once; asking again gives the same answer. It is kept
as a finished node, so that running the sweep again keeps it.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from engine.datasets.load import dataset_checksum, load_dataset
from engine.errors import InputError, StepError
from engine.measure.answers import Answers, answers
from engine.measure.task_metric import metric_options
from engine.quality.judged import Judged, judged
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
    if sweep.metric is None and trial.fidelity and trial.fidelity.agreement is None:
        raise InputError(
            f"{row.id} is judged by how close outputs are to the baseline's, which needs no confirming; give the data targets, and the "
            "spec a metric"
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
    samples, the code of a metric of the user's own, and the sweep that chose it.
    """
    held_back: dict[str, Any] = {"data": dataset_checksum(sweep.data), "held_back": sweep.measure.held_back}
    if sweep.metric is not None:
        held_back["metric"] = metric_options(sweep.metric)
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
    samples = data.test.held_back(sweep.measure.held_back)
    metric = metric_options(sweep.metric) if sweep.metric else None

    def said(of: Trial) -> Answers:
        return answers(artifacts.local(of.artifact or ""), samples, data, metric, **_numerics(of))[0]

    def found(own: Answers, reference: Answers | None) -> Judged:
        return judged(own, reference, samples.labels, data.classes, sweep.metric.key if sweep.metric else None, {})

    try:
        reference = said(baseline)
        before = found(reference, None)
        after = found(said(trial), reference) if trial.id != baseline.id else before
    except StepError as error:
        raise InputError(f"{sweep.id}: {error}") from None
    value = before["score"] or before["accuracy"]
    if value is None:
        raise InputError(
            f"{sweep.id}: its test images have no labels, so no accuracy can be confirmed; add y_test to the data"
        )
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Confirmation(after["accuracy"], value.value, order, when, after["score"])
