"""How long a plan will take, and what one run of it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from engine.cores import max_cores
from engine.measure.machine import machine
from engine.run.installed import require_run
from engine.run.missing import missing_nodes
from engine.run.old_code import left_by_old_code
from engine.run.plan import EXCLUSIVE, Node, Plan
from engine.run.planner import make_plan
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store

# Forecast until this machine has a history: seconds per unit of work (see `Node.work`), on two cores of a Xeon of 2023.
_DEFAULT_RATES = {
    "source": 2.0,
    "convert": 3.0,
    "teacher": 3e-5,
    "distill": 3.5e-4,
    "prune": 1.5,
    "finetune": 3.5e-4,
    "export": 1.5,
    "sensitivity": 20.0,
    "layer_times": 5.0,
    "quantize": 2.0,
    "fewest": 2.0,
    "qat": 5e-4,
    "imported": 0.5,
    "facts": 0.5,
    "accuracy": 3e-5,
    "latency": 6.0,
}


@dataclass(frozen=True)
class Preview:
    """A plan in numbers. `naive_nodes` is what running every recipe from scratch would take; seconds are a forecast.

    `run_recipes` of the recipes are not measured yet and would be by one run; with a budget (`search`) that may be fewer than there are,
    and `run_nodes` and `forecast_s` are those of that run. Which recipes a sampler will choose nobody knows, so for one with a budget both
    are an estimate (`is_estimate`): the mean over all choices. `old_code_nodes` of the missing nodes have been finished by earlier versions
    of the code, which took `old_code_s`; `run --keep-old-code` takes them.
    """

    sweep: str
    search: str
    is_estimate: bool
    recipes: int
    run_recipes: int
    unique_nodes: int
    naive_nodes: int
    missing_nodes: int
    run_nodes: int
    forecast_s: float
    naive_forecast_s: float
    old_code_nodes: int
    old_code_s: float


def preview(sweep: Sweep, store: Store, artifacts: Artifacts) -> Preview:
    """What running a spec here would do; raises InputError for a bad model or dataset, and where nothing can be run."""
    # Keys hold the versions of what computes: a plan without it would take everything for old.
    require_run("planning a sweep")
    plan = make_plan(store.with_added(sweep), machine())
    missing = missing_nodes(plan, store, artifacts)
    left = left_by_old_code(plan, machine(), store, artifacts) if missing else {}
    rates, cores = store.rates(), machine().cores
    now, recipes = _next_run(plan, missing, store.failed(sweep.id))
    seconds = forecast_s(plan, now, rates, cores)
    if sweep.search.minutes is not None:
        seconds = min(seconds, sweep.search.minutes * 60)
    return Preview(
        sweep=sweep.id,
        search=sweep.search.method,
        is_estimate=any(chance < 1 for chance in now.values()),
        recipes=len(plan.chains),
        run_recipes=recipes,
        unique_nodes=plan.unique,
        naive_nodes=plan.naive,
        missing_nodes=len(missing),
        run_nodes=round(sum(now.values())),
        forecast_s=round(seconds, 1),
        naive_forecast_s=round(sum(forecast_s(plan, plan.needed(c), rates, cores) for c in plan.chains), 1),
        old_code_nodes=len(left),
        old_code_s=round(sum(row.seconds for row in left.values()), 1),
    )


def _next_run(plan: Plan, missing: frozenset[str], failed: frozenset[str]) -> tuple[dict[str, float], int]:
    """The nodes that one run comes to, with how likely it does, and how many recipes it measures."""
    if plan.sweep.search.method == "grid":
        now, recipes = next_nodes(plan, missing, failed)
        return dict.fromkeys(now, 1.0), recipes
    waiting: Counter[str] = Counter()
    left = 0
    for chain in plan.chains:
        needed = plan.awaited(chain) & missing
        waiting.update(needed)
        left += bool(needed)
    room = min(left, plan.sweep.search.trials or left)
    return chances(waiting, left, room), room


def chances(waiting: Mapping[str, int], left: int, taken: float) -> dict[str, float]:
    """How likely each node is among what `taken` of the `left` recipes need, if any of them may be next: node -> (0, 1].

    `waiting`: node -> how many of those that are left need it. Each recipe counts as drawn by itself, which for more than a few recipes
    hardly differs from drawing them without putting back.
    """
    if left <= 0 or taken <= 0:
        return {}
    if taken >= left:
        return {key: 1.0 for key, count in waiting.items() if count}
    found = {key: 1 - (1 - min(1.0, count / left)) ** taken for key, count in waiting.items()}
    return {key: chance for key, chance in found.items() if chance > 0}


def next_nodes(plan: Plan, missing: frozenset[str], failed: frozenset[str]) -> tuple[frozenset[str], int]:
    """Those of the missing nodes that one run takes on, and of how many recipes they are: in plan order, as many as the budget allows.

    Recipes of the ids in `failed` come last: what cannot be made would otherwise use up every run's budget. Files that were added count
    against none: they are not of the space, and were asked for by name.
    """
    limit = plan.sweep.search.trials
    chosen: set[str] = set()
    recipes = added = 0
    for chain in sorted(plan.chains, key=lambda c: c.recipe.id in failed):
        needed = missing & plan.awaited(chain)
        if needed and chain.recipe.imported:
            chosen |= needed
            added += 1
        elif needed and recipes != limit:
            chosen |= needed
            recipes += 1
    return (missing if limit is None else frozenset(chosen)), recipes + added


def forecast_s(plan: Plan, missing: Collection[str], rates: Mapping[str, float], cores: int) -> float:
    """Seconds that the missing nodes will take: computing in parallel on all cores, latency alone on the host.

    All cores are busy as long as something runs that can use them; but the longest way through nodes that wait for each other takes its
    time, however many there are. With a mapping (node -> how likely it is run) it is what to expect.
    """
    seconds = {k: node_s(plan.nodes[k], rates) for k in missing}
    if isinstance(missing, Mapping):
        seconds = {k: s * missing[k] for k, s in seconds.items()}
    alone = sum(s for k, s in seconds.items() if plan.nodes[k].kind in EXCLUSIVE)
    return max((sum(seconds.values()) - alone) / max(1, cores), _longest_way_s(plan, seconds, cores)) + alone


def node_s(node: Node, rates: Mapping[str, float]) -> float:
    """Core-seconds, or seconds where it measures time, that a node will take."""
    return node.work * rates.get(node.kind, _DEFAULT_RATES[node.kind])


def _longest_way_s(plan: Plan, seconds: Mapping[str, float], cores: int) -> float:
    """Seconds of the nodes on the longest way through the plan that compute, each on all cores that it can use."""
    until: dict[str, float] = {}
    most = min(max(1, cores), max_cores())

    # From the nodes that run back to what they wait for: a plan may have thousands, and each recipe needs a dozen.
    def way(key: str) -> float:
        if key not in until:
            node = plan.nodes[key]
            own = 0.0 if node.kind in EXCLUSIVE else seconds.get(key, 0.0)
            until[key] = own / (most if node.is_wide else 1) + max(map(way, node.inputs), default=0.0)
        return until[key]

    return max(map(way, seconds), default=0.0)
