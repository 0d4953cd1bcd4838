"""Whether the workers of a cluster elsewhere have what a sweep needs; asked of each of them before anything is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from engine import __version__
from engine.datasets.load import dataset_checksum
from engine.datasets.user_function import load_function
from engine.errors import ParetoscopeError, SetupError
from engine.measure.machine import integer_sums, machine
from engine.models.catalog import model_fingerprint
from engine.run.away import Away
from engine.run.carried import code_of, function_sources
from engine.run.cluster import Cluster
from engine.run.crew import Crew, Introduced, introduced
from engine.run.roles import roles_of
from engine.run.same_code import revision, same_code
from engine.spec.sections import Data, Model
from engine.spec.sent_code import SentCode, in_use
from engine.spec.steps import Distill
from engine.spec.sweep import Sweep


@dataclass(frozen=True)
class Asked:
    """What a worker is to have: files by what they are, with their SHA-256, and functions; `code` is what it is given."""

    data: Data
    checksum: str
    models: tuple[tuple[Model, str], ...]
    functions: tuple[str, ...]
    code: SentCode | None


@dataclass(frozen=True)
class Found:
    """A worker's answer: what it lacks, in one line, or None; and what it is."""

    lacks: str | None
    said: Introduced


def prepared(cluster: Cluster, sweep: Sweep, on_note: Callable[[str], None]) -> Cluster:
    """The cluster with its roles and what goes with every node. Raises SetupError for the first worker that lacks something."""
    asked = _asked(sweep)
    for worker, answer in cluster.client.run(same_code, revision(), on_error="return").items():
        if isinstance(answer, BaseException):
            why = str(answer).splitlines()[0] if str(answer) else type(answer).__name__
            raise SetupError(
                f"worker {worker}: has no Paretoscope that this one can talk to ({why}); install version {__version__} there"
            )
        if answer is not None:
            raise SetupError(f"worker {worker}: {answer}")
    found: dict[str, Found] = {}
    for worker, answer in cluster.client.run(found_here, asked, on_error="return").items():
        if isinstance(answer, BaseException) or answer.lacks:
            raise SetupError(f"worker {worker}: {answer if isinstance(answer, BaseException) else answer.lacks}")
        found[worker] = answer
    stated = cluster.client.scheduler_info(n_workers=-1)["workers"]
    resources = {worker: dict(stated[worker].get("resources", {})) for worker in found if worker in stated}
    members = [found[w].said.member(w, resources[w]) for w in sorted(resources)]
    roles = roles_of(members)
    if roles.note:
        on_note(f"note: {roles.note}")
    away = Away(roles.machine.fingerprint, roles.machine.cpu, roles.sums, asked.checksum, asked.code, revision())
    remote: Any = cluster.client.scheduler
    crew = Crew(remote.address, members, roles, on_note)
    crew.follow(cluster.client, revision())
    return replace(cluster, machine=roles.machine, device=roles.device, away=away, crew=crew)


def _asked(sweep: Sweep) -> Asked:
    teachers = {s.teacher for r in sweep.all_recipes for s in r.steps if isinstance(s, Distill)}
    models = [sweep.model, *(Model(source=t) for t in sorted(teachers - {"baseline", "previous"}))]
    return Asked(
        sweep.data,
        dataset_checksum(sweep.data),
        tuple((model, model_fingerprint(model)) for model in models),
        tuple(sorted(function_sources(sweep))),
        code_of(sweep),
    )


def found_here(asked: Asked) -> Found:
    """Of a worker: whether it finds the same data, networks and functions, and what machine it is."""
    try:
        with in_use(asked.code):
            lacks = _lacks(asked)
        return Found(lacks, introduced())
    except ParetoscopeError as error:
        return Found(str(error), Introduced(machine(), integer_sums(machine()), "cpu"))


def _lacks(asked: Asked) -> str | None:
    try:
        own = dataset_checksum(asked.data)
    except ParetoscopeError as error:
        return f"{error} (the data lie under the same path on every host)"
    if own != asked.checksum:
        return _differs(f"data {asked.data.source}", own, asked.checksum)
    for model, expected in asked.models:
        try:
            own = model_fingerprint(model)
        except ParetoscopeError as error:
            return f"{error} (files of networks lie under the same path on every host)"
        if own != expected:
            return _differs(f"model {model.source}", own, expected)
    for source in asked.functions:
        # Runs the file, as a node would, so that a library that it imports is missed now.
        load_function(source, "function", SetupError)
    return None


def _differs(what: str, there: str, here: str) -> str:
    return f"{what} is not what the run was started with (SHA-256 {there[:12]}… there, {here[:12]}… here); copy it there again"
