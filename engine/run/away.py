"""A node on a worker elsewhere: what it must find there or else refuses to run, and the Python that it brings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from engine.errors import SetupError
from engine.measure.machine import integer_sums, machine
from engine.run.plan import Node
from engine.run.same_code import same_code
from engine.spec.sent_code import SentCode, in_use

planned_data: ContextVar[str | None] = ContextVar("planned_data", default=None)
"""The checksum of the data that the calling thread's node was planned with, where that was elsewhere."""


@dataclass(frozen=True)
class Away:
    """What was planned with: the fingerprint and name of the machine that times, how integer sums come out there, the data's checksum.

    `code`: the user's own Python files, which travel with the node. `revision`: of Paretoscope and of the libraries; None asks for none.
    """

    machine: str
    cpu: str
    sums: str
    data: str
    code: SentCode | None = None
    revision: Mapping[str, Any] | None = None


@contextmanager
def ready(node: Node, away: Away | None) -> Iterator[None]:
    """Hold what a node needs for as long as it runs. Raises SetupError where this worker would give it a figure of another machine."""
    if away is None:
        yield
        return
    # Every worker was asked before the run began, but for those that came later.
    if away.revision is not None and (differs := same_code(away.revision)):
        raise SetupError(f"{node.kind}: a worker that joined the run {differs}, then resume")
    here = machine()
    if node.is_of_a_machine and here.fingerprint != away.machine:
        raise SetupError(
            f"{node.kind}: planned for {away.cpu}, but this worker is another machine ({here.cpu}, {here.cores} cores, as Paretoscope "
            "sees it); take the resources `bench` and `cpu` from it, then resume"
        )
    if node.kind == "accuracy" and integer_sums(here) != away.sums:
        raise SetupError(
            f"accuracy: planned for integer sums that are {away.sums}, but on this worker ({here.cpu}) they are {integer_sums(here)}; take "
            "the resource `cpu` from it, then resume"
        )
    with in_use(away.code):
        before = planned_data.set(away.data)
        try:
            yield
        finally:
            planned_data.reset(before)
