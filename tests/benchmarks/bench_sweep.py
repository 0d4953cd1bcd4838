"""The default sweep in an empty home: seconds to the first point and to the end, memory, against every recipe run from scratch.

    python tests/benchmarks/bench_sweep.py            from scratch: the sum of this run's node times over each recipe's whole chain
    python tests/benchmarks/bench_sweep.py --naive    from scratch for real: every recipe as a sweep of its own in an empty home (long)
    python tests/benchmarks/bench_sweep.py --keep DIR keeps the home, under the example's name, for `data/make_example.py`

Run it on an idle machine. The last lines time `paretoscope front` on the stored sweep (median of five).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from engine.measure.machine import machine
from engine.run.planner import make_plan
from engine.spec.read import read_sweep
from engine.spec.sweep import Sweep
from engine.store.schema import nodes
from engine.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE_NAME = "Example · resnet8 on Fashion-MNIST"
SPEC = ROOT / "data" / "example" / "spec.yaml"


def resident_bytes(process: psutil.Process) -> int:
    """Memory of a process and all that it started; pages that they share count once for each."""
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def forget_the_example() -> None:
    """Take out what the shipped example has finished: the default sweep is the same recipes, and this measures them from scratch."""
    with Store.open()._engine.begin() as connection:
        connection.execute(nodes.delete())


def timed_run(spec: Path, home: Path, *options: str) -> tuple[float, float, int]:
    """Seconds to the first measured trial and to the end of `paretoscope run` in an empty home, and its most memory in bytes."""
    os.environ["PARETOSCOPE_HOME"] = str(home)
    forget_the_example()
    started = time.monotonic()
    command = [sys.executable, "-m", "engine.cli", "run", str(spec), "--json", *options]
    runner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    first, most, watched = None, 0, psutil.Process(runner.pid)
    while runner.poll() is None:
        time.sleep(0.25)
        most = max(most, resident_bytes(watched))
        if first is None and (home / "paretoscope.db").exists():
            rows = [r for r in Store.open().sweeps() if not r.example]
            first = time.monotonic() - started if rows and rows[0].trials else None
    total = time.monotonic() - started
    if runner.returncode:
        sys.exit(f"the sweep failed with code {runner.returncode}")
    return first or total, total, most


def chain_seconds(sweep: Sweep, store: Store) -> float:
    """What every recipe from scratch would take by the times of this run's nodes: each recipe is one chain, so no two run at once."""
    plan = make_plan(sweep, machine())
    nodes = store.nodes(plan.nodes)
    return sum(nodes[key].seconds for chain in plan.chains for key in plan.needed(chain))


def naive_seconds(sweep: Sweep) -> float:
    """Every recipe for real, each in an empty home."""
    total = 0.0
    for recipe in sweep.all_recipes:
        with tempfile.TemporaryDirectory() as folder:
            spec = Path(folder) / "spec.json"
            alone = {"space": {}, "recipes": [recipe.to_json()]}
            spec.write_text(json.dumps({**sweep.model_dump(mode="json"), **alone}))
            total += timed_run(spec, Path(folder) / "home")[1]
    return total


def main() -> None:
    """Print the table."""
    keep = sys.argv[sys.argv.index("--keep") + 1] if "--keep" in sys.argv else None
    if keep and (ROOT / "data" / "example" / "sweep.json").exists():
        sys.exit("remove data/example/sweep.json first: while it is there, its name is taken")
    options = ("--set", f"name={EXAMPLE_NAME}") if keep else ()
    sweep = read_sweep(SPEC, options[1:])
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or temporary
        first, total, most = timed_run(SPEC, Path(folder), *options)
        store = Store.open()
        print(f"{machine().label}; load before {os.getloadavg()[2]:.1f} over 15 min")
        print(
            f"{len(sweep.all_recipes)} recipes: first point {first:.1f} s, all {total:.0f} s, {most / 1e9:.1f} GB of memory at most"
        )
        if "--naive" in sys.argv:
            print(f"every recipe from scratch, run for real: {naive_seconds(sweep) / total:.1f}× as long")
        else:
            print(f"every recipe from scratch, by the nodes' times: {chain_seconds(sweep, store) / total:.1f}× as long")
        os.environ["PARETOSCOPE_HOME"] = folder
        seconds = []
        for _ in range(5):
            started = time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "engine.cli", "front", sweep.id], cwd=ROOT, check=True, capture_output=True
            )
            seconds.append(time.monotonic() - started)
        print(f"paretoscope front on the stored sweep: {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
