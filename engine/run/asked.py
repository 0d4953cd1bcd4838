"""What a worker of a cluster elsewhere is to have for a run, and what it answers; the same for those of the beginning and for newcomers."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.datasets.load import dataset_checksum
from engine.datasets.user_function import load_function
from engine.errors import ParetoscopeError, SetupError
from engine.measure.machine import integer_sums, machine
from engine.models.catalog import model_fingerprint
from engine.run.plan import Node
from engine.run.roles import LABEL, Member
from engine.run.same_code import revision
from engine.run.training_device import kind_of, training_device
from engine.spec.canonical import digest
from engine.spec.sections import Data, Model
from engine.spec.sent_code import SentCode, in_use
from engine.store.artifacts import Artifacts
from engine.trials.measurements import Machine

# So much a worker must be able to write for a moment: less than any network of a sweep that is worth a cluster.
_ROOM_BYTES = 2**20
_PLENTY = 1e6


@dataclass(frozen=True)
class Introduced:
    """What a worker says of itself: its machine, how integer sums come out there, and on what torch computes."""

    machine: Machine
    sums: str
    device: str

    def member(self, address: str, resources: dict[str, float]) -> Member:
        """The worker of an address that said so."""
        device = self.device if resources.get("gpu") else None
        return Member(address, dict(resources), self.machine, self.sums, device)


@dataclass(frozen=True)
class Asked:
    """What a worker is to have: files by what they are, with their SHA-256, and functions; `code` is what it is given."""

    data: Data
    checksum: str
    models: tuple[tuple[Model, str], ...]
    functions: tuple[str, ...]
    code: SentCode | None
    artifacts: Artifacts | None = None


@dataclass(frozen=True)
class Found:
    """A worker's answer: what it lacks, in one line, or None; and what it is."""

    lacks: str | None
    said: Introduced


@dataclass(frozen=True)
class Labels:
    """Names of resources that a worker is given once it has shown what it is, so that Dask hands a step to nobody else.

    Whoever joins has none: another version, another copy of the data, another machine. `machine`: the fingerprint of the one that times,
    `sums`: how integer sums come out there, `device`: on what torch computes where there is the resource `gpu`.
    """

    asked: Asked
    machine: str
    sums: str
    device: str

    @cached_property
    def fit(self) -> str:
        """Of workers that have all that the run needs."""
        own = self.asked
        artifacts = own.artifacts.url if own.artifacts else ""
        named = [
            own.data.model_dump(mode="json"),
            own.checksum,
            [[m.source, sha] for m, sha in own.models],
            list(own.functions),
        ]
        code = digest(repr(own.code)) if own.code else ""
        return f"{LABEL}{digest([named, code, artifacts, revision()])[:12]}"

    def of(self, said: Introduced) -> dict[str, float]:
        """What a worker that has said what it is can be given, and how much of it: more than it will ever run at once."""
        can = {
            self._times: said.machine.fingerprint == self.machine,
            self._counts: said.sums == self.sums,
            self._trains: said.device == self.device,
        }
        return {self.fit: _PLENTY} | {name: _PLENTY * able for name, able in can.items()}

    def needed(self, node: Node) -> dict[str, float]:
        """What a node takes of them."""
        also = {
            self._times: node.is_of_a_machine,
            self._counts: node.kind == "accuracy",
            self._trains: node.device != "cpu",
        }
        return {self.fit: 1.0} | {name: 1.0 for name, is_needed in also.items() if is_needed}

    def nothing(self) -> dict[str, float]:
        """What a worker that is at fault is given in their place."""
        return dict.fromkeys((self.fit, self._times, self._counts, self._trains), 0.0)

    @property
    def _times(self) -> str:
        return f"{self.fit}-machine-{self.machine[:12]}"

    @property
    def _counts(self) -> str:
        return f"{self.fit}-sums-{self.sums}"

    @property
    def _trains(self) -> str:
        return f"{self.fit}-device-{self.device}"


def introduced() -> Introduced:
    """Of a worker: what it is. Raises SetupError for a device that it is told to use and does not have."""
    return Introduced(machine(), integer_sums(machine()), kind_of(training_device()))


def found_here(asked: Asked) -> Found:
    """Of a worker: whether it finds the same data, networks and functions and can write, and what machine it is."""
    try:
        with in_use(asked.code):
            lacks = _lacks(asked) or _lacks_room()
        if asked.artifacts and not lacks:
            asked.artifacts.check()
        return Found(lacks, introduced())
    except ParetoscopeError as error:
        return Found(str(error), Introduced(machine(), integer_sums(machine()), "cpu"))


async def labelled(labels: dict[str, float], dask_worker: Any) -> None:
    """Of a worker: take labels, beside the resources that it was started with."""
    await dask_worker.set_resources(**labels)


def _lacks_room() -> str | None:
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(_ROOM_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"cannot write a temporary file ({error}); make room in {tempfile.gettempdir()} there"
    return None


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
