"""On which CPUs a measurement runs: the least busy ones."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

# So long are the cores watched before one is chosen.
_WATCH_S = 0.1


def choose_cpus(
    available: Iterable[int],
    threads: int,
    core: Mapping[int, str],
    mhz: Mapping[int, float],
    busy: Mapping[int, float] = {},
) -> tuple[int, ...]:
    """Which CPUs to pin to: fastest kind first, then the least busy, one per physical core, high numbers first.

    The system's own work is on low numbers. `core` names the physical core of a CPU (siblings share a name), `mhz` its highest clock,
    `busy` its share of time at work, in [0, 1], of which tenths count; all may be empty.
    """
    work = {cpu: round(share, 1) for cpu, share in busy.items()}
    ordered = sorted(available, key=lambda cpu: (-mhz.get(cpu, 0), work.get(cpu, 0), -cpu))
    first: list[int] = []
    siblings: list[int] = []
    seen: set[str] = set()
    for cpu in ordered:
        name = core.get(cpu, str(cpu))
        (siblings if name in seen else first).append(cpu)
        seen.add(name)
    return tuple((first + siblings)[:threads])


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def cpu_ticks(stat: str) -> dict[int, tuple[int, int]]:
    """The text of /proc/stat -> {cpu: (ticks at work, all ticks)} since the start; what a hypervisor took away (steal) is work."""
    found = {}
    for line in stat.splitlines():
        name, *numbers = line.split()
        if re.fullmatch(r"cpu\d+", name):
            ticks = [int(n) for n in numbers[:8]]
            found[int(name[3:])] = (sum(ticks) - sum(ticks[3:5]), sum(ticks))  # idle and waiting for disks are not
    return found


def busy_shares() -> dict[int, float]:
    """Share of each CPU's time that others use while this process sleeps; empty where the system does not say."""
    before = cpu_ticks(_read("/proc/stat"))
    if not before:
        return {}
    time.sleep(_WATCH_S)
    after = cpu_ticks(_read("/proc/stat"))
    return {
        cpu: (after[cpu][0] - work) / max(1, after[cpu][1] - total)
        for cpu, (work, total) in before.items()
        if cpu in after
    }


def pin(threads: int) -> tuple[int, ...]:
    """The `threads` CPUs to work on, this thread pinned to the first of them, where the system can do that; else none."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    available = os.sched_getaffinity(0)
    root = "/sys/devices/system/cpu/cpu"
    core = {c: _read(f"{root}{c}/topology/thread_siblings_list") or str(c) for c in available}
    mhz = {c: float(_read(f"{root}{c}/cpufreq/cpuinfo_max_freq") or 0) for c in available}
    cpus = choose_cpus(available, threads, core, mhz, busy_shares())
    os.sched_setaffinity(0, cpus[:1])
    return cpus
