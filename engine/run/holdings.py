"""Which files of the artifact store the stored sweeps need, and which none does."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from engine.errors import InputError, SetupError
from engine.measure.machine import machine
from engine.run.installed import require_run
from engine.run.old_code import plans_of_old_code
from engine.run.planner import make_plan
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts, Stored
from engine.store.rows import read_trial
from engine.store.store import Store
from engine.trials.measurements import Machine

YOUNG_S = 3600.0
"""A file younger than this may be of a run that has begun since the sweeps were read; one younger than a running sweep, of that."""
_AT_ONCE = 100
"""So many files go before it is asked again whether a sweep has begun."""
_DEVICES = ("cpu", "cuda", "mps")
_NAME = re.compile(r"[0-9a-f]{64}\.[a-z]+")


@dataclass(frozen=True)
class Holding:
    """What a sweep holds. `names` of files that it names or would make, there or not; `problem`: why it cannot be planned, else None.

    `n_bytes` and `files` are of those that are there, `own_bytes` of those that no other sweep holds.
    """

    sweep: str
    names: frozenset[str]
    problem: str | None
    files: int = 0
    n_bytes: int = 0
    own_bytes: int = 0


@dataclass(frozen=True)
class Use:
    """The store by sweeps. `unneeded` are the files that no sweep holds and that are old enough to go, `young` the others."""

    holdings: tuple[Holding, ...]
    n_bytes: int
    unneeded: tuple[Stored, ...]
    young: tuple[Stored, ...]

    @property
    def unneeded_bytes(self) -> int:
        """What would be freed."""
        return sum(f.n_bytes for f in self.unneeded)


def in_use(store: Store, artifacts: Artifacts, old_code: bool = True) -> Use:
    """Every stored sweep is planned: with this version of the code on this machine and those that measured it, and with earlier versions.

    `old_code` false leaves earlier versions out: what they made beside what trials name is then needed by nobody, and `--keep-old-code`
    would find it no more. Raises SetupError where nothing can be planned.
    """
    require_run("planning the stored sweeps")
    # First the files, then the sweeps: whatever is written from now on is not looked at.
    there = {f.name: f for f in artifacts.stored()}
    rows = store.sweeps()
    held = [_held(store, row.id, old_code) for row in rows]
    times = Counter(name for h in held for name in h.names & there.keys())
    counted = tuple(_counted(h, there, times) for h in held)
    free = [f for name, f in sorted(there.items()) if name not in times]
    # A sweep that runs on another machine makes files that are planned from here only once a trial of it says which machine that is.
    begun = [datetime.fromisoformat(row.created).timestamp() for row in rows if row.state == "running"]
    before = min((time.time() - YOUNG_S, *begun))
    old = tuple(f for f in free if f.changed_s < before)
    total = sum(f.n_bytes for f in there.values())
    return Use(counted, total, old, tuple(f for f in free if f not in set(old)))


def collect(store: Store, artifacts: Artifacts, old_code: bool = True) -> Use:
    """Remove what no sweep needs; what the store was before, with what was removed of it as `unneeded`.

    Raises SetupError, and removes nothing, where a sweep cannot be planned: what it would need is not known.
    """
    removed: set[str] = set()
    use = before = _settled(store, artifacts, old_code)
    left = [f.name for f in use.unneeded]
    # To remove many takes a while, too.
    while left:
        some, left = left[:_AT_ONCE], left[_AT_ONCE:]
        artifacts.remove(some)
        removed |= {*some}
        if left and _is_outdated(use, store):
            use = _settled(store, artifacts, old_code, "nothing more")
            known = {*left}
            left = [f.name for f in use.unneeded if f.name in known]
    return replace(before, unneeded=tuple(f for f in before.unneeded if f.name in removed))


def _is_outdated(use: Use, store: Store) -> bool:
    return bool({row.id for row in store.sweeps()} - {h.sweep for h in use.holdings})


def _settled(store: Store, artifacts: Artifacts, old_code: bool, removed: str = "nothing") -> Use:
    use = in_use(store, artifacts, old_code)
    # Planning them takes a while, in which others begin.
    while _is_outdated(use, store):
        use = in_use(store, artifacts, old_code)
    if broken := [h for h in use.holdings if h.problem]:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise SetupError(
            f"{broken[0].sweep}{more} cannot be planned ({broken[0].problem}), so what it needs is not known; {removed} was removed: put "
            f"right what is missing, or `paretoscope delete {broken[0].sweep}`"
        )
    return use


def _held(store: Store, sweep_id: str, old_code: bool) -> Holding:
    names: set[str] = set()
    machines = [machine()]
    try:
        for _, record in store.changed_records(sweep_id):
            names |= set(_NAME.findall(record))
            if (measured := read_trial(record).machine) is not None:
                machines.append(measured)
        # Of the run before only the answers, by which it is told what changed.
        names |= {t.predictions for t in store.earlier.of(sweep_id) if t.predictions}
        # A spec of a version that knew other words is refused, too.
        names |= _planned(store.spec(sweep_id), store, machines, old_code)
    except InputError as error:
        return Holding(sweep_id, frozenset(names), str(error))
    return Holding(sweep_id, frozenset(names), None)


def _planned(spec: Sweep, store: Store, machines: Sequence[Machine], old_code: bool) -> set[str]:
    names: set[str] = set()
    # Those that measured, too: what a CPU's sums do decides how weights are rounded.
    for where in {m.fingerprint: m for m in machines}.values():
        for device in _DEVICES:
            plan = make_plan(spec, where, device=device)
            plans = [plan, *(plans_of_old_code(plan, where, store) if old_code else ())]
            names |= {name for p in plans for node in p.nodes.values() if (name := node.artifact)}
    return names


def _counted(holding: Holding, there: Mapping[str, Stored], times: Mapping[str, int]) -> Holding:
    mine = [there[name] for name in holding.names & there.keys()]
    own = sum(f.n_bytes for f in mine if times[f.name] == 1)
    return Holding(holding.sweep, holding.names, holding.problem, len(mine), sum(f.n_bytes for f in mine), own)
