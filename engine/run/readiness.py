"""Whether the workers of a cluster elsewhere have what a sweep needs; asked of each of them before anything is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine import __version__
from engine.datasets.load import dataset_checksum
from engine.errors import SetupError
from engine.models.catalog import model_fingerprint
from engine.run.asked import Asked, Found, Labels, found_here, labelled
from engine.run.away import Away
from engine.run.carried import code_of, function_sources
from engine.run.cluster import Cluster
from engine.run.crew import Crew
from engine.run.roles import roles_of
from engine.run.same_code import revision, same_code
from engine.spec.sections import Model
from engine.spec.steps import Distill
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts


def prepared(cluster: Cluster, sweep: Sweep, artifacts: Artifacts, on_note: Callable[[str], None]) -> Cluster:
    """The cluster with its roles and what goes with every node. Raises SetupError for the first worker that lacks something."""
    asked = _asked(sweep, artifacts)
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
    labels = Labels(asked, roles.machine.fingerprint, roles.sums, roles.device)
    given = {m.address: labels.of(found[m.address].said) for m in members}
    for address, own in given.items():
        # One that has left meanwhile, or does not answer now, is asked again by the crew.
        cluster.client.run(labelled, own, workers=[address], on_error="ignore")
    crew = Crew(remote.address, [replace(m, resources=m.resources | given[m.address]) for m in members], roles, on_note)
    crew.follow(cluster.client, labels)
    return replace(cluster, machine=roles.machine, device=roles.device, away=away, crew=crew)


def _asked(sweep: Sweep, artifacts: Artifacts) -> Asked:
    teachers = {s.teacher for r in sweep.all_recipes for s in r.steps if isinstance(s, Distill)}
    models = [sweep.model, *(Model(source=t) for t in sorted(teachers - {"baseline", "previous"}))]
    return Asked(
        sweep.data,
        dataset_checksum(sweep.data),
        tuple((model, model_fingerprint(model)) for model in models),
        tuple(sorted(function_sources(sweep))),
        code_of(sweep),
        artifacts,
    )
