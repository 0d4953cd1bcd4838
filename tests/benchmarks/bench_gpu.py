"""The same trainings on the CPU and on the GPU: their accuracies within the spread of seeds, their times side by side.

    python tests/benchmarks/bench_gpu.py                          distillation, pruning with finetuning, and training in 4 bits, three seeds
    python tests/benchmarks/bench_gpu.py --seeds 2 --epochs 1     shorter, for a machine that is lent by the minute

Each side is the sweep of `spec_of` in an empty home, with `PARETOSCOPE_DEVICE` set. Beside each recipe stand the mean accuracies over the
seeds, and by how many standard errors of their difference they differ; beside each kind of node the median of its seconds (times the
cores that it had). Refuses without a GPU.
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
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.measure.machine import machine
from engine.quality.predictions import Predictions
from engine.run.planner import make_plan
from engine.run.training_device import gpus, kind_of
from engine.spec.read import read_sweep
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
# Standard errors that two means of a few seeds may differ by.
MOST_ERRORS = 3.0


@dataclass(frozen=True)
class Side:
    """What one device came to: seconds of the whole sweep, of its nodes by kind, and accuracies by recipe, one for each seed."""

    wall_s: float
    seconds: dict[str, list[float]]
    accuracies: dict[str, list[float]]


def spec_of(folder: Path, epochs: int, seeds: int) -> Path:
    """The sweep as a file."""
    space = {
        "distill": [None, {"student": "ds_cnn", "epochs": epochs}],
        "prune": [None, {"method": "channel", "ratio": 0.5, "importance": "taylor", "finetune_epochs": epochs}],
        "quantize": [None, {"weight_bits": 4, "activation_bits": 8, "method": "qat", "epochs": epochs}],
    }
    spec = {
        "name": "gpu",
        "model": {"source": "resnet8"},
        "space": space,
        "measure": {"latency": None},
        "replicates": seeds,
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def swept(spec: Path, device: str) -> Side:
    """Run the sweep on a device, in an empty home."""
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"PARETOSCOPE_HOME": home, "PARETOSCOPE_DEVICE": device}
        started = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "engine.cli", "run", str(spec), "--json"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wall = time.monotonic() - started
        return read(read_sweep(spec), kind_of(device), wall)


def read(sweep: Sweep, kind: str, wall_s: float) -> Side:
    """What the nodes of a finished sweep took and came to."""
    plan = make_plan(sweep, machine(), device=kind)
    rows, artifacts = Store.open().nodes(plan.nodes), Artifacts.open()
    seconds: dict[str, list[float]] = defaultdict(list)
    for key, row in rows.items():
        if (plan.nodes[key].device == kind and kind != "cpu") or kind == "cpu":
            seconds[row.kind].append(row.seconds)
    accuracies = {}
    for chain in plan.chains:
        keys = [each.accuracy for each in (chain, *chain.replicas)]
        found = [Predictions.load(artifacts.local(plan.nodes[key].artifact or "")) for key in keys]
        accuracies[chain.recipe.label] = [float(np.mean(each.right)) for each in found if each.right is not None]
    return Side(wall_s, dict(seconds), accuracies)


def errors_apart(one: list[float], other: list[float]) -> float | None:
    """The difference of two means in standard errors of it; None where nothing varies or one seed alone was run."""
    if len(one) < 2 or len(other) < 2:
        return None
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return abs(statistics.mean(one) - statistics.mean(other)) / spread**0.5 if spread else None


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    if not gpus():
        sys.exit("torch finds no GPU here; run this on a machine with one")
    gpu = gpus()[0]
    print(f"{machine().label}; {gpu.name} is {gpu.title}")
    with tempfile.TemporaryDirectory() as folder:
        spec = spec_of(Path(folder), given.epochs, given.seeds)
        here, there = swept(spec, "cpu"), swept(spec, gpu.name)
    print(
        f"the sweep: {here.wall_s:.0f} s on the CPU, {there.wall_s:.0f} s with the GPU, ×{here.wall_s / there.wall_s:.1f}"
    )
    for kind in there.seconds:
        one, other = statistics.median(here.seconds[kind]), statistics.median(there.seconds[kind])
        print(f"  {kind}: {one:.1f} core-seconds on the CPU, {other:.1f} on the GPU, ×{one / other:.1f}")
    far = []
    for label, accuracies in here.accuracies.items():
        apart = errors_apart(accuracies, there.accuracies[label])
        far += [label] if apart is not None and apart > MOST_ERRORS else []
        means = (statistics.mean(side.accuracies[label]) for side in (here, there))
        print(f"  {label}: " + " and ".join(f"{mean:.2%}" for mean in means), end="")
        print("" if apart is None else f", {apart:.1f} standard errors apart")
    print(f"further apart than seeds explain: {', '.join(far) or 'none'}")


if __name__ == "__main__":
    main()
