"""A plan on a host of any number of cores, simulated: who runs when as Dask decides it, and on how many cores as `engine/cores.py` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.cores import max_cores, shares
from engine.run.plan import EXCLUSIVE, Node, Plan


@dataclass(frozen=True)
class Simulated:
    """Seconds from the first node to the last, and the share of all core-seconds that nodes had."""

    wall_s: float
    utilization: float


def speed(width: int, serial: float) -> float:
    """How much faster than on one core, where a share `serial` of the work stays on one (Amdahl 1967)."""
    return 1 / (serial + (1 - serial) / width)


def simulate(plan: Plan, seconds: Mapping[str, float], cores: int, serial: float = 0.0) -> Simulated:
    """Run the nodes of `seconds` (what each takes on one core; where it times, by itself), those of the baseline before all others."""
    baseline = plan.needed(plan.chains[0]) & seconds.keys()
    wall, used, done = 0.0, 0.0, set(plan.nodes.keys() - seconds.keys())
    for wave in (baseline, seconds.keys() - baseline):
        waiting = [plan.nodes[key] for key in plan.nodes if key in wave]
        running: dict[str, float] = {}
        while waiting or running:
            waiting = _start(plan, waiting, running, seconds, done, cores)
            limits = [_limit(plan.nodes[key], cores) for key in running]
            widths = dict(zip(running, shares(cores, limits), strict=True))
            pace = {key: 1.0 if _times(plan.nodes[key]) else speed(widths[key], serial) for key in running}
            step = min(left / pace[key] for key, left in running.items())
            wall += step
            used += step * sum(cores if _times(plan.nodes[key]) else widths[key] for key in running)
            running = {key: left - step * pace[key] for key, left in running.items()}
            ended = {key for key, left in running.items() if left <= 1e-9}
            running = {key: left for key, left in running.items() if key not in ended}
            done |= ended
    return Simulated(wall, used / (wall * cores) if wall else 1.0)


def _times(node: Node) -> bool:
    return node.kind in EXCLUSIVE


def _limit(node: Node, cores: int) -> int:
    return min(cores, max_cores()) if node.is_wide else 1


def _start(
    plan: Plan, waiting: list[Node], running: dict[str, float], seconds: Mapping[str, float], done: set[str], cores: int
) -> list[Node]:
    """Begin what can begin, in the order of the plan; one that has no room yet keeps those behind it waiting, as in a Dask worker."""
    free = cores - sum(cores if _times(plan.nodes[key]) else 1 for key in running)
    for node in [n for n in waiting if done.issuperset(n.inputs)]:
        need = cores if _times(node) else 1
        if need > free:
            break
        free -= need
        running[node.key] = max(seconds[node.key], 1e-6)
    return [n for n in waiting if n.key not in running]
