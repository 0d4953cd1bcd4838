"""The workers of a cluster elsewhere as they come and go: who times now, and steps for which nobody is there any more.

A worker that is started again has another address, and one that joins is of a kind that nobody knows. Each is asked once what it is; the
machine of a run stays the one that its keys name. A run whose steps find no worker says so, waits, and ends after a stated time: what it
has finished stays, so it goes on once there is one.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import Client

from engine.errors import SetupError
from engine.measure.machine import integer_sums, machine
from engine.run.plan import Node
from engine.run.roles import Ask, Member, Roles, roles_again
from engine.run.same_code import same_code
from engine.run.training_device import kind_of, training_device
from engine.trials.measurements import Machine
from engine.trials.text import duration

if TYPE_CHECKING:
    from engine.run.submission import Submission

VARIABLE = "PARETOSCOPE_WORKER_MINUTES"
"""Minutes for which a run on a cluster waits for a worker that can go on with it."""
_DEFAULT_MINUTES = 10.0
# A worker that is started again is back in seconds, and nobody needs to be told.
_GRACE_S = 15.0
_LOOK_S = 2.0


def stated_patience_s() -> float:
    """Seconds that a run waits for a worker. Raises SetupError for a time that is none."""
    text = os.environ.get(VARIABLE)
    try:
        minutes = float(text) if text else _DEFAULT_MINUTES
    except ValueError:
        minutes = math.nan
    if not minutes > 0:
        raise SetupError(f"{VARIABLE} is {text!r}; give the minutes that a run waits for a worker, more than 0")
    return 60 * minutes


class Crew:
    """The workers of one run. `roles` are those of now, `wanted` says for what the run waits, if it does."""

    def __init__(
        self,
        scheduler: str,
        members: Sequence[Member],
        roles: Roles,
        on_note: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`members`: all that were asked before the run began. Raises SetupError for a patience that is none."""
        self.roles, self._scheduler, self._on_note, self._clock = roles, scheduler, on_note, clock
        self.wanted: list[str] = []
        stated_patience_s()
        self._known = {member.address: member for member in members}
        self._there: dict[str, Mapping[str, float]] = {m.address: m.resources for m in members}
        self._seen: queue.SimpleQueue[tuple[Mapping[str, Mapping[str, float]] | None, Sequence[Member]]] = (
            queue.SimpleQueue()
        )
        self._next, self._told = -math.inf, False
        # Since when something waits, and since when all does.
        self._since: float | None = None
        self._stuck_since: float | None = None

    def follow(self, client: Client, revision: Mapping[str, Any]) -> None:
        """See who is there from now on, until the client is closed; no scheduler or worker that is slow to answer holds up the run."""
        threading.Thread(target=self._follow, args=(client, revision), name="paretoscope-crew", daemon=True).start()

    def _follow(self, client: Client, revision: Mapping[str, Any]) -> None:
        met = set(self._known)
        while client.status not in ("closing", "closed"):
            time.sleep(_LOOK_S)
            try:
                stated = client.scheduler_info(n_workers=-1)["workers"]
            except Exception:
                # The scheduler is gone, or the client is: the run hears of that itself.
                continue
            there = {address: dict(about.get("resources", {})) for address, about in stated.items()}
            self.see(there)
            if new := {address: there[address] for address in there.keys() - met}:
                met |= new.keys()
                threading.Thread(target=self._meet, args=(client, revision, new), daemon=True).start()

    def _meet(self, client: Client, revision: Mapping[str, Any], new: Mapping[str, Mapping[str, float]]) -> None:
        try:
            answers = client.run(newcomer, revision, workers=list(new), on_error="return")
        except Exception:
            # It left meanwhile, or the run has ended.
            return
        said = {address: answer for address, answer in answers.items() if isinstance(answer, Introduced)}
        self.see(None, [answer.member(address, new[address]) for address, answer in said.items()])

    def see(self, there: Mapping[str, Mapping[str, float]] | None, new: Sequence[Member] = ()) -> None:
        """Who is there now, address -> resources, None where that was not asked; and what newcomers said of themselves."""
        self._seen.put((there, new))

    def look(self, nodes: Mapping[str, Node], ask: Callable[[Node], Ask], work: Submission) -> None:
        """Take back nodes that wait for workers which are gone and could be done by others, with those that need them; tell of the others.

        Called at every turn of a run, it looks every few seconds. `ask`: what a node would be handed over with now. Raises SetupError once
        nothing has gone on for longer than the patience.
        """
        if self._clock() < self._next:
            return
        self._next = self._clock() + _LOOK_S
        self._hear()
        asked = work.asked()
        unmet = {each for each in set(asked.values()) if not self._is_there_for(each)}
        again: set[str] = set()
        blocked: set[str] = set()
        waiting: list[Ask] = []
        # Inputs come before what needs them.
        for key, each in asked.items() if unmet else ():
            inputs = nodes[key].inputs
            if not again.isdisjoint(inputs) or (each in unmet and self._is_there_for(ask(nodes[key]))):
                again.add(key)
            elif not blocked.isdisjoint(inputs):
                blocked.add(key)
            elif each in unmet:
                blocked.add(key)
                waiting.append(each)
        if waiting:
            self._wait(waiting, stuck=len(blocked) == len(asked))
        else:
            self._has_all()
        work.again([key for key in asked if key in again])

    def _hear(self) -> None:
        before, heard = self.roles, False
        while not self._seen.empty():
            there, new = self._seen.get()
            self._known |= {member.address: member for member in new}
            heard |= bool(new) or (there is not None and there.keys() != self._there.keys())
            self._there = self._there if there is None else dict(there)
        if heard:
            present = [m for address, m in self._known.items() if address in self._there]
            gone = [m for address, m in self._known.items() if address not in self._there]
            self.roles = roles_again(self.roles, present, gone)
        if self.roles.note not in (None, before.note):
            self._on_note(f"note: {self.roles.note}")

    def _is_there_for(self, ask: Ask) -> bool:
        return any(ask.suits(address, resources) for address, resources in self._there.items())

    def _has_all(self) -> None:
        if self._told:
            self._on_note("note: the steps that waited for a worker have one")
        self._since = self._stuck_since = None
        self._told = False
        self.wanted.clear()

    def _wait(self, waiting: Sequence[Ask], stuck: bool) -> None:
        """Say for what is waited, and for how long; SetupError after too long in which nothing else went on."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        self._stuck_since = None if not stuck else now if self._stuck_since is None else self._stuck_since
        waited, patience_s = now - self._since, stated_patience_s()
        if waited < min(_GRACE_S, patience_s):
            return
        wanted = sorted({ask.text for ask in waiting})
        others = f"none of its {len(self._there)} workers has that" if self._there else "it has no worker"
        here = f"{len(waiting)} of the steps under way wait for one; {self._scheduler}: {others}"
        said = f"no worker with {' and none with '.join(wanted)} for {duration(waited)}, {here}"
        self.wanted[:] = [f"waiting for a worker with {' and one with '.join(wanted)} ({duration(waited)})"]
        if self._stuck_since is not None and now - self._stuck_since >= patience_s:
            raise SetupError(
                f"{said}; start one (`dask worker {self._scheduler} --nthreads N --resources …`), and `paretoscope resume` "
                f"goes on where this run was; {VARIABLE} gives workers longer to come"
            )
        if not self._told:
            self._told = True
            self._on_note(
                f"note: {said}; when nothing else can go on, the run ends after {duration(patience_s)} without one ({VARIABLE})"
            )


@dataclass(frozen=True)
class Introduced:
    """What a worker says of itself: its machine, how integer sums come out there, and on what torch computes."""

    machine: Machine
    sums: str
    device: str

    def member(self, address: str, resources: Mapping[str, float]) -> Member:
        """The worker of an address that said so."""
        device = self.device if resources.get("gpu") else None
        return Member(address, dict(resources), self.machine, self.sums, device)


def introduced() -> Introduced:
    """Of a worker: what it is. Raises SetupError for a device that it is told to use and does not have."""
    return Introduced(machine(), integer_sums(machine()), kind_of(training_device()))


def newcomer(revision: Mapping[str, Any]) -> Introduced | None:
    """Of a worker that joins: what it is; None where its Paretoscope is not that of the run, whose steps it refuses."""
    return None if same_code(revision) else introduced()
