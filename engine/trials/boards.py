"""What a user's own board measured of a trial's file: the latency that a bundle's `verify.py --json`, or a frontier's `measure.py`, found
there. JSON in, JSON out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.metrics import text_of
from engine.trials.evidence import Interval


@dataclass(frozen=True)
class BoardRun:
    """One file on one board.

    `latency_ms` is the median of `calls` calls of `batch` images with its 95 % interval, which is that of these calls alone; `p95`, `p99`
    in ms too. `machine` and `runtime` are what the board said of itself and how it ran the file, `checks` what `verify.py` held against
    what was recorded. `sha256` is the file's, `artifact` the name that it had here when the measurement came. `profile` is the one whose
    estimate it is set beside, `host` for the sweep's own machine, None for none. `when` is UTC, ISO 8601. `ratio` is a sample's time as a
    share of the baseline's, in turns there, with its 95 % interval; None where the two were not timed in turns.
    """

    board: str
    trial: str
    sha256: str
    artifact: str
    profile: str | None
    latency_ms: Interval
    p95: float
    p99: float
    calls: int
    batch: int
    machine: Mapping[str, Any]
    runtime: Mapping[str, Any]
    checks: tuple[Mapping[str, Any], ...]
    when: str
    ratio: Interval | None = None

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that failed there, in words."""
        return tuple(f"{c['name']}: {c['found']}, expected {c['expected']}" for c in self.checks if not c["ok"])

    @property
    def place(self) -> str:
        """One line that says where it ran."""
        m = self.machine
        return f"{m['cpu']}, {m['cores']} cores, {m['os']}, onnxruntime {m['onnxruntime']}"

    def to_json(self) -> dict[str, Any]:
        """The inverse of `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> BoardRun:
        """From what `to_json` gave."""
        ratio = record.get("ratio")
        read = {"latency_ms": Interval(**record["latency_ms"]), "ratio": Interval(**ratio) if ratio else None}
        return cls(**{**record, **read, "checks": tuple(record["checks"])})


@dataclass(frozen=True)
class Beside:
    """A board's latency beside an estimate of it.

    `projected` is what the profile says in ms with its range; `error_percent` how much that is above what was measured (below: negative);
    `inside`: whether the measured median lies in the range. None, with a `reason`, where nothing can be set beside it; without a reason
    nothing was asked for.
    """

    run: BoardRun
    projected: Interval | None = None
    error_percent: float | None = None
    inside: bool | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """What `trials --json` prints of it."""
        run = self.run
        latency = asdict(run.latency_ms)
        return {
            "board": run.board,
            "latency_ms": {"p50": latency.pop("value"), "p95": run.p95, "p99": run.p99, **latency},
            "calls": run.calls,
            "batch": run.batch,
            "ratio": asdict(run.ratio) if run.ratio else None,
            "profile": run.profile,
            "projected_ms": asdict(self.projected) if self.projected else None,
            "error_percent": self.error_percent,
            "inside_range": self.inside,
            "reason": self.reason,
            "ok": not run.failed,
            "checks": list(run.checks),
            "machine": dict(run.machine),
            "when": run.when,
        }


def board_texts(found: Beside) -> list[str]:
    """A board's measurement in words, a sentence each without its full stop: how fast, how wrong the estimate is, what failed there."""
    run, m = found.run, found.run.latency_ms
    images = f" of {run.batch} samples" if run.batch > 1 else ""
    texts = [
        f"Measured: median {_ms(m.value)} ({_ms(m.low, unit=False)} to {_ms(m.high, unit=False)}), p95 {_ms(run.p95)}, p99 {_ms(run.p99)}, "
        f"over {run.calls:,} calls{images}"
    ]
    if r := run.ratio:
        texts.append(f"×{r.value:.3f} (×{r.low:.3f} to ×{r.high:.3f}) of the baseline’s time there, in turns with it")
    who = "The sweep’s own machine" if run.profile == "host" else f"The profile {run.profile}"
    if found.projected and found.error_percent is not None:
        p, off = found.projected, found.error_percent
        side = "above" if off > 0 else "below"
        texts.append(
            f"{who} says {_ms(p.value)} ({_ms(p.low, unit=False)} to {_ms(p.high, unit=False)}): {abs(off):,.0f} % {side} the measured, "
            f"which is {'inside' if found.inside else 'outside'} its range"
        )
    elif found.reason:
        texts.append(f"{who} has nothing to set beside it: {found.reason}")
    texts += [f"Check failed there: {text}" for text in run.failed]
    if answers := [f"{c['name']} {c['found']}" for c in run.checks if c["ok"] and "SHA-256" not in c["name"]]:
        texts.append(f"Answers there: {'; '.join(answers)}")
    return [*texts, f"{run.place}; {run.when.replace('T', ' ').replace('Z', ' UTC')}"]


def _ms(value: float, unit: bool = True) -> str:
    return text_of("latency_ms", value, unit)
