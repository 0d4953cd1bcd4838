"""How well a latency repeats: two independent measurements of the same pair, on an idle host and while another process loads one core.

    python tests/benchmarks/bench_latency.py [--runs N] [--pairs NAME,…] [--seconds S]

Beside ours stands the plain way: each file timed alone in a process of its own, one after the other, the medians divided. Ratios of all
pairs of runs are compared; the target is 3 % at most. Last, the baseline's p50 against a bare loop around `session.run`.

Prints figures and asserts nothing. Takes about five minutes with its defaults; run it when nothing else runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from engine.graph.graph import input_shape, load_onnx
from engine.measure.latency import measure_latency
from engine.measure.machine import machine
from engine.paths import EXAMPLE
from engine.spec.sections import LatencyOptions
from engine.store.artifacts import Artifacts
from engine.trials.trial import Trial

PAIRS = ("int8", "channels −50 % · finetune 1×20k", "distil ds_cnn (2×25k) · channels −70 % · finetune 1×20k · int8")
TARGET = 0.03

BARE = """
import sys, time
import numpy as np, onnxruntime as ort
path, shape, seconds, pinned = sys.argv[1], [int(n) for n in sys.argv[2].split(",")], float(sys.argv[3]), sys.argv[4]
if pinned and hasattr(__import__("os"), "sched_setaffinity"):
    __import__("os").sched_setaffinity(0, {int(pinned)})
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 4
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
feed = {session.get_inputs()[0].name: np.random.default_rng(0).standard_normal((1, *shape), np.float32)}
for _ in range(200):
    session.run(None, feed)
taken, start = [], time.perf_counter()
while time.perf_counter() - start < seconds:
    before = time.perf_counter_ns()
    session.run(None, feed)
    taken.append(time.perf_counter_ns() - before)
print(np.median(taken) * 1e-6)
"""


def bare_ms(path: Path, shape: tuple[int, ...], seconds: float, cpu: int | None = None) -> float:
    """Median of a bare loop in a fresh process that knows nothing of ours, in ms; the system chooses where it runs unless `cpu` does."""
    arguments = [str(path), ",".join(map(str, shape)), str(seconds), "" if cpu is None else str(cpu)]
    done = subprocess.run([sys.executable, "-c", BARE, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout)


@contextmanager
def load_on_one_core(wanted: bool):
    """Another process that never rests, free to move as the system likes."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "x = 1.0\nwhile True: x = x * 1.0000001 % 7"]) as busy:
        time.sleep(1)
        try:
            yield
        finally:
            busy.kill()


def apart(ratios: list[float]) -> list[float]:
    """By how much each two of the ratios differ, relative to the smaller, largest first."""
    return sorted((max(a, b) / min(a, b) - 1 for a, b in itertools.combinations(ratios, 2)), reverse=True)


def report(name: str, how: str, ratios: list[float], extra: str = "") -> None:
    differences = apart(ratios)
    within = sum(d <= TARGET for d in differences)
    shown = " ".join(f"{r:.4f}" for r in ratios)
    print(
        f"  {name[:44]:44}  {how:18}  {shown}  apart {differences[0]:6.2%} at most, median {statistics.median(differences):6.2%}; "
        f"{within} of {len(differences)} pairs within {TARGET:.0%}{extra}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=4, help="independent measurements of each pair")
    parser.add_argument("--pairs", default=None, help="labels of trials of the shipped example, divided by commas")
    parser.add_argument("--seconds", type=float, default=10.0, help="time limit of one measurement")
    given = parser.parse_args()
    trials = {t.label: t for t in map(Trial.from_json, json.loads((EXAMPLE / "sweep.json").read_text())["trials"])}
    artifacts = Artifacts.open()
    baseline = artifacts.local(trials["baseline"].artifact or "")
    shape = input_shape(load_onnx(baseline))
    options = LatencyOptions(time_limit_s=given.seconds)
    alone_s = given.seconds / 5
    print(f"{machine().label}; load average {os.getloadavg()[0]:.2f}; {given.runs} runs of each pair")
    for loaded in (False, True):
        print("while another process loads one core" if loaded else "idle")
        with load_on_one_core(loaded):
            for label in given.pairs.split(",") if given.pairs else PAIRS:
                path = artifacts.local(trials[label].artifact or "")
                found = [measure_latency(path, baseline, shape, options) for _ in range(given.runs)]
                stops = ", ".join(f"{r.stopped} ±{(r.half_width or 0):.1%} {len(r.processes)}p" for r in found)
                report(label, "in turns (ours)", [r.latency_ratio.value for r in found], f" [{stops}]")
                plain = [bare_ms(path, shape, alone_s) / bare_ms(baseline, shape, alone_s) for _ in range(given.runs)]
                report(label, "each alone", plain)
    print("p50 of the baseline against a bare loop on the same CPU, in turns")
    for _ in range(given.runs):
        ours = measure_latency(baseline, None, shape, options)
        bare = bare_ms(baseline, shape, alone_s, ours.cpus[0] if ours.cpus else None)
        print(f"  {ours.latency_ms.p50:.4f} ms, bare {bare:.4f} ms: {ours.latency_ms.p50 / bare - 1:+.2%}", flush=True)


if __name__ == "__main__":
    main()
