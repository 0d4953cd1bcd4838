"""Which workers of a cluster may do what: who times, on what machine, and who counts right answers as that machine would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from engine.errors import SetupError
from engine.trials.measurements import Machine


@dataclass(frozen=True)
class Member:
    """A worker: its address, its resources, its machine, how integer sums come out there, and on what torch computes.

    `device` is None where it has no resource `gpu`.
    """

    address: str
    resources: dict[str, float]
    machine: Machine
    sums: str
    device: str | None = None

    @property
    def host(self) -> str:
        """The host of its address."""
        return urlsplit(self.address).hostname or self.address


@dataclass(frozen=True)
class Roles:
    """`machine`: the one that times, whose fingerprint is in keys; `takes`: the resources that a timing takes of a worker.

    `timing` and `counting`: hosts, or addresses, of the workers that time, and that count right answers; empty where any may. `note`: a
    line for the user, where some are left out.
    """

    machine: Machine
    sums: str
    takes: dict[str, float]
    device: str
    timing: tuple[str, ...] = ()
    counting: tuple[str, ...] = ()
    note: str | None = None


def roles_of(members: Sequence[Member]) -> Roles:
    """Those of a cluster, the same for the same workers.

    Workers with the resource `bench` time, or all with `cpu` where none has it. Where these are of several machines, the kind that most of
    them are times, and the others do not: a figure is of one machine. Raises SetupError where workers with `gpu` have unlike devices.
    """
    computing = [m for m in members if m.resources.get("cpu")] or list(members)
    benches = [m for m in members if m.resources.get("bench")] or computing
    kinds = Counter(m.machine.fingerprint for m in benches)
    chosen = min(kinds, key=lambda fingerprint: (-kinds[fingerprint], fingerprint))
    timing = [m for m in benches if m.machine.fingerprint == chosen]
    machine, sums = timing[0].machine, timing[0].sums
    counting = [m for m in members if m.sums == sums]
    left = [m for m in benches if m not in timing]
    note = None
    if left:
        others = sorted({f"{m.machine.cpu}, {m.machine.cores} cores" for m in left})
        note = (
            f"latency is measured on {len(timing)} of {len(benches)} workers ({machine.cpu}, {machine.cores} cores); "
            f"{', '.join(sorted(m.address for m in left))} ({'; '.join(others)}) are other machines and time nothing: give the resource "
            "`bench` to workers of one kind alone"
        )
    cpus = min(int(m.resources.get("cpu", 0)) for m in timing)
    takes: dict[str, float] = {"cpu": cpus} if cpus else {}
    if timing[0].resources.get("bench"):
        takes["bench"] = 1
    return Roles(
        machine,
        sums,
        takes,
        _device(members),
        _names(timing, members) if left else (),
        _names(counting, members) if len(counting) < len(members) else (),
        note,
    )


def _device(members: Sequence[Member]) -> str:
    found = {m.device: m for m in members if m.device is not None}
    if len(found) > 1:
        one, other = sorted(found)[:2]
        raise SetupError(
            f"worker {found[one].address} has the resource gpu and computes on {one}, worker {found[other].address} on {other}; give gpu "
            "to workers with one kind of device"
        )
    return next(iter(found), "cpu")


def _names(chosen: Sequence[Member], members: Sequence[Member]) -> tuple[str, ...]:
    """Hosts, so that a worker that is started again there is meant too; addresses where a host has others as well."""
    mixed = {m.host for m in members if m not in chosen}
    is_named: Callable[[Member], str] = lambda m: m.address if m.host in mixed else m.host  # noqa: E731
    return tuple(sorted({is_named(m) for m in chosen}))
