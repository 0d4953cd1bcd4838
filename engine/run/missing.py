"""What of a plan is still to do."""

from __future__ import annotations

from engine.run.plan import Plan
from engine.store.artifacts import Artifacts
from engine.store.rows import NodeRow
from engine.store.store import Store


def missing_nodes(plan: Plan, store: Store, artifacts: Artifacts) -> frozenset[str]:
    """The nodes that must run: those without a result, and those whose file is gone and is needed."""
    return looked_up(plan, store, artifacts)[1]


def looked_up(plan: Plan, store: Store, artifacts: Artifacts) -> tuple[list[NodeRow], frozenset[str]]:
    """The rows of the nodes that need not run, and the nodes that must (`missing_nodes`): one look at the store tells both."""
    known = store.nodes(plan.nodes)
    lost = {k for k, n in plan.nodes.items() if k in known and n.artifact and not artifacts.has(n.artifact)}
    missing = set(plan.nodes) - set(known)
    missing |= lost & {k for c in (*plan.chains, *plan.shorts.values()) for k in (*c.measures, *c.models)}
    # Backwards through the order of running: what runs needs its inputs' files.
    for key in reversed(list(plan.nodes)):
        if key in missing:
            missing |= lost & set(plan.nodes[key].inputs)
    return [row for key, row in known.items() if key not in missing], frozenset(missing)
