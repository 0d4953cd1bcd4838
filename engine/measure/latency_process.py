"""The process that times: `python -m engine.measure.latency_process` reads one JSON request and prints one JSON line.

It imports neither torch nor pydantic, pins its threads to the cores that are least busy, measures the candidate's cold start and memory
while nothing else is loaded, then lets candidate and baseline run in turns, in blocks short enough that what disturbs the one disturbs
the other. One measurement is several such processes (engine/measure/latency.py).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import ParetoscopeError, StepError
from engine.graph.inputs import Inputs, load_inputs, resized
from engine.measure.pinning import _read, pin
from engine.measure.ratio import block_logs, pooled, undisturbed
from engine.measure.session import Runner, one_line

Run = Callable[[], object]
Clock = Callable[[], int]
"""Nanoseconds since some moment."""
Switches = Callable[[], int]
"""How often this process has been put off a core so far."""

# Identity on a (1, 1, 1, 1) float tensor, serialised by onnx.helper: what ONNX Runtime costs before it holds a network.
EMPTY_MODEL = bytes.fromhex(
    "08083a4f0a100a017812017922084964656e746974791201655a1b0a017812160a14080112100a0208010a0208010a0208010a02080162"
    "1b0a017912160a14080112100a0208010a0208010a0208010a02080142040a00100d"
)
# A first run longer than this is not repeated for the sake of memory.
_LONG_RUN_S = 0.2


@dataclass(frozen=True)
class Limits:
    """When one process stops: at `min_blocks` blocks, `min_runs` runs and `min_seconds` with an interval of ±`half_width`, or at `seconds`.

    All times count from the first warm-up run. A block lasts about `block_ms`, so short that a pair of them often fits between two turns of
    a busy system's scheduler, and is no more than `max_runs` runs, which bounds what is stored of very fast networks.
    """

    seconds: float = 1.25
    half_width: float = 0.02
    min_seconds: float = 0.3
    min_blocks: int = 20
    min_runs: int = 50
    block_ms: float = 3.0
    max_runs: int = 50
    warm_up_seconds: float = 0.1


@dataclass(frozen=True)
class Turns:
    """Raw samples in ms, a tuple for each block, in the order taken; `baseline_ms` is empty when there is none.

    `switches`: how often the process was put off its core during each pair of blocks.
    """

    candidate_ms: tuple[tuple[float, ...], ...]
    baseline_ms: tuple[tuple[float, ...], ...]
    switches: tuple[int, ...]
    elapsed_s: float


def logs_of(samples: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """The blocks of one process that count, as `block_logs`, from the fields of `Turns`."""
    kept = undisturbed(samples["switches"])
    sides = (
        [block for block, keep in zip(samples[side], kept, strict=False) if keep]
        for side in ("candidate_ms", "baseline_ms")
    )
    return block_logs(*sides)


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


def involuntary_switches() -> int:
    """How often the system took this process, all its threads, off a core (getrusage); 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def take_turns(
    candidate: Run,
    baseline: Run | None,
    limits: Limits,
    clock: Clock = time.perf_counter_ns,
    switches: Switches = involuntary_switches,
) -> Turns:
    """Warm up, then time both in blocks next to each other, now the one first, now the other, until `limits` say stop."""
    start = clock()
    sides = [candidate] if baseline is None else [candidate, baseline]
    # At least 25 blocks of each side fit into the time, however short it is.
    block_ms = min(limits.block_ms, limits.seconds * 1e3 / 50)
    warm = [_warm_up(run, clock, min(limits.warm_up_seconds, limits.seconds / 10)) for run in sides]
    runs = [max(1, min(limits.max_runs, round(block_ms / max(ms, 1e-6)))) for ms in warm]
    samples: list[list[tuple[float, ...]]] = [[] for _ in sides]
    switched: list[int] = []
    order = list(range(len(sides)))
    while True:
        before = switches()
        for side in order:
            samples[side].append(_block(sides[side], runs[side], clock))
        switched.append(switches() - before)
        order.reverse()
        elapsed_s = (clock() - start) * 1e-9
        # Looking often would stop at a lucky moment, and takes time from measuring; every tenth block is enough.
        if elapsed_s < limits.seconds and len(switched) % 10:
            continue
        theirs = tuple(samples[1]) if baseline is not None else ()
        turns = Turns(tuple(samples[0]), theirs, tuple(switched), elapsed_s)
        if elapsed_s >= limits.seconds or _is_precise(turns, limits):
            return turns


def _is_precise(turns: Turns, limits: Limits) -> bool:
    """Whether this process knows enough."""
    blocks, runs = len(turns.switches), sum(map(len, turns.candidate_ms))
    if blocks < limits.min_blocks or runs < limits.min_runs or turns.elapsed_s < limits.min_seconds:
        return False
    width = pooled([logs_of(vars(turns))]).half_width
    return width is not None and width <= limits.half_width


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


def fed(request: Mapping[str, Any], batch: int) -> Inputs:
    """What one call is given: noise of `shape`, or real samples, those of the file `sample`."""
    if request.get("sample"):
        return resized(load_inputs(Path(request["sample"])), batch)
    # Values do not change the time of dense kernels, but zeros and denormals could; noise has neither.
    return np.random.default_rng(0).standard_normal((batch, *request["shape"]), np.float32)


@dataclass(frozen=True)
class _Session:
    """How one side is run."""

    threads: int
    batch: int
    graph_optimisation: str
    provider: str

    def open(self, model: Path | bytes, cpus: tuple[int, ...]) -> Runner:
        return Runner(model, self.threads, self.graph_optimisation, self.provider, cpus)

    def images(self, request: Mapping[str, Any]) -> Inputs:
        return fed(request, self.batch)


def _load_alone(path: Path, session: _Session, images: Inputs, cpus: tuple[int, ...]) -> tuple[Runner, dict[str, Any]]:
    """The candidate's session, and its cold start and memory.

    `load_ms` is what creating the session took, optimisation included, `first_run_ms` the first run; the file itself is in the system's
    cache. `peak_memory_bytes` is the high-water mark of resident bytes above an empty session's, of the host's memory. The baseline is
    loaded later, so that it is not in it. `placement`: what its provider took, as `Runner` says.
    """
    # A provider that does not take so little has brought its libraries in all the same; the candidate says what else is wrong.
    with contextlib.suppress(StepError):
        session.open(EMPTY_MODEL, cpus)(np.zeros((1, 1, 1, 1), np.float32))
    gc.collect()
    _reset_high_water()
    before = _memory("VmHWM")
    start = time.perf_counter_ns()
    runner = session.open(path, cpus)
    loaded = time.perf_counter_ns()
    if runner.fixed_batch not in (None, len(images)):
        raise ParetoscopeError(
            f"{runner.name} takes batches of {runner.fixed_batch} only; set measure.latency.batch to that"
        )
    runner(images)
    first_run_ns = time.perf_counter_ns() - loaded
    if first_run_ns < _LONG_RUN_S * 1e9:
        for _ in range(2):
            runner(images)
    after = _memory("VmHWM")
    return runner, {
        "load_ms": _milliseconds(loaded - start),
        "first_run_ms": _milliseconds(first_run_ns),
        "peak_memory_bytes": None if before is None or after is None else max(0, after - before),
        "placement": runner.placement,
    }


def arena_bytes(log: str) -> int | None:
    """The most bytes that ONNX Runtime's arena said to hold in its log; None where it said nothing."""
    return max((int(n) for n in re.findall(r"Total allocated bytes: (\d+)", log)), default=None)


def _measure_arena(path: Path, session: _Session, images: Inputs, cpus: tuple[int, ...]) -> int | None:
    """Bytes that the session's arena holds after two runs. The runtime tells of them in its log alone, which is read from stderr."""
    import onnxruntime as ort

    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        try:
            os.dup2(log.fileno(), 2)
            runner = session.open(path, cpus)
            ort.set_default_logger_severity(1)
            for _ in range(2):
                runner(images)
        finally:
            ort.set_default_logger_severity(4)
            os.dup2(kept, 2)
            os.close(kept)
        log.seek(0)
        return arena_bytes(log.read().decode(errors="replace"))


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """What the request asks for.

    `candidate`, `baseline` (path or None), `shape` (C, H, W) of noise or `sample`, a file of real inputs, `sessions` (threads, batch,
    graph_optimisation, provider for each of the two), `limits`, `arena` (whether to look at it).
    """
    sessions = [_Session(**s) for s in request["sessions"]]
    cpus = pin(max(s.threads for s in sessions))
    images = [s.images(request) for s in sessions]
    path = Path(request["candidate"])
    candidate, cold = _load_alone(path, sessions[0], images[0], cpus)
    baseline = sessions[1].open(Path(request["baseline"]), cpus) if request["baseline"] else None
    gc.disable()
    turns = take_turns(
        candidate.repeated(images[0]),
        None if baseline is None else baseline.repeated(images[1]),
        Limits(**request["limits"]),
    )
    # Other providers have memory of their own, of which the arena knows nothing.
    has_arena = request["arena"] and sessions[0].provider == "CPU"
    arena = _measure_arena(path, sessions[0], images[0], cpus) if has_arena else None
    return asdict(turns) | cold | {"arena_bytes": arena, "cpus": cpus}


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
