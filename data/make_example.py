"""Ships a finished sweep as the example: `python data/make_example.py SWEEP`, after `tests/benchmarks/bench_sweep.py --keep`.

Writes `example/sweep.json` (spec, when and how long, every trial's record), `example/latency.npz` (every timed call),
`example/nodes.json` (what every node returned that is not bound to the machine, and by which code) and the ONNX files and predictions
that belong to it, as they are in the store of this home. Nothing is measured or changed here.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import numpy as np

from engine.explain.latency_samples import SHIPPED_PER_MS, SIDES, samples_of
from engine.measure.machine import machine
from engine.paths import EXAMPLE
from engine.run.code_digest import code_digests
from engine.run.plan import EXCLUSIVE, Plan
from engine.run.planner import make_plan
from engine.store.artifacts import Artifacts
from engine.store.store import Store


def ship_samples(store: Store, plan: Plan) -> None:
    """Every timed call, as whole numbers of 100 ns, a quarter of a percent of the shortest."""
    arrays = {}
    for chain in plan.chains:
        if chain.latency is None:
            continue
        found = samples_of(store.nodes([chain.latency])[chain.latency].result)
        for side, times in zip(SIDES, (found.trial_ms, found.baseline_ms), strict=True):
            if times:
                arrays[f"{chain.recipe.id} {side}"] = np.round(np.array(times) * SHIPPED_PER_MS).astype(np.uint32)
    np.savez_compressed(EXAMPLE / "latency.npz", **arrays)


def ship_nodes(store: Store, plan: Plan, made: str) -> None:
    """Results of the nodes that hold on any machine, so that the same recipes find them done."""
    kept = [row for row in store.nodes(plan.nodes).values() if row.kind not in EXCLUSIVE]
    nodes = [{"key": row.key, "kind": row.kind, "seconds": row.seconds, "result": row.result} for row in kept]
    write_nodes({"made": made, "machine": machine().label, "code": code_digests(), "nodes": nodes})


def write_nodes(shipped: dict[str, Any]) -> None:
    """One node a line."""
    head = {key: value for key, value in shipped.items() if key != "nodes"}
    lines = ",\n".join(
        json.dumps(node, ensure_ascii=False) for node in sorted(shipped["nodes"], key=lambda n: n["key"])
    )
    (EXAMPLE / "nodes.json").write_text(f'{json.dumps(head)[:-1]}, "nodes": [\n{lines}\n]}}\n')


def main(ref: str) -> None:
    """Copy one finished sweep out of the store."""
    store, artifacts = Store.open(), Artifacts.open()
    row = store.sweep(ref)
    trials = store.trials(row.id)
    if row.state != "done" or any(t.state != "done" for t in trials):
        sys.exit(f"{row.id} is {row.state}; only a sweep with every trial measured can be the example")
    spec = store.spec(row.id)
    folder = EXAMPLE / "artifacts"
    # A store finds what the old example holds there, and need not have its own copy: it goes last.
    made = EXAMPLE / "artifacts.new"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    plan = make_plan(spec, machine())
    for chain in plan.chains:
        for key in (chain.model, chain.accuracy):
            name = plan.nodes[key].artifact
            assert name is not None, "models and predictions are files"
            shutil.copy(artifacts.local(name), made / name)
    # Files of before are not there any more, under no name.
    (EXAMPLE / "renamed.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
    shipped = {
        "spec": spec.model_dump(mode="json"),
        "row": {
            "created": row.created,
            "recipes": row.recipes,
            "nodes_total": row.nodes_total,
            "nodes_done": row.nodes_done,
        },
        "trials": [t.to_json() for t in trials],
    }
    (EXAMPLE / "sweep.json").write_text(json.dumps(shipped, indent=1) + "\n")
    ship_samples(store, plan)
    ship_nodes(store, plan, row.created)
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{len(trials)} trials, {len(list(folder.iterdir()))} files of {size / 1e6:.1f} MB, from {row.id}")


if __name__ == "__main__":
    main(*sys.argv[1:])
