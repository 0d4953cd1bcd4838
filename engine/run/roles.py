"""Which workers of a cluster may do what: who times, on what machine, and who counts right answers as that machine would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
        return host_of(self.address)


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


@dataclass(frozen=True)
class Ask:
    """What a node takes of a worker's resources, and the hosts or addresses that may run it; any where there are none."""

    resources: tuple[tuple[str, float], ...]
    workers: tuple[str, ...] = ()

    def suits(self, address: str, resources: Mapping[str, float]) -> bool:
        """Whether a worker could run the node, as Dask decides it."""
        enough = all(resources.get(name, 0) >= amount for name, amount in self.resources)
        return enough and (not self.workers or address in self.workers or host_of(address) in self.workers)

    @property
    def text(self) -> str:
        """`bench=1 cpu=4 on host-a or host-b`."""
        takes = " ".join(f"{name}={amount:g}" for name, amount in self.resources)
        return (takes or "any resources") + (f" on {' or '.join(self.workers)}" if self.workers else "")


def host_of(address: str) -> str:
    """The host of a worker's address."""
    return urlsplit(address).hostname or address


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
    counting = [m for m in members if m.sums == timing[0].sums]
    return _roles(members, benches, timing, counting, _device(members))


def roles_again(before: Roles, members: Sequence[Member], gone: Sequence[Member]) -> Roles:
    """Those of the same run after workers came or went: what times stays a machine of the kind that is in the run's keys.

    `gone`: workers that were there. Where none of that kind is left, its hosts are waited for, rather than that another times.
    """
    asked = "bench" if "bench" in before.takes else "cpu"

    def times(member: Member) -> bool:
        return bool(member.resources.get(asked)) and member.machine.fingerprint == before.machine.fingerprint

    timing = [m for m in members if times(m)] or [m for m in gone if times(m)]
    counting = [m for m in members if m.sums == before.sums] or [m for m in gone if m.sums == before.sums]
    everybody = [*members, *(m for m in gone if m in timing or m in counting)]
    benches = [m for m in everybody if m.resources.get(asked)]
    return _roles(everybody, benches, timing, counting, before.device) if timing else before


def _roles(
    members: Sequence[Member],
    benches: Sequence[Member],
    timing: Sequence[Member],
    counting: Sequence[Member],
    device: str,
) -> Roles:
    machine, sums = timing[0].machine, timing[0].sums
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
        device,
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
