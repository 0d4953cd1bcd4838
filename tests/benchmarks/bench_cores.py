"""Are all cores at work? The default sweep's use of them, one training alone on one core and on more, and both on 1 to 16 by simulation.

    python tests/benchmarks/bench_cores.py                      all of it, on an idle machine; the sweep takes minutes
    python tests/benchmarks/bench_cores.py --no-sweep           the lone training alone
    python tests/benchmarks/bench_cores.py --set KEY=VALUE …    another sweep than the default one

Use is core-seconds that nodes had (of what is timed: seconds × all cores) over wall time × cores, from the start of the command to its end;
cores that other programs keep busy are not theirs to have. The lone training is the plain loop of `engine/compress/finetune.py`, in a
process with a worker's environment, one core and more in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine.cores import OtherPrograms
from engine.measure.machine import machine
from engine.run.cluster import WORKER_ENVIRONMENT
from engine.run.plan import EXCLUSIVE, Plan
from engine.run.planner import make_plan
from engine.spec.read import read_sweep
from engine.store.schema import nodes
from engine.store.store import Store
from tests.helpers.scheduling import simulate, speed

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "data" / "example" / "spec.yaml"
TURNS = 5
SIMULATED = (1, 2, 4, 8, 16)


def one_training(network: str, images: int, cores: int) -> dict[str, float]:
    """Seconds of one epoch on so many cores, wall and processor time, in this process."""
    from engine.compress.finetune import Schedule, train
    from engine.cores import Pool
    from engine.datasets.fashion_mnist import load_fashion_mnist
    from engine.models.sources import load_network
    from engine.spec.sections import Model

    data = load_fashion_mnist()
    module = load_network(Model(source=network), data).module
    schedule = Schedule(epochs=1, learning_rate=0.01, batch_size=64, dropout=False, mirror=False)
    with Pool(cores).task(cores):
        train(module, data.train.head(640), data.preprocessing, schedule, 0)
        wall, processor = time.monotonic(), time.process_time()
        train(module, data.train.head(images), data.preprocessing, schedule, 0)
        return {"wall": time.monotonic() - wall, "processor": time.process_time() - processor}


def lone_training(network: str, images: int) -> float:
    """Print what every core brings, and return the share of the work that stays on one, as Amdahl's law has it."""
    several = [c for c in (1, 2, 4, 8, 16) if c <= machine().cores]
    worker = {name: str(value) for name, value in WORKER_ENVIRONMENT.items()}
    found: dict[int, list[dict[str, float]]] = {c: [] for c in several}
    for _ in range(TURNS):
        for cores in several:
            command = [sys.executable, __file__, "--one", network, str(images), str(cores)]
            environment = {**os.environ, **worker, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            found[cores].append(json.loads(done.stdout))
    print(f"{network}, one epoch of {images} images, median (least) of {TURNS}:")
    alone = statistics.median(turn["wall"] for turn in found[1])
    for cores, turns in found.items():
        walls = [turn["wall"] for turn in turns]
        processor = statistics.median(turn["processor"] for turn in turns)
        ratio, best = alone / statistics.median(walls), min(t["wall"] for t in found[1]) / min(walls)
        print(
            f"  {cores} cores: {statistics.median(walls):.2f} ({min(walls):.2f}) s, ×{ratio:.2f} ({best:.2f}); "
            f"{processor:.2f} s of processor time"
        )
    if len(several) == 1:
        return 0.0
    most = several[-1]
    reached = min(t["wall"] for t in found[1]) / min(t["wall"] for t in found[most])
    return min(1.0, max(0.0, (most / reached - 1) / (most - 1)))


def own_processor_s() -> float:
    """Of this process and of all that it has started and that has ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def default_sweep(overrides: list[str]) -> tuple[Plan, dict[str, float]]:
    """Run it in an empty home, print the use of the cores, and return its plan and what each node took."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["PARETOSCOPE_HOME"] = home
        with Store.open()._engine.begin() as connection:
            connection.execute(nodes.delete())  # what the shipped example has finished
        options = [part for override in overrides for part in ("--set", override)]
        others, started = OtherPrograms(own=own_processor_s), time.monotonic()
        others(started)
        subprocess.run(
            [sys.executable, "-m", "engine.cli", "run", str(SPEC), "--json", *options],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wall, taken_by_others = time.monotonic() - started, others(time.monotonic())
        plan = make_plan(read_sweep(SPEC, tuple(overrides)), machine())
        taken = {key: row.seconds for key, row in Store.open().nodes(plan.nodes).items()}
    cores = machine().cores
    had = sum(s * (cores if plan.nodes[key].kind in EXCLUSIVE else 1) for key, s in taken.items())
    print(
        f"the sweep: {len(taken)} nodes in {wall:.0f} s, use of {cores} cores {had / (wall * cores):.2f}; "
        f"other programs had {taken_by_others:.2f} cores all the while"
    )
    return plan, taken


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--one", nargs=3, metavar=("NETWORK", "IMAGES", "CORES"), help="one training; what the bench starts"
    )
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--no-sweep", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_training(given.one[0], int(given.one[1]), int(given.one[2]))))
        return
    print(f"{machine().label}; load before {os.getloadavg()[2]:.1f} over 15 min")
    serial = lone_training(given.network, given.images)
    print(f"by these times {serial:.0%} of a training stays on one core; simulated with that:")
    print("  a lone training: " + ", ".join(f"{c} cores ×{speed(c, serial):.1f}" for c in SIMULATED))
    if given.no_sweep:
        return
    plan, taken = default_sweep(given.set)
    for cores in SIMULATED:
        found = simulate(plan, taken, cores, serial)
        print(f"  the sweep on {cores} cores, simulated: {found.wall_s:.0f} s, use {found.utilization:.2f}")


if __name__ == "__main__":
    main()
