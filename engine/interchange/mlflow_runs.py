"""A sweep as runs of MLflow: one for each trial, below one for the sweep. Publishing again brings them up to date and makes none twice.

A run is found again by its tags `paretoscope.sweep` and `paretoscope.trial`; `paretoscope.record` is a digest of what was published,
written last, so that what was interrupted is made good by the next time.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine import __version__
from engine.datasets.load import load_dataset, reported
from engine.errors import InputError, SetupError
from engine.export.bundle import recipe_yaml
from engine.export.card import card
from engine.export.recorded import draw_sample
from engine.interchange.flat import numbers, recipe_options
from engine.measure.session import one_line
from engine.spec.canonical import digest
from engine.spec.read import stated_yaml
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_SWEEP, _TRIAL, _RECORD = "paretoscope.sweep", "paretoscope.trial", "paretoscope.record"
_MODEL = "paretoscope.model"
# What MLflow allows in names of parameters and numbers, and in one call.
_NOT_ALLOWED = re.compile(r"[^\w.\-/ ]")
_AT_ONCE = {"params": 100, "metrics": 1000}
_STATUS = {"done": "FINISHED", "failed": "FAILED"}


@dataclass
class Published:
    """What was done: ids of MLflow's runs by trial. `changed`: those that were there and had something new to say.

    `left_out`: trials that are not measured yet. `notes`: what could not be published of them, in words.
    """

    uri: str
    experiment: str
    sweep_run: str
    made: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    unchanged: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def publish(
    store: Store,
    artifacts: Artifacts,
    sweep_ref: str,
    uri: str | None = None,
    experiment: str | None = None,
    models: bool = False,
) -> Published:
    """Bring MLflow's runs of a sweep up to date; `uri` and `experiment` are MLflow's own, its usual ones and the sweep's name by default.

    `models`: with each trial's ONNX file. Raises InputError for an unknown sweep, one without a measured trial, or a server that does
    not answer, SetupError where MLflow is not installed.
    """
    row = store.sweep(sweep_ref)
    sweep, trials = store.spec(row.id), store.trials(row.id)
    if not any(t.state == "done" for t in trials):
        raise InputError(f"{row.id} has no measured trial yet; run it first (`paretoscope run SPEC.yaml`)")
    client, told = _client(uri)
    from mlflow.exceptions import MlflowException

    try:
        return _Publisher(client, told, artifacts, sweep, trials, experiment or row.name, models).publish()
    except MlflowException as error:
        raise InputError(
            f"MLflow at {told}: {one_line(error).split(' Please ')[0].rstrip('.')}; see --tracking-uri, such as sqlite:///mlflow.db or "
            "http://HOST:5000"
        ) from None


def _client(uri: str | None) -> tuple[MlflowClient, str]:
    """MLflow's client, and where it keeps what it is told. It is asked to tell its makers nothing, and to give up soon."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise SetupError("publishing to MLflow takes its package; run pip install 'paretoscope[mlflow]'") from None
    # It sets up its own logs as it is loaded.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    told = uri or str(mlflow.get_tracking_uri())
    try:
        return MlflowClient(tracking_uri=told), told
    except (MlflowException, ValueError) as error:
        raise InputError(
            f"--tracking-uri {told}: {one_line(error).split(' Please ')[0].rstrip('.')}; such as sqlite:///mlflow.db or http://HOST:5000"
        ) from None


class _Publisher:
    """One publication of one sweep."""

    def __init__(
        self,
        client: MlflowClient,
        uri: str,
        artifacts: Artifacts,
        sweep: Sweep,
        trials: Sequence[Trial],
        experiment: str,
        models: bool,
    ) -> None:
        self.client, self.artifacts, self.sweep, self.trials, self.models = client, artifacts, sweep, trials, models
        self.experiment = self._experiment(experiment)
        self.there = self._runs()
        own = self.there.get("")
        self.parent = own.info.run_id if own else self._make(sweep.name, {_SWEEP: sweep.id, _TRIAL: ""})
        self.done = Published(uri, experiment, self.parent)
        self.card = self._cards()

    def publish(self) -> Published:
        tags = {"paretoscope.version": __version__, "paretoscope.model": self.sweep.model.source}
        self._tell(self.parent, {}, {"model": self.sweep.model.source, "data": self.sweep.data.source}, tags)
        self.client.log_text(self.parent, stated_yaml(self.sweep), "spec.yaml")
        for trial, measured in zip(self.trials, numbers(self.trials), strict=True):
            if trial.state in _STATUS:
                self._trial(trial, measured)
            else:
                self.done.left_out.append(trial.id)
        self.client.set_terminated(self.parent, "FINISHED")
        return self.done

    def _trial(self, trial: Trial, measured: Mapping[str, float]) -> None:
        record, found = digest(trial.to_json()), self.there.get(trial.id)
        run, old = (found.info.run_id, found.data) if found else (None, None)
        models = self.models and trial.artifact is not None
        if run and old and old.tags.get(_RECORD) == record and (not models or _MODEL in old.tags):
            self.done.unchanged[trial.id] = run
            return
        own = {_SWEEP: self.sweep.id, _TRIAL: trial.id, "mlflow.parentRunId": self.parent}
        (self.done.changed if run else self.done.made)[trial.id] = run = run or self._make(trial.label, own)
        # What is not measured any more is no number any more; MLflow keeps the one of before in the history.
        gone = dict.fromkeys(set(old.metrics if old else ()) - {_named(k) for k in measured}, math.nan)
        self._tell(run, {**measured, **gone}, recipe_options(trial.recipe), _tags(trial))
        self.client.log_text(run, recipe_yaml(trial.recipe, self.sweep), "recipe.yaml")
        if trial.state == "done" and self.card:
            self.client.log_text(run, self.card(trial), "card.md")
        if models and trial.artifact:
            self.client.log_artifact(run, str(self.artifacts.local(trial.artifact)))
            self.client.set_tag(run, _MODEL, trial.artifact)
        self.client.set_terminated(run, _STATUS[trial.state])
        self.client.set_tag(run, _RECORD, record)

    def _tell(self, run: str, measured: Mapping[str, float], told: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        metrics = [Metric(_named(k), v, now, 0) for k, v in measured.items()]
        params = [Param(_named(k), str(v)) for k, v in told.items()]
        for start in range(0, max(len(metrics), 1), _AT_ONCE["metrics"]):
            self.client.log_batch(run, metrics=metrics[start : start + _AT_ONCE["metrics"]])
        for start in range(0, len(params), _AT_ONCE["params"]):
            self.client.log_batch(run, params=params[start : start + _AT_ONCE["params"]])
        self.client.log_batch(run, tags=[RunTag(k, v) for k, v in tags.items()])

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            return str(self.client.create_experiment(name))
        if found.lifecycle_stage != "active":
            raise InputError(
                f"MLflow's experiment {name!r} was deleted; restore it there, or give another --experiment"
            )
        return str(found.experiment_id)

    def _runs(self) -> dict[str, Run]:
        """The runs of this sweep by trial, that of the sweep itself under an empty name."""
        found: dict[str, Run] = {}
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.experiment], f"tags.`{_SWEEP}` = '{self.sweep.id}'", max_results=1000, page_token=token
            )
            found |= {r.data.tags.get(_TRIAL, ""): r for r in page}
            token = page.token
            if not token:
                return found

    def _make(self, name: str, tags: dict[str, str]) -> str:
        return str(self.client.create_run(self.experiment, tags=tags, run_name=name).info.run_id)

    def _cards(self) -> Callable[[Trial], str] | None:
        """How a card is written; None, with a note, where the data cannot be read."""
        try:
            dataset = load_dataset(self.sweep.data)
        except InputError as error:
            self.done.notes.append(f"no cards, since the data cannot be read: {one_line(error)}")
            return None
        sample = len(draw_sample(reported(dataset.test, self.sweep.measure)))
        return lambda trial: card(trial, self.sweep, dataset, self.trials[0], sample, __version__)


def _named(key: str) -> str:
    return _NOT_ALLOWED.sub("_", key)


def _tags(trial: Trial) -> dict[str, str]:
    """What a trial is, as texts: ids, hashes, the machine."""
    found = {
        "paretoscope.label": trial.label,
        "paretoscope.provenance": trial.provenance,
        "paretoscope.artifact": trial.artifact or "",
        "paretoscope.machine": trial.machine.label if trial.machine else "",
        "paretoscope.machine_fingerprint": trial.machine.fingerprint if trial.machine else "",
        "mlflow.note.content": trial.error or "",
    }
    return {name: text for name, text in found.items() if text}
