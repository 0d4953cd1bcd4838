"""Makes a sweep that ships: `python data/make_example.py NAME`, where NAME is a folder of `data/`, `example` or `example_series`.

Runs the folder's `spec.yaml` from scratch in an empty home, which takes minutes on an idle machine, and writes `sweep.json` (spec, when and
how long, every trial's record), `latency.npz` (every timed call), `nodes.json` (what every node returned that is not bound to the machine,
and by which code) and the ONNX files and predictions that belong to it. `python data/make_example.py NAME SWEEP` takes a finished sweep of
this home instead (`tests/benchmarks/bench_sweep.py --keep`): nothing is measured or changed then.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.explain.latency_samples import SHIPPED_PER_MS, SIDES, samples_of
from engine.measure.machine import machine
from engine.paths import EXAMPLES
from engine.run.code_digest import code_digests
from engine.run.plan import EXCLUSIVE, Plan
from engine.run.planner import make_plan
from engine.store.artifacts import Artifacts
from engine.store.store import Store

NAMES = {
    "example": "Example · resnet8 on Fashion-MNIST",
    "example_series": "Example · transformer on pen strokes",
}
"""What the sweep of each folder is called; the first by name is what pages open with."""


def folder_of(name: str) -> Path:
    """An example's folder by its name; ends the program for another."""
    found = next((folder for folder in EXAMPLES if folder.name == name), None)
    return found or sys.exit(f"{name!r} is no example; give one of {', '.join(NAMES)}")


def ship_samples(example: Path, store: Store, plan: Plan) -> None:
    """Every timed call, as whole numbers of 100 ns, a quarter of a percent of the shortest."""
    arrays = {}
    for chain in plan.chains:
        if chain.latency is None:
            continue
        found = samples_of(store.nodes([chain.latency])[chain.latency].result)
        for side, times in zip(SIDES, (found.trial_ms, found.baseline_ms), strict=True):
            if times:
                arrays[f"{chain.recipe.id} {side}"] = np.round(np.array(times) * SHIPPED_PER_MS).astype(np.uint32)
    np.savez_compressed(example / "latency.npz", **arrays)


def ship_nodes(example: Path, store: Store, plan: Plan, made: str) -> None:
    """Results of the nodes that hold on any machine, so that the same recipes find them done."""
    kept = [row for row in store.nodes(plan.nodes).values() if row.kind not in EXCLUSIVE]
    nodes = [{"key": row.key, "kind": row.kind, "seconds": row.seconds, "result": row.result} for row in kept]
    write_nodes(example, {"made": made, "machine": machine().label, "code": code_digests(), "nodes": nodes})


def write_nodes(example: Path, shipped: dict[str, Any]) -> None:
    """One node a line."""
    head = {key: value for key, value in shipped.items() if key != "nodes"}
    lines = ",\n".join(
        json.dumps(node, ensure_ascii=False) for node in sorted(shipped["nodes"], key=lambda n: n["key"])
    )
    (example / "nodes.json").write_text(f'{json.dumps(head)[:-1]}, "nodes": [\n{lines}\n]}}\n')


@contextmanager
def set_aside(example: Path) -> Iterator[None]:
    """Meanwhile nothing of the example ships but its spec, so that every step runs anew; it is back where that fails."""
    with tempfile.TemporaryDirectory(dir=example.parent) as before:
        moved = [Path(shutil.move(path, before)) for path in example.iterdir() if path.name != "spec.yaml"]
        try:
            yield
        except BaseException:
            for path in moved:
                shutil.move(path, example)
            raise


def make(name: str) -> None:
    """Run an example's spec in an empty home and ship the result."""
    example = folder_of(name)
    with set_aside(example), tempfile.TemporaryDirectory() as home:
        os.environ["PARETOSCOPE_HOME"] = home
        command = ["run", str(example / "spec.yaml"), "--set", f"name={NAMES[name]}"]
        ended = subprocess.run([sys.executable, "-m", "engine.cli", *command], cwd=example.parent.parent, check=False)
        if ended.returncode:
            sys.exit(f"the sweep of {name} did not end well; its example stays as it was")
        ship(example, NAMES[name])


def ship(example: Path, ref: str) -> None:
    """Copy one finished sweep out of the store of this home."""
    store, artifacts = Store.open(), Artifacts.open()
    row = store.sweep(ref)
    trials = store.trials(row.id)
    if row.state != "done" or any(t.state != "done" for t in trials):
        sys.exit(f"{row.id} is {row.state}; only a sweep with every trial measured can be the example")
    spec = store.spec(row.id)
    folder = example / "artifacts"
    # A store finds what the old example holds there, and need not have its own copy: it goes last.
    made = example / "artifacts.new"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    plan = make_plan(spec, machine())
    for chain in plan.chains:
        for key in (chain.model, chain.accuracy):
            name = plan.nodes[key].artifact
            assert name is not None, "models and predictions are files"
            shutil.copy(artifacts.local(name), made / name)
    # Files of before are not there any more, under no name.
    (example / "renamed.json").unlink(missing_ok=True)
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
    (example / "sweep.json").write_text(json.dumps(shipped, indent=1) + "\n")
    ship_samples(example, store, plan)
    ship_nodes(example, store, plan, row.created)
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{len(trials)} trials, {len(list(folder.iterdir()))} files of {size / 1e6:.1f} MB, from {row.id}")


def main(name: str = "", ref: str | None = None) -> None:
    """Make an example, or take a finished sweep for one."""
    if ref is None:
        make(name)
    else:
        ship(folder_of(name), ref)


if __name__ == "__main__":
    main(*sys.argv[1:])
