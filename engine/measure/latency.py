"""Latency of an ONNX file in ONNX Runtime: measured in turns with the baseline, in fresh processes of its own.

One process alone would repeat itself to ±1 % and yet be wrong by more: where its memory lies and which core it got are drawn once. So a
measurement is three processes or more, each with its own blocks in turns, and ends when what they say together is sure enough, or the time
is over.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.errors import SpecError, StepError
from engine.graph.inputs import Inputs, save_inputs
from engine.measure.fresh_process import run_module, signal_text
from engine.measure.latency_process import Limits, logs_of
from engine.measure.ratio import pooled, undisturbed
from engine.spec.runtime import Runtime
from engine.spec.sections import LatencyOptions
from engine.trials.evidence import Interval
from engine.trials.measurements import Latency

Ask = Callable[[dict[str, Any], float], dict[str, Any]]
"""A request and seconds to wait -> what the measuring process answered."""
Samples = Mapping[str, Any]
"""What one process measured: the fields of `latency_process.Turns`, its cold start, memory and `cpus`."""
# A process that cannot load or run a file in this time never will.
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class LatencyResult:
    """Times of one call (a whole batch) in ms, as Python sees them: `session.run`, copies of its input and output included; on a device
    with a memory of its own, a run whose input and output stay there, until the device is done.

    `latency_ms`: percentiles over all runs of all processes. `latency_interval_ms`: the median with its interval. `latency_ratio`:
    candidate over baseline, per image; 1 by definition where the candidate is the baseline. Both intervals are 95 %
    (engine/measure/ratio.py). `throughput_per_s`: images. `stopped`: `precise`, the interval of the ratio (the baseline: of its median) is
    within ±`half_width` as asked, or `time limit`; `half_width` is what was reached, relative, None when it is not known.

    `load_ms`: session creation, `first_run_ms`: the first run after it, medians over processes; the file was in the system's cache.
    `peak_memory_bytes`: resident high-water mark of loading and running the candidate, above an empty session; `arena_bytes`: what ONNX
    Runtime's arena held after it ran; None where the system does not say. `blocks` pairs were timed, of which `disturbed_blocks` did not
    count for the ratio, because the process was put off its core. `runtime`, `baseline_runtime`: how either was run, every option stated.
    `placement`: {provider: {type of operator: how many}}, what ran where; empty on the CPU provider, and where the runtime does not say.
    `processes`: the raw samples, from which `summarise` gives all else again.
    """

    latency_ms: Latency
    latency_interval_ms: Interval
    latency_ratio: Interval
    throughput_per_s: float
    stopped: Literal["precise", "time limit"]
    half_width: float | None
    load_ms: float
    first_run_ms: float
    peak_memory_bytes: int | None
    arena_bytes: int | None
    blocks: int
    disturbed_blocks: int
    elapsed_s: float
    runtime: dict[str, Any]
    baseline_runtime: dict[str, Any]
    cpus: tuple[int, ...]
    placement: dict[str, dict[str, int]]
    processes: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> LatencyResult:
        """The inverse of `to_json`: summarised anew from the samples in the record; keys that others added are passed over."""
        return summarise(
            record["processes"],
            Runtime(**record["runtime"]),
            Runtime(**record["baseline_runtime"]),
            record["stopped"],
            record["elapsed_s"],
        )


def _median(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.median(known)) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def summarise(
    processes: Sequence[Samples],
    runtime: Runtime,
    baseline_runtime: Runtime,
    stopped: Literal["precise", "time limit"],
    elapsed_s: float,
) -> LatencyResult:
    """Raw samples of every process -> the result; the same for the same samples."""
    kept = [_frozen(p) for p in processes]
    own = pooled([logs_of({**p, "baseline_ms": ()}) for p in kept])
    times = np.concatenate([block for p in kept for block in p["candidate_ms"]])
    p50, p95, p99 = (float(q) for q in np.quantile(times, [0.5, 0.95, 0.99]))
    ratio, half_width = Interval(1.0, 1.0, 1.0), own.half_width
    if kept[0]["baseline_ms"]:
        found, images = pooled([logs_of(p) for p in kept]), runtime_batch(baseline_runtime) / runtime_batch(runtime)
        ratio = Interval(found.value * images, found.low * images, found.high * images)
        half_width = found.half_width
    return LatencyResult(
        latency_ms=Latency(p50, p95, p99),
        latency_interval_ms=Interval(p50, p50 * own.low / own.value, p50 * own.high / own.value),
        latency_ratio=ratio,
        throughput_per_s=runtime_batch(runtime) * 1e3 / p50,
        stopped=stopped,
        half_width=half_width,
        load_ms=float(np.median([p["load_ms"] for p in kept])),
        first_run_ms=float(np.median([p["first_run_ms"] for p in kept])),
        peak_memory_bytes=_whole(_median([p["peak_memory_bytes"] for p in kept])),
        arena_bytes=_whole(_median([p["arena_bytes"] for p in kept])),
        blocks=sum(len(p["switches"]) for p in kept),
        disturbed_blocks=sum(int((~undisturbed(p["switches"])).sum()) for p in kept),
        elapsed_s=elapsed_s,
        runtime=runtime.options,
        baseline_runtime=baseline_runtime.options,
        cpus=tuple(sorted({cpu for p in kept for cpu in p["cpus"]})),
        placement=kept[0].get("placement", {}),
        processes=tuple(kept),
    )


def runtime_batch(runtime: Runtime) -> int:
    """Images per call of a runtime whose options are all stated."""
    assert runtime.batch is not None, "LatencyOptions.filled states every option"
    return runtime.batch


def _frozen(samples: Samples) -> dict[str, Any]:
    blocks = {
        side: tuple(tuple(float(ms) for ms in block) for block in samples[side])
        for side in ("candidate_ms", "baseline_ms")
    }
    return {**samples, **blocks, "switches": tuple(samples["switches"]), "cpus": tuple(samples["cpus"])}


def _ask(request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Run the measuring process on one request; raises StepError in one line for whatever it did not survive."""
    try:
        done = run_module("engine.measure.latency_process", request, timeout_s)
    except subprocess.TimeoutExpired:
        raise StepError(f"latency: one measurement took more than {timeout_s:g} s and was stopped") from None
    if done.returncode < 0:
        raise StepError(f"latency: the measuring process was killed by {signal_text(-done.returncode)}")
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise StepError(f"latency: the measuring process ended with code {done.returncode}: {last}") from None
    if "error" in answer:
        raise StepError(f"latency: {answer['error']}")
    return answer


def _check_threads(runtimes: Sequence[Runtime], options: LatencyOptions) -> None:
    """Raises SpecError for more threads than CPUs."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(r.threads or 1 for r in runtimes)
    if threads > cpus:
        where = "measure.latency.threads" if threads == options.threads else "runtime: threads"
        raise SpecError(f"{where} is {threads}, but there are {cpus} CPUs here; set it to {cpus} or fewer")


def measure_latency(
    candidate: Path,
    baseline: Path | None,
    input_shape: tuple[int, ...] | Inputs,
    options: LatencyOptions,
    runtime: Runtime | None = None,
    *,
    ask: Ask = _ask,
    clock: Callable[[], float] = time.monotonic,
) -> LatencyResult:
    """Time `candidate`, run as `runtime` says, against `baseline` (None: it is the baseline), run as `options` say.

    Both run on noise of (batch, *input_shape), or on the samples that are given instead. Raises StepError when a file cannot be loaded or
    run, SpecError for more threads than CPUs.
    """
    sides = (options.filled(runtime), options.filled(None))
    _check_threads(sides, options)
    start = clock()
    # Three processes take half of the time, so that a few more fit in where those do not agree.
    limits = Limits(seconds=options.time_limit_s / (2 * (options.processes + 1)), half_width=options.half_width)
    request = {
        "candidate": str(candidate),
        "baseline": str(baseline) if baseline else None,
        "shape": list(input_shape) if isinstance(input_shape, tuple) else None,
        "sessions": [side.options for side in sides],
        "limits": asdict(limits),
        "arena": True,
    }
    processes: list[dict[str, Any]] = []
    with sample_file(input_shape) as sample:
        request |= sample
        while True:
            processes.append(ask(request, _PATIENCE_S + 20 * limits.seconds))
            request["arena"] = False
            if len(processes) < options.processes:
                continue
            result = summarise(processes, *sides, "precise", clock() - start)
            if result.half_width is not None and result.half_width <= options.half_width:
                return result
            if result.elapsed_s >= options.time_limit_s:
                return summarise(processes, *sides, "time limit", result.elapsed_s)


@contextmanager
def sample_file(fed: tuple[int, ...] | Inputs) -> Iterator[dict[str, str]]:
    """The part of a request that names a file of real samples, for as long as they lie there; nothing for noise."""
    if isinstance(fed, tuple):
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="paretoscope-") as folder:
        path = Path(folder) / "sample.npz"
        save_inputs(fed, path)
        yield {"sample": str(path)}
