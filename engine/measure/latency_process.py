"""The process that times: `python -m engine.measure.latency_process` reads one JSON request and prints one JSON line.

It imports neither torch nor pydantic, pins itself to as many CPUs as it may use threads, measures the candidate's memory
while nothing else is loaded, then lets candidate and baseline run in turns, in blocks short enough that what disturbs the
one disturbs the other.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import ParetoscopeError
from engine.measure.session import Runner, one_line

Run = Callable[[], object]
Clock = Callable[[], int]
"""Nanoseconds since some moment."""

# Identity on a (1, 1, 1, 1) float tensor, serialised by onnx.helper: what ONNX Runtime costs before it holds a network.
EMPTY_MODEL = bytes.fromhex(
    "08083a4f0a100a017812017922084964656e746974791201655a1b0a017812160a14080112100a0208010a0208010a0208010a02080162"
    "1b0a017912160a14080112100a0208010a0208010a0208010a02080142040a00100d"
)
_RESAMPLES = 1_000


@dataclass(frozen=True)
class Limits:
    """When to stop: at `min_blocks` blocks, `min_runs` runs and `min_seconds` with an interval of ±`half_width`, or at `seconds`.

    All times count from the first warm-up run. A block lasts about `block_ms`, and is no more than `max_runs` runs, which bounds
    what is stored of very fast networks.
    """

    seconds: float = 2.5
    min_seconds: float = 1.0
    min_blocks: int = 20
    min_runs: int = 100
    half_width: float = 0.02
    block_ms: float = 20.0
    max_runs: int = 50
    warm_up_seconds: float = 0.1


@dataclass(frozen=True)
class Turns:
    """Raw samples in ms, a tuple for each block, in the order taken; `baseline_ms` is empty when there is none."""

    candidate_ms: tuple[tuple[float, ...], ...]
    baseline_ms: tuple[tuple[float, ...], ...]
    stopped_by: str
    elapsed_s: float


def bootstrap_median(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Median of `values` (n,) with the ends of its 95 % percentile bootstrap interval (Efron 1979), the same on each call."""
    indices = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[indices], axis=1), [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)


def block_values(
    candidate_ms: Iterable[tuple[float, ...]], baseline_ms: Iterable[tuple[float, ...]]
) -> npt.NDArray[np.float64]:
    """Median of each candidate block, divided by that of the baseline block beside it where there is one; (blocks,)."""
    candidate = np.array([np.median(block) for block in candidate_ms])
    baseline = np.array([np.median(block) for block in baseline_ms])
    return candidate / baseline if len(baseline) else candidate


def _milliseconds(ns: int) -> float:
    # Five significant digits: finer than any clock repeats, and short in JSON.
    return float(f"{ns * 1e-6:.5g}")


def _warm_up(run: Run, clock: Clock, seconds: float) -> float:
    """Run until `seconds` have passed, two runs at least; ms of the fastest. One suffices where a run outlasts the time."""
    start, fastest, runs = clock(), 0, 0
    while runs < 2 or clock() - start < seconds * 1e9:
        before = clock()
        run()
        took = clock() - before
        fastest, runs = (min(fastest, took) if runs else took), runs + 1
        if took > seconds * 1e9:
            break
    return fastest * 1e-6


def _block(run: Run, runs: int, clock: Clock) -> tuple[float, ...]:
    """`runs` timed runs. Short ones follow one that is not counted: it fetches back what the other session put out of cache."""
    if runs > 1:
        run()
    taken = []
    for _ in range(runs):
        start = clock()
        run()
        taken.append(clock() - start)
    return tuple(map(_milliseconds, taken))


def take_turns(candidate: Run, baseline: Run | None, limits: Limits, clock: Clock = time.perf_counter_ns) -> Turns:
    """Warm up, then time both in blocks next to each other, now the one first, now the other, until `limits` say stop."""
    start = clock()
    sides = [candidate] if baseline is None else [candidate, baseline]
    # At least 25 blocks of each side fit into the time, however short it is.
    block_ms = min(limits.block_ms, limits.seconds * 1e3 / 50)
    warm = [_warm_up(run, clock, min(limits.warm_up_seconds, limits.seconds / 10)) for run in sides]
    runs = [max(1, min(limits.max_runs, round(block_ms / max(ms, 1e-6)))) for ms in warm]
    samples: list[list[tuple[float, ...]]] = [[] for _ in sides]
    order = list(range(len(sides)))
    stopped_by = ""
    while not stopped_by:
        for side in order:
            samples[side].append(_block(sides[side], runs[side], clock))
        order.reverse()
        blocks, elapsed_s = len(samples[0]), (clock() - start) * 1e-9
        # Looking often would stop at a lucky moment; every tenth block is enough.
        enough = blocks >= limits.min_blocks and blocks * runs[0] >= limits.min_runs and elapsed_s >= limits.min_seconds
        if enough and blocks % 10 == 0:
            value, low, high = bootstrap_median(block_values(samples[0], samples[-1] if len(sides) > 1 else ()))
            if high - low <= 2 * limits.half_width * value:
                stopped_by = "interval"
        if not stopped_by and elapsed_s >= limits.seconds and blocks >= 3:
            stopped_by = "time limit"
    return Turns(tuple(samples[0]), tuple(samples[1]) if len(sides) > 1 else (), stopped_by, elapsed_s)


def choose_cpus(available: Iterable[int], threads: int, core: dict[int, str], mhz: dict[int, float]) -> tuple[int, ...]:
    """Which CPUs to pin to: fastest kind first, one per physical core, high numbers first (the system's own work is on low ones).

    `core` names the physical core of a CPU (siblings share a name), `mhz` its highest clock; both may be empty.
    """
    ordered = sorted(available, key=lambda cpu: (-mhz.get(cpu, 0), -cpu))
    first: list[int] = []
    siblings: list[int] = []
    seen: set[str] = set()
    for cpu in ordered:
        name = core.get(cpu, str(cpu))
        (siblings if name in seen else first).append(cpu)
        seen.add(name)
    return tuple((first + siblings)[:threads])


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _pin(threads: int) -> tuple[int, ...]:
    """Stay on `threads` CPUs from here on, where the system can do that; the CPUs, or none."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    available = os.sched_getaffinity(0)
    root = "/sys/devices/system/cpu/cpu"
    core = {c: _read(f"{root}{c}/topology/thread_siblings_list") or str(c) for c in available}
    mhz = {c: float(_read(f"{root}{c}/cpufreq/cpuinfo_max_freq") or 0) for c in available}
    cpus = choose_cpus(available, threads, core, mhz)
    os.sched_setaffinity(0, cpus)
    return cpus


def _memory(field: str) -> int | None:
    """A field of /proc/self/status in bytes; None where there is none (not Linux)."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None


def _reset_high_water() -> None:
    """Set VmHWM back to what is resident now (proc(5), clear_refs 5)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _load_alone(path: Path, threads: int, images: npt.NDArray[np.float32]) -> tuple[Runner, float, int | None]:
    """The candidate's session, ms that loading took, and the high-water mark of resident bytes above an empty session's.

    It includes optimisation at load and three runs. The baseline is loaded later, so that it is not in it.
    """
    Runner(EMPTY_MODEL, threads)(np.zeros((1, 1, 1, 1), np.float32))
    gc.collect()
    _reset_high_water()
    before = _memory("VmHWM")
    start = time.perf_counter_ns()
    runner = Runner(path, threads)
    load_ms = _milliseconds(time.perf_counter_ns() - start)
    if runner.fixed_batch not in (None, len(images)):
        raise ParetoscopeError(
            f"{runner.name} takes batches of {runner.fixed_batch} only; set measure.latency.batch to that"
        )
    for _ in range(3):
        runner(images)
    after = _memory("VmHWM")
    return runner, load_ms, None if before is None or after is None else max(0, after - before)


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """What the request asks for: `candidate`, `baseline` (path or None), `shape` (C, H, W), `threads`, `batch`, `limits`."""
    threads = request["threads"]
    cpus = _pin(threads)
    # Values do not change the time of dense kernels, but zeros and denormals could; noise has neither.
    shape = (request["batch"], *request["shape"])
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    candidate, load_ms, peak_memory_bytes = _load_alone(Path(request["candidate"]), threads, images)
    baseline = Runner(Path(request["baseline"]), threads) if request["baseline"] else None
    gc.disable()
    turns = take_turns(
        lambda: candidate(images),
        None if baseline is None else lambda: baseline(images),
        Limits(**request["limits"]),
    )
    return asdict(turns) | {"load_ms": load_ms, "peak_memory_bytes": peak_memory_bytes, "cpus": cpus}


def main() -> None:
    """Standard input -> standard output, one JSON line; `{"error": …}` for whatever went wrong."""
    try:
        answer = measure(json.load(sys.stdin))
    except ParetoscopeError as error:
        answer = {"error": str(error)}
    except Exception as error:  # the parent must hear of it in one line
        answer = {"error": f"{type(error).__name__}: {one_line(error)}"}
    sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
