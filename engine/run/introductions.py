"""Who is on a cluster elsewhere, asked what it is until it answers, and given labels where it fits.

A worker that joins a run is of a version that nobody knows. It has no label, so that Dask hands it nothing, until it has shown that it has
what the run needs; one that does not fit is named, left alone, and asked again later. Labels are resources of a Dask worker; they end with
its process, so one that is started again, also under the same address, is asked again.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from distributed import Client

from engine import __version__
from engine.run.asked import Found, Labels, found_here, labelled
from engine.run.roles import Member
from engine.run.same_code import revision, same_code

LOOK_S = 2.0
"""So often it is looked who is there."""
# Until one that was asked in vain, or does not fit, is asked again.
_LEAST_PAUSE_S, _LONGEST_PAUSE_S, _UNFIT_PAUSE_S = 2.0, 30.0, 60.0
# What fails so often in a row is told of.
_TOLD_AFTER = 3

Resources = Mapping[str, float]


@dataclass(frozen=True)
class Seen:
    """News: who is there now, address -> resources (None where that was not asked); who has joined; and who does not fit, and why."""

    there: Mapping[str, Resources] | None
    new: tuple[Member, ...] = ()
    unfit: Mapping[str, str] = field(default_factory=dict)


class Introductions:
    """Follows a cluster in threads of its own, so that nobody who is slow to answer holds up the run; ends with the client."""

    def __init__(self, client: Client, labels: Labels, see: Callable[[Seen], None]) -> None:
        self._client, self.labels, self._see = client, labels, see
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._tries: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}
        self._at_fault: queue.SimpleQueue[str] = queue.SimpleQueue()

    def begin(self) -> None:
        """Follow from now on."""
        threading.Thread(target=self._follow, name="paretoscope-crew", daemon=True).start()

    def at_fault(self, address: str) -> None:
        """Take its labels from a worker that fails steps which others can do; it is asked again after a while."""
        with self._lock:
            self._not_before[address] = time.monotonic() + _UNFIT_PAUSE_S
        threading.Thread(target=self._give, args=({address: self.labels.nothing()},), daemon=True).start()

    def _follow(self) -> None:
        while self._client.status not in ("closing", "closed"):
            time.sleep(LOOK_S)
            try:
                stated = self._client.scheduler_info(n_workers=-1)["workers"]
            except Exception:
                # The scheduler is gone, or the client is: the run hears of that itself.
                continue
            there = {address: dict(about.get("resources", {})) for address, about in stated.items()}
            self._see(Seen(there))
            # A process that has come in the place of another has another folder.
            named = {address: f"{address} {stated[address].get('local_directory')}" for address in there}
            if due := {a: there[a] for a in there if not there[a].get(self.labels.fit) and self._is_due(a, named[a])}:
                threading.Thread(target=self._meet, args=(due, named), daemon=True).start()

    def _is_due(self, address: str, process: str) -> bool:
        with self._lock:
            if address in self._busy:
                return False
            if time.monotonic() < max(self._not_before.get(k, 0.0) for k in (address, process)):
                return False
            self._busy.add(address)
            return True

    def _meet(self, due: Mapping[str, Resources], named: Mapping[str, str]) -> None:
        try:
            fit, unfit, silent = self.asked(list(due))
            given = {address: self.labels.of(found.said) for address, found in fit.items()}
            silent += self._give(given)
            new = [found.said.member(a, {**due[a], **given[a]}) for a, found in fit.items() if a not in silent]
            with self._lock:
                for address in silent:
                    self._tries[named[address]] += 1
                    pause = min(_LEAST_PAUSE_S * 2 ** (self._tries[named[address]] - 1), _LONGEST_PAUSE_S)
                    self._not_before[named[address]] = time.monotonic() + pause
                    if self._tries[named[address]] == _TOLD_AFTER:
                        unfit[address] = "is there and does not answer; look into its log"
                self._not_before |= {named[a]: time.monotonic() + _UNFIT_PAUSE_S for a in unfit if a not in silent}
            self._see(Seen(None, tuple(new), unfit))
        finally:
            with self._lock:
                self._busy -= due.keys()

    def asked(self, addresses: list[str]) -> tuple[dict[str, Found], dict[str, str], list[str]]:
        """Of workers: those that fit and what they are, those that do not and why, and those that gave no answer."""
        fit: dict[str, Found] = {}
        unfit: dict[str, str] = {}
        silent: list[str] = []
        same = self._run(addresses, same_code, revision())
        for address, answer in same.items():
            if isinstance(answer, OSError | TimeoutError):
                silent.append(address)
            elif isinstance(answer, BaseException):
                unfit[address] = _other_program(answer)
            elif answer is not None:
                unfit[address] = str(answer)
        for address, answer in self._run(
            [a for a, said in same.items() if said is None], found_here, self.labels.asked
        ).items():
            if isinstance(answer, OSError | TimeoutError):
                silent.append(address)
            elif not isinstance(answer, Found):
                unfit[address] = _other_program(answer)
            elif answer.lacks:
                unfit[address] = answer.lacks
            else:
                fit[address] = answer
        return fit, unfit, silent

    def _give(self, labels: Mapping[str, Mapping[str, float]]) -> list[str]:
        """Give workers their labels; the addresses of those that could not be given any."""
        silent: list[str] = []
        for address, own in labels.items():
            answer = self._run([address], labelled, dict(own))[address]
            silent += [address] if isinstance(answer, BaseException) else []
        self._place_waiting([address for address in labels if address not in silent])
        return silent

    def _place_waiting(self, addresses: list[str]) -> None:
        """Let Dask look at the steps that wait for a worker: by itself it does when one joins, which is before that has its labels.

        Nobody else could: the run may wait for an answer that a dead worker held, which Dask has to compute again.
        """

        # A local function travels by value, to a scheduler of whatever version.
        def place(dask_scheduler: Any) -> None:
            for address in addresses:
                if (worker := dask_scheduler.workers.get(address)) in dask_scheduler.running:
                    waiting = dask_scheduler.bulk_schedule_unrunnable_after_adding_worker(worker)
                    dask_scheduler.transitions(waiting, "paretoscope-labels")

        # Of a scheduler or client that has gone the run hears itself.
        with suppress(Exception):
            self._client.run_on_scheduler(place)

    def _run(self, addresses: list[str], function: Callable[..., object], *arguments: object) -> dict[str, object]:
        """What they answer, or the error in its place."""
        try:
            return (
                dict(self._client.run(function, *arguments, workers=addresses, on_error="return")) if addresses else {}
            )
        except Exception as error:
            # One of them left meanwhile, or the run has ended.
            return dict.fromkeys(addresses, OSError(str(error)))


def _other_program(error: object) -> str:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"has no Paretoscope that this one can talk to ({said}); install version {__version__} there"
