"""Finished nodes that differ from what is wanted in the code's digest alone: hours that an upgrade would spend again.

A run makes its nodes by one version of the code and notes it in the store. The plan of that version has the same nodes in the same order
under other keys, so what it finished is found. Nothing of it is taken unasked, and what is taken keeps its key: no node of this version
ever carries a result of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace

from engine.run.code_digest import code_digest, code_digests
from engine.run.missing import missing_nodes
from engine.run.plan import Chain, Node, Plan
from engine.run.planner import make_plan
from engine.spec.canonical import digest
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.rows import NodeRow
from engine.store.store import Store
from engine.trials.measurements import Machine


def left_by_old_code(plan: Plan, machine: Machine, store: Store, artifacts: Artifacts) -> dict[str, NodeRow]:
    """The missing nodes of a plan that an earlier version of the code has finished: key -> what it left, under its own key.

    A node is taken only with the very inputs that it was made from, so that no file gets what was measured on another. One whose file is
    gone, and would be needed, is not among them, nor is what was made from it.
    """
    missing = missing_nodes(plan, store, artifacts)
    theirs = plans_of_old_code(plan, machine, store) if missing else []
    gone: set[str] = set()
    while theirs:
        found = _taken(plan, missing, theirs, store, gone)
        lost = missing_nodes(with_old_code(plan, found), store, artifacts) & {row.key for row in found.values()}
        if not lost:
            return found
        gone |= lost
    return {}


def plans_of_old_code(plan: Plan, machine: Machine, store: Store) -> list[Plan]:
    """The same plan as earlier versions of the code would have it that have run the model, the last one first."""
    return [
        make_plan(plan.sweep, machine, _digest_in(v), plan.device)
        for v in store.earlier_code(code_digests())
        if _was_run(plan.sweep, machine, store, v)
    ]


def _taken(
    plan: Plan, missing: frozenset[str], theirs: Sequence[Plan], store: Store, gone: Set[str]
) -> dict[str, NodeRow]:
    """Of the missing nodes those that `theirs`, the last version first, have finished on the inputs that they have here."""
    rows = store.nodes({key for each in theirs for key in each.nodes} - gone)
    found: dict[str, NodeRow] = {}
    keys: dict[str, str] = {}
    for (key, node), *others in zip(plan.nodes.items(), *(each.nodes.items() for each in theirs), strict=True):
        inputs = tuple(keys[k] for k in node.inputs)
        keys[key] = key
        if key not in missing:
            continue
        keys[key] = key_on(key, node.inputs, inputs)
        if keys[key] != key and store.nodes([keys[key]]):
            continue  # this version has made it already, on the same old inputs
        for old, its in others:
            name = key_on(old, its.inputs, inputs)
            row = rows.get(name) if name == old else next(iter(store.nodes({name} - gone).values()), None)
            if row is not None:
                found[key], keys[key] = row, row.key
                break
    return found


def key_on(key: str, own: tuple[str, ...], inputs: tuple[str, ...]) -> str:
    """The key of a node that is made from other inputs than its own version's: it says so."""
    return key if inputs == own else digest({"node": key, "inputs": inputs})


def _was_run(sweep: Sweep, machine: Machine, store: Store, version: Mapping[str, str]) -> bool:
    """Whether that version has run anything of this model; every sweep measures the baseline, and planning a whole one may take long."""
    baseline = Sweep(model=sweep.model, data=sweep.data, measure=sweep.measure, seed=sweep.seed)
    return bool(store.nodes(make_plan(baseline, machine, _digest_in(version)).nodes))


def _digest_in(version: Mapping[str, str]) -> Callable[[str], str]:
    """How that version digested the code of a kind of node; a kind that came later has no old nodes."""
    return lambda kind: version.get(kind) or code_digest(kind)


def with_old_code(plan: Plan, left: Mapping[str, NodeRow]) -> Plan:
    """The plan with finished nodes of earlier code in the place of its own; what comes after them gets keys that say so."""
    keys: dict[str, str] = {}
    nodes: dict[str, Node] = {}
    for key, node in plan.nodes.items():
        inputs = tuple(keys[k] for k in node.inputs)
        if key in left:
            keys[key] = left[key].key
        else:
            keys[key] = key_on(key, node.inputs, inputs)
        nodes[keys[key]] = replace(node, key=keys[key], inputs=inputs)

    def chain(of: Chain) -> Chain:
        return replace(
            of,
            model=keys[of.model],
            facts=keys[of.facts],
            accuracy=keys[of.accuracy],
            latency=of.latency and keys[of.latency],
            before=of.before and chain(of.before),
            replicas=tuple(chain(r) for r in of.replicas),
        )

    old = frozenset(row.key for row in left.values())
    shorts = {recipe: chain(c) for recipe, c in plan.shorts.items()}
    return replace(plan, nodes=nodes, chains=tuple(chain(c) for c in plan.chains), old=old, shorts=shorts)
