"""Latency of an ONNX file in ONNX Runtime: measured in turns with the baseline, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import SpecError, StepError
from engine.measure.latency_process import Limits, block_values, bootstrap_median
from engine.record import Interval, Latency
from engine.spec import LatencyOptions

Blocks = tuple[tuple[float, ...], ...]
_ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class LatencyResult:
    """Times of one run (a whole batch) in ms, as Python sees them: `session.run`, copies of its input and output included.

    `latency_interval_ms`: the median with its interval in this process; another process may differ by more.
    `latency_ratio`: candidate over baseline; 1 by definition where the candidate is the baseline. Both intervals are 95 %,
    from a bootstrap over blocks. `throughput_per_s`: images. `peak_memory_bytes`: resident high-water mark of loading and
    running the candidate, above an empty session; None where the system does not say. `load_ms`: once, session creation.
    `stopped_by`: `interval` or `time limit`. `candidate_ms`, `baseline_ms`: the raw samples, a tuple for each block, from
    which `summarise` gives all else again. `cpus`: those pinned to.
    """

    latency_ms: Latency
    latency_interval_ms: Interval
    latency_ratio: Interval
    throughput_per_s: float
    peak_memory_bytes: int | None
    load_ms: float
    stopped_by: str
    elapsed_s: float
    threads: int
    batch: int
    cpus: tuple[int, ...]
    candidate_ms: Blocks
    baseline_ms: Blocks

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> LatencyResult:
        """The inverse of `to_json`: summarised anew from the samples in the record; keys that others added are passed over."""
        return summarise(record, LatencyOptions(threads=record["threads"], batch=record["batch"]))


def _blocks(value: Any) -> Blocks:
    return tuple(tuple(float(ms) for ms in block) for block in value)


def summarise(samples: Mapping[str, Any], options: LatencyOptions) -> LatencyResult:
    """Raw samples, as the measuring process printed them or a result keeps them -> the result; the same for the same samples."""
    candidate, baseline = _blocks(samples["candidate_ms"]), _blocks(samples["baseline_ms"])
    p50, p95, p99 = (float(q) for q in np.quantile(np.concatenate(candidate), [0.5, 0.95, 0.99]))
    # Neighbouring runs are alike, so blocks are resampled, not runs; their relative interval is put around the median run.
    centre, low, high = bootstrap_median(block_values(candidate, ()))
    ratio = Interval(*bootstrap_median(block_values(candidate, baseline))) if baseline else Interval(1.0, 1.0, 1.0)
    return LatencyResult(
        latency_ms=Latency(p50, p95, p99),
        latency_interval_ms=Interval(p50, p50 * low / centre, p50 * high / centre),
        latency_ratio=ratio,
        throughput_per_s=options.batch * 1e3 / p50,
        peak_memory_bytes=samples["peak_memory_bytes"],
        load_ms=samples["load_ms"],
        stopped_by=samples["stopped_by"],
        elapsed_s=samples["elapsed_s"],
        threads=options.threads,
        batch=options.batch,
        cpus=tuple(samples["cpus"]),
        candidate_ms=candidate,
        baseline_ms=baseline,
    )


def _ask(request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Run the measuring process on one request; raises StepError in one line for whatever it did not survive."""
    # The tests and a clone that is not installed have the project on sys.path only, which a new process does not inherit.
    path = os.pathsep.join(p for p in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if p)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "engine.measure.latency_process"],
            input=json.dumps(request),
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StepError(f"latency: one measurement took more than {timeout_s:g} s and was stopped") from None
    if done.returncode < 0:
        raise StepError(f"latency: the measuring process was killed by signal {-done.returncode}; is memory short?")
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise StepError(f"latency: the measuring process ended with code {done.returncode}: {last}") from None
    if "error" in answer:
        raise StepError(f"latency: {answer['error']}")
    return answer


def measure_latency(
    candidate: Path,
    baseline: Path | None,
    input_shape: tuple[int, int, int],
    options: LatencyOptions,
    limits: Limits | None = None,
) -> LatencyResult:
    """Time `candidate` against `baseline` (None: it is the baseline) on noise of (batch, *input_shape), in a fresh process.

    Takes about 2.5 s at most, loading aside. Raises StepError when a file cannot be loaded or run, SpecError for more threads than
    CPUs.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if options.threads > cpus:
        raise SpecError(
            f"measure.latency.threads is {options.threads}, but there are {cpus} CPUs here; set it to {cpus} or fewer"
        )
    limits = limits or Limits()
    request = {
        "candidate": str(candidate),
        "baseline": str(baseline) if baseline else None,
        "shape": list(input_shape),
        "threads": options.threads,
        "batch": options.batch,
        "limits": asdict(limits),
    }
    return summarise(_ask(request, timeout_s=120 + 20 * limits.seconds), options)
