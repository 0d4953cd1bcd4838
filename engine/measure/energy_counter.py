"""Energy of one inference on this host by a counter: RAPL read here, NVML's of a graphics card, or whatever `zeus` reads (Apple, Jetson).

A counter is for a whole package and ticks slowly, so inferences are repeated for windows of many ticks, windows without work before
and after them give the power of doing nothing, and what is reported is energy above that, with the energy including it beside. Like
latency it is measured in a process of its own (`python -m engine.measure.energy_counter`), with nothing else of ours running.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import ParetoscopeError
from engine.graph.inputs import Inputs
from engine.measure.fresh_process import run_module
from engine.measure.latency import sample_file
from engine.measure.meter import Meter, Reading
from engine.measure.nvml import open_nvml
from engine.measure.ratio import student_t
from engine.spec.providers import provider_of
from engine.spec.runtime import Runtime
from engine.trials.measurements import Energy

POWERCAP = Path("/sys/class/powercap")
# Between two readings a counter may jump by a tick, a millisecond of all that a large package takes, with room for a reader that is kept
# waiting; counters of dies of their own are kilojoules apart.
_BETWEEN_READINGS_UJ = 2_000_000


class RaplMeter:
    """Intel's and AMD's running average power limit counters, as Linux shows them: all packages, and their memory where it is counted.

    A package of several dies has a zone for each. On some processors these are counters of their own, on others each shows the whole
    package's: such copies are counted once.
    """

    covers = "the whole package, whatever else ran on it"
    update_s = 0.001  # Intel Software Developer's Manual, volume 3B, section 15.10.1: about a millisecond

    def __init__(self, root: Path = POWERCAP, clock: Callable[[], float] = time.perf_counter) -> None:
        """Raises OSError where no counter can be read."""
        self._clock = clock
        found: list[tuple[str, Path]] = []
        for zone in sorted(root.glob("intel-rapl:*")):
            name = (zone / "name").read_text().strip()
            # Cores and graphics are parts of their package; the platform's own zone (psys) contains it.
            if name.startswith("package") or name == "dram":
                found.append((name, zone))
        if not found:
            raise FileNotFoundError(f"{root} has no RAPL package")
        # `package-0-die-1` -> `package-0`; empty for a zone that no other can show again.
        self._packages = [name.partition("-die-")[0] if "-die-" in name else "" for name, _ in found]
        self._zones = [(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())) for _, zone in found]
        self.name = f"RAPL ({len(found)} counters)"
        self._before: list[int] = []
        self._start = 0.0
        self._read()

    def _read(self) -> list[int]:
        return [int(path.read_text()) for path, _ in self._zones]

    def begin(self) -> None:
        """Open a window."""
        self._before, self._start = self._read(), self._clock()

    def end(self) -> Reading:
        """Close it; a counter that started again at 0 went once around its range."""
        after, seconds = self._read(), self._clock() - self._start
        microjoules = sum(
            (now - then) % wrap if now < then else now - then
            for i, (then, now, (_, wrap)) in enumerate(zip(self._before, after, self._zones, strict=True))
            if not self._is_copy(i, after)
        )
        return Reading(microjoules * 1e-6, seconds)

    def _is_copy(self, zone: int, after: Sequence[int]) -> bool:
        """Whether an earlier zone of the same package stood where this one did, at both ends of the window."""
        return any(
            self._packages[zone]
            and self._packages[other] == self._packages[zone]
            and all(abs(read[other] - read[zone]) <= _BETWEEN_READINGS_UJ for read in (self._before, after))
            for other in range(zone)
        )


class ZeusMeter:
    """`zeus.monitor.ZeusMonitor`: processors, memory and systems on a chip."""

    covers = "the whole package, whatever else ran on it"
    update_s = 0.1

    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor
        self.name = "zeus"

    def begin(self) -> None:
        """Open a window."""
        self._monitor.begin_window("paretoscope")

    def end(self) -> Reading:
        """Close it; joules of all parts that were counted."""
        found = self._monitor.end_window("paretoscope")
        parts = [getattr(found, part, None) for part in ("cpu_energy", "dram_energy")]
        joules = sum(sum(part.values()) for part in parts if part)
        soc = getattr(found, "soc_energy", None)
        return Reading(joules + _soc_joules(soc), found.time)


def _soc_joules(soc: Any) -> float:
    """Joules of what zeus counts of a system on a chip: processors and memory, in fields that end in _mj."""
    if soc is None:
        return 0.0
    fields = ("cpu_total_mj", "dram_mj") if hasattr(soc, "cpu_total_mj") else ("cpu_energy_mj",)
    return sum(float(getattr(soc, name, None) or 0.0) for name in fields) * 1e-3


def open_meter(provider: str = "CPU") -> Meter | None:
    """The first counter of what a provider computes on that can be read, None where there is none or nobody may read it."""
    hardware = provider_of(provider).computes_on
    if hardware != "processor":
        return open_nvml() if hardware == "nvidia" else None
    with contextlib.suppress(OSError, ValueError):
        return RaplMeter()
    try:
        from zeus.monitor import ZeusMonitor

        meter = ZeusMeter(ZeusMonitor(gpu_indices=[]))
        meter.begin()
        time.sleep(2 * meter.update_s)
        return meter if meter.end().joules > 0 else None
    except Exception:  # not installed, no counter, no permission: zeus raises kinds of its own for each
        return None


@dataclass(frozen=True)
class Windows:
    """How long to look: `busy` windows of `seconds`, or of `ticks` of the counter where that is longer, an idle one around each."""

    seconds: float = 1.0
    busy: int = 5
    ticks: int = 50


@dataclass(frozen=True)
class Counted:
    """Millijoules of one inference above idle with the ends of the 95 % interval over windows, and with idle power included; idle watts.

    `meter` and what it `covers` are words.
    """

    net_mj: float
    low_mj: float
    high_mj: float
    gross_mj: float
    idle_w: float
    inferences: int
    seconds: float
    meter: str
    covers: str = RaplMeter.covers


def count_energy(
    meter: Meter,
    run: Callable[[], object],
    windows: Windows | None = None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Counted | None:
    """Energy of one `run()`; None where the counter saw no more than idling, so that nothing can be said."""
    windows = windows or Windows()
    length = max(windows.seconds, windows.ticks * meter.update_s)
    run()
    idle = [_idle(meter, length, sleep)]
    net_mj, gross_mj, idle_w, runs, seconds = [], [], [], 0, 0.0
    for _ in range(windows.busy):
        meter.begin()
        start, inferences = clock(), 0
        while clock() - start < length:
            run()
            inferences += 1
        reading = meter.end()
        idle.append(_idle(meter, length, sleep))
        # The mean of the idle windows on both sides: a slow drift of temperature and clocks cancels.
        around = (idle[-2] + idle[-1]) / 2
        net_mj.append((reading.joules - around * reading.seconds) / inferences * 1e3)
        gross_mj.append(reading.joules / inferences * 1e3)
        idle_w.append(around)
        runs, seconds = runs + inferences, seconds + reading.seconds
    mean = float(np.mean(net_mj))
    half = _half_width(net_mj)
    if mean - half <= 0:
        return None
    gross, watts = float(np.mean(gross_mj)), float(np.mean(idle_w))
    return Counted(mean, mean - half, mean + half, gross, watts, runs, seconds, meter.name, meter.covers)


def _idle(meter: Meter, seconds: float, sleep: Callable[[float], None]) -> float:
    meter.begin()
    sleep(seconds)
    reading = meter.end()
    return reading.joules / reading.seconds


def _half_width(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    return student_t(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def counted_energy(record: Mapping[str, Any], batch: int = 1) -> Energy:
    """What a measuring process printed -> energy of one image, labelled measured."""
    counted = Counted(**record)
    value, low, high, gross = (v / batch for v in (counted.net_mj, counted.low_mj, counted.high_mj, counted.gross_mj))
    basis = (
        f"counted by {counted.meter} over {counted.seconds:.3g} s and {counted.inferences:,} runs; {counted.idle_w:.3g} W of idle power "
        f"are subtracted ({gross:.3g} mJ with them); 95 % interval over windows; {counted.covers}"
    )
    return Energy(value, low, high, "measured", basis, with_idle_mj=gross, idle_w=counted.idle_w)


def measure_energy(model: Path, input_shape: tuple[int, ...] | Inputs, runtime: Runtime) -> dict[str, Any] | None:
    """Energy of one run of a file on noise, or the samples given, by the first counter, in a fresh process; None where nothing can be
    counted.

    The file runs as `runtime` says, every option of it stated: as its latency is measured.
    """
    if open_meter(str(runtime.provider)) is None:
        return None
    shape = list(input_shape) if isinstance(input_shape, tuple) else None
    try:
        with sample_file(input_shape) as sample:
            request = {"model": str(model), "shape": shape, **sample, **runtime.options}
            done = run_module("engine.measure.energy_counter", request, timeout_s=300)
        answer: dict[str, Any] | None = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        # Energy is an extra of a latency measurement that has succeeded: without it the estimate stands.
        return None
    return answer


def main() -> None:
    """Standard input -> standard output, one JSON line: what was counted, or null."""
    from engine.measure.latency_process import fed
    from engine.measure.session import Runner

    request = json.load(sys.stdin)
    counted = None
    with contextlib.suppress(ParetoscopeError, OSError, ValueError):
        meter = open_meter(request["provider"])
        images = fed(request, request["batch"])
        runner = Runner(Path(request["model"]), request["threads"], request["graph_optimisation"], request["provider"])
        counted = count_energy(meter, runner.repeated(images)) if meter else None
    sys.stdout.write(json.dumps(asdict(counted) if counted else None) + "\n")


if __name__ == "__main__":
    main()
