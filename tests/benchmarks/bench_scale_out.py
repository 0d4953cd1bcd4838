"""Large plans and many workers: time and memory of a plan, what the runner adds to each node, and how a sweep grows with workers.

    .venv/bin/python tests/benchmarks/bench_scale_out.py [plan] [runner] [workers] [--nodes 100000] [--no-ops 3000]

`plan`: a sweep of so many nodes is planned, asked what is missing, and made ready to run, each in a process of its own.
`runner`: nodes that do nothing go through the real runner and a real local Dask cluster: host lock, artifact and store included. Only
what makes a trial of results is left out, as it is work that a sweep has for its figures. Seconds of the processor are printed beside those
of the clock, since a machine that others load has few of these.
`workers`: a simulation. Nodes take what those of their kind in the shipped example took; a latency, whose times do not ship, all that its
spec allows. Each worker is a host of one core; a node is started, in the order of the plan, when a worker is free and the runner has
handled what it waits for, which takes what `runner` says (`--handled-ms`).
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.measure.machine import machine  # noqa: E402
from engine.paths import EXAMPLE  # noqa: E402
from engine.run import run as runner  # noqa: E402
from engine.run import submission, worker  # noqa: E402
from engine.run.forecast import preview  # noqa: E402
from engine.run.missing import missing_nodes  # noqa: E402
from engine.run.outcome import Progress  # noqa: E402
from engine.run.plan import EXCLUSIVE, Chain, Plan  # noqa: E402
from engine.run.planner import make_plan  # noqa: E402
from engine.run.task import Task  # noqa: E402
from engine.spec.read import read_sweep  # noqa: E402
from engine.spec.sweep import Sweep, parse_sweep  # noqa: E402
from engine.store.artifacts import Artifacts  # noqa: E402
from engine.store.store import Store  # noqa: E402
from engine.trials.trial import Trial  # noqa: E402

MOST_PLAN_S, MOST_PLAN_BYTES = 10.0, 2e9
MOST_OVERHEAD_S, LEAST_PER_S = 0.020, 300


def wide(nodes: int, name: str = "wide") -> Sweep:
    """A sweep of about so many nodes: every pruning under every quantization, and four nodes for each of them."""
    prunings = max(1, min(125, nodes // 200))
    ratios = [round(0.1 + 0.8 * i / prunings, 4) for i in range(prunings)]
    samples = list(range(100, 100 + max(1, nodes // 4 // (prunings + 1))))
    space = {
        "prune": [None, {"method": "channel", "ratio": ratios, "finetune_epochs": 1, "finetune_samples": 20_000}],
        "quantize": [None, {"weight_bits": 8, "activation_bits": 8, "calibration_samples": samples}],
    }
    return parse_sweep({"name": name, "model": {"source": "resnet8"}, "space": space})


def plan_of(nodes: int) -> None:
    """The steps from a spec to a run that could begin, with seconds and the most memory so far."""
    process = psutil.Process()

    def timed(what: str, work: Callable[[], Any]) -> Any:
        began, used = time.perf_counter(), time.process_time()
        found = work()
        most = getattr(process.memory_info(), "peak_wset", None) or _peak_bytes()
        print(
            f"| {what} | {time.perf_counter() - began:.2f} | {time.process_time() - used:.2f} | {most / 1e9:.2f} |",
            flush=True,
        )
        return found

    print("| step | s | s of the processor | GB, most so far |\n|---|---|---|---|")
    sweep = timed("read and check the spec", lambda: wide(nodes))
    plan: Plan = timed("plan", lambda: make_plan(sweep, machine(), device="cpu"))
    store, artifacts = Store.open(), Artifacts.open()
    timed("count shared nodes", lambda: plan.naive)
    timed("what is missing", lambda: missing_nodes(plan, store, artifacts))
    run = timed("a run of it", lambda: runner._Run(plan, store, artifacts, lambda progress: None))
    trials = [Trial(c.recipe.id, c.recipe) for c in plan.chains]
    timed("enter its trials in the store", lambda: store.begin(sweep, trials, plan.unique, 0))
    timed("one heartbeat with its forecast", lambda: run._beat(cancellable=False))
    timed("`plan`: all of it again, with forecasts", lambda: preview(sweep, store, artifacts))
    print(
        f"{plan.unique:,} nodes of {len(plan.chains):,} recipes; at most {MOST_PLAN_S:g} s and {MOST_PLAN_BYTES / 1e9:g} GB wanted"
    )


def _peak_bytes() -> int:
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class _Idle(dict[str, Any]):
    """Work of every kind that leaves a file of one byte, where the kind leaves one, and says nothing."""

    def __getitem__(self, kind: str) -> Any:
        def nothing(task: Task, output: Path) -> dict[str, Any]:
            if task.node.artifact:
                output.write_bytes(b"x")
            return {}

        return nothing


def no_op(task: Task, *inputs_first: object) -> tuple[float, dict[str, Any]]:
    """As `run_node`, which it calls, but for the step itself."""
    worker._WORK = _Idle()
    return worker.run_node(task, *inputs_first)


def _no_trial(plan: Plan, chain: Chain, results: Any, artifacts: Artifacts) -> Trial:
    return Trial(chain.recipe.id, chain.recipe, state="done")


def through_the_runner(nodes: int) -> None:
    """Nodes a second, and what each costs the runner and the worker."""
    submission.run_node = no_op
    runner.assemble = _no_trial
    seen: list[tuple[float, int, float, float]] = []

    def on_progress(progress: Progress) -> None:
        workers = sum(sum(p.cpu_times()[:2]) for p in psutil.Process().children(recursive=True))
        seen.append((time.perf_counter(), progress.nodes_done, time.process_time(), workers))

    sweep = wide(nodes, "nothing to do")
    outcome = runner.execute(sweep, Store.open(), Artifacts.open(), on_progress=on_progress)
    # The first seconds are those of imports, of the last one the worker may be gone.
    early = next(i for i, s in enumerate(seen) if s[1] > outcome.nodes_run / 10)
    (began, first, own, theirs), (ended, last, own_end, theirs_end) = seen[early], seen[-2]
    count = last - first
    print(
        f"{outcome.nodes_run:,} nodes that do nothing ({outcome.trials_done:,} trials) in {outcome.seconds:.1f} s; after the first tenth "
        f"{count / (ended - began):.0f} a second (at least {LEAST_PER_S} wanted), {1e3 * (ended - began) / count:.2f} ms a node (at most "
        f"{1e3 * MOST_OVERHEAD_S:g}).\nOf the processor a node takes {1e3 * (own_end - own) / count:.2f} ms in the runner with Dask's "
        f"scheduler, {1e3 * (theirs_end - theirs) / count:.2f} ms in the worker: with a free core for each at most "
        f"{count / max(own_end - own, theirs_end - theirs):.0f} a second."
    )


def recorded_seconds(plan: Plan) -> dict[str, float]:
    """What each node would take on one core: the median of those of its kind in the shipped example, whose steps are as large."""
    taken: dict[str, list[float]] = {}
    for node in json.loads((EXAMPLE / "nodes.json").read_text())["nodes"]:
        taken.setdefault(node["kind"], []).append(node["seconds"])
    latency = plan.sweep.measure.latency
    assert latency is not None
    taken["latency"] = [latency.time_limit_s]
    return {key: statistics.median(taken[node.kind]) for key, node in plan.nodes.items()}


def simulate(plan: Plan, seconds: dict[str, float], workers: int, benches: int, handled_s: float) -> float:
    """Seconds until all nodes are handled. Timed nodes run on the first `benches` workers alone, which do other things as well.

    As the runner: the baseline first, then everything; a worker that is free takes the first node of the plan that can run.
    """
    place = {key: i for i, key in enumerate(plan.nodes)}
    children: dict[str, list[str]] = {key: [] for key in plan.nodes}
    waits = {key: len(node.inputs) for key, node in plan.nodes.items()}
    for key, node in plan.nodes.items():
        for other in node.inputs:
            children[other].append(key)
    now = runner_free = 0.0
    baseline = plan.awaited(plan.chains[0])
    done: set[str] = set()
    ready: dict[bool, list[int]] = {True: [], False: []}
    names = list(plan.nodes)
    held: list[str] = []

    def offer(key: str) -> None:
        if key in baseline or baseline <= done:
            heapq.heappush(ready[plan.nodes[key].kind in EXCLUSIVE], place[key])
        else:
            held.append(key)

    for key, count in waits.items():
        if not count:
            offer(key)
    free = {True: benches, False: workers - benches}
    events: list[tuple[float, int, str, bool, bool]] = []
    number = 0
    while len(done) < len(names):
        for bench in (True, False):
            # Whoever may time does that first: nobody else can.
            for exclusive in (True, False) if bench else (False,):
                while free[bench] and ready[exclusive]:
                    key = names[heapq.heappop(ready[exclusive])]
                    free[bench] -= 1
                    heapq.heappush(events, (now + seconds[key], number, key, bench, False))
                    number += 1
        now, _, key, bench, handled = heapq.heappop(events)
        if not handled:
            free[bench] += 1
            runner_free = max(now, runner_free) + handled_s
            heapq.heappush(events, (runner_free, number, key, bench, True))
            number += 1
            continue
        done.add(key)
        for child in children[key]:
            waits[child] -= 1
            if not waits[child]:
                offer(child)
        if held and baseline <= done:
            for child in held:
                offer(child)
            held.clear()
    return now


def longest_way_s(plan: Plan, seconds: dict[str, float]) -> float:
    """Seconds of the longest chain of nodes that wait for each other."""
    until: dict[str, float] = {}
    for key, node in plan.nodes.items():
        until[key] = seconds[key] + max((until[k] for k in node.inputs), default=0.0)
    return max(until.values())


def growth(title: str, plan: Plan, handled_s: float) -> None:
    """The speed-up curve of a plan, and which bound is nearest."""
    seconds = recorded_seconds(plan)
    total = sum(seconds.values())
    timed = sum(s for k, s in seconds.items() if plan.nodes[k].kind in EXCLUSIVE)
    way = longest_way_s(plan, seconds)
    print(
        f"\n{title}: {plan.unique:,} nodes, {total / 3600:.2f} core hours, {timed / 3600:.2f} of them timing; the longest way takes "
        f"{way:.0f} s, the runner {handled_s * plan.unique:.1f} s in all"
    )
    print("| workers | of them time | s | speed-up | limited by |\n|---|---|---|---|---|")
    for benches in (1, 4, None):
        for workers in (1, 2, 4, 8, 16, 32, 64):
            timing = workers if benches is None else min(benches, workers)
            if benches is not None and benches >= workers:
                continue
            took = simulate(plan, seconds, workers, timing, handled_s)
            bounds = {
                "workers": total / workers,
                "hosts that time": timed / timing,
                "the longest way": way,
                "the runner": handled_s * plan.unique,
            }
            nearest = max(bounds, key=bounds.__getitem__)
            shown = "all" if benches is None else timing
            limit = f"{nearest} ({bounds[nearest] / took:.0%} of it)"
            print(f"| {workers} | {shown} | {took:.0f} | {total / took:.1f} | {limit} |")


def on_workers(handled_s: float) -> None:
    """The example itself, and a grid of a thousand recipes of the same steps."""
    growth("The shipped example", make_plan(read_sweep(EXAMPLE / "spec.yaml"), machine(), device="cpu"), handled_s)
    growth("A grid of prunings and quantizations", make_plan(wide(4000), machine(), device="cpu"), handled_s)


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["plan", "runner", "workers"])
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--no-ops", type=int, default=3_000)
    parser.add_argument("--handled-ms", type=float, default=3.0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
        print(f"{machine().cpu}, {machine().cores} cores{load}")
        for part in options.parts:
            print(f"\n## {part}", flush=True)
            with tempfile.TemporaryDirectory(prefix="paretoscope-bench-") as folder:
                own = {"PARETOSCOPE_HOME": folder, "PARETOSCOPE_HOST_LOCK": folder}
                subprocess.run(
                    [sys.executable, *sys.argv[:1], *_again(options, part)], env=os.environ | own, check=True
                )
        return
    if "plan" in options.parts:
        plan_of(options.nodes)
    if "runner" in options.parts:
        through_the_runner(options.no_ops)
    if "workers" in options.parts:
        on_workers(options.handled_ms / 1e3)


def _again(options: argparse.Namespace, part: str) -> list[str]:
    numbers = ("--nodes", options.nodes, "--no-ops", options.no_ops, "--handled-ms", options.handled_ms)
    return ["--inside", part, *map(str, numbers)]


if __name__ == "__main__":
    # Workers find what they are given by the name of this file's module.
    from tests.benchmarks.bench_scale_out import main as under_its_name

    under_its_name()
