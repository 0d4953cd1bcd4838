"""Counting energy, with recorded traces in place of counters: no test needs one."""

import io
import json
import subprocess
from types import SimpleNamespace

import pytest

from engine.measure import energy_counter
from engine.measure.energy_counter import (
    RaplMeter,
    Reading,
    Windows,
    ZeusMeter,
    count_energy,
    counted_energy,
    measure_energy,
    open_meter,
)
from engine.spec.runtime import Runtime
from engine.spec.sections import LatencyOptions


class Replay:
    """A machine whose time and joules are made up: `idle_w` all the time, and `run_j` for each run, which takes `run_s`."""

    name, covers, update_s = "replay", "what is made up", 0.01

    def __init__(self, idle_w=10.0, run_j=0.002, run_s=0.001, drift_w_per_s=0.0, tick_j=0.0):
        self.now, self.joules = 0.0, 0.0
        self.idle_w, self.run_j, self.run_s, self.drift, self.tick_j = idle_w, run_j, run_s, drift_w_per_s, tick_j

    def pass_time(self, seconds):
        self.joules += (self.idle_w + self.drift * (self.now + seconds / 2)) * seconds
        self.now += seconds

    def run(self):
        self.pass_time(self.run_s)
        self.joules += self.run_j

    def counter(self):
        return self.joules if not self.tick_j else self.joules // self.tick_j * self.tick_j

    def begin(self):
        self.start = self.now, self.counter()

    def end(self):
        return Reading(self.counter() - self.start[1], self.now - self.start[0])

    def count(self, windows=None):
        return count_energy(self, self.run, windows, clock=lambda: self.now, sleep=self.pass_time)


def test_idle_power_is_subtracted_and_both_are_reported():
    found = Replay().count()
    assert found.net_mj == pytest.approx(2.0)
    assert found.gross_mj == pytest.approx(2.0 + 10.0)  # 10 W for the millisecond that a run takes
    assert found.idle_w == pytest.approx(10.0)
    assert found.low_mj == pytest.approx(found.high_mj)
    assert found.seconds == pytest.approx(5.0, rel=0.01)


def test_a_drift_of_idle_power_cancels():
    found = Replay(drift_w_per_s=0.5).count()
    assert found.net_mj == pytest.approx(2.0, rel=0.01)


def test_windows_are_many_ticks_of_a_slow_counter():
    replay = Replay()
    replay.update_s = 0.1
    assert replay.count(Windows(seconds=1.0, busy=3, ticks=50)).seconds == pytest.approx(15.0, rel=0.01)


def test_a_coarse_counter_gives_an_interval_that_holds_the_truth():
    found = Replay(run_j=0.0021, tick_j=0.7).count()
    assert found.low_mj < 2.1 < found.high_mj
    assert found.high_mj > found.low_mj


def test_no_more_than_idling_says_nothing():
    assert Replay(run_j=0.0).count() is None


def test_the_record_says_measured_per_image_and_how():
    energy = counted_energy(vars(Replay().count()), batch=4)
    assert energy.source == "measured"
    assert (energy.value, energy.with_idle_mj, energy.idle_w) == pytest.approx((0.5, 3.0, 10.0))
    for words in ("counted by replay", "10 W of idle power are subtracted", "3 mJ with them"):
        assert words in energy.basis


def zone(root, name, label, microjoules, wrap=1000):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(label + "\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{wrap}\n")
    return folder / "energy_uj"


def test_rapl_adds_packages_and_memory_and_survives_an_overflow(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 900)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 10)
    cores = zone(tmp_path, "intel-rapl:0:0", "core", 5)
    now = iter((10.0, 12.5))
    meter = RaplMeter(tmp_path, clock=lambda: next(now))
    meter.begin()
    for path, value in ((package, 100), (memory, 60), (cores, 999)):
        path.write_text(f"{value}\n")
    # The package went from 900 over 1000 to 100, memory from 10 to 60; the cores are part of their package.
    assert meter.end() == Reading(pytest.approx(250e-6), pytest.approx(2.5))


@pytest.mark.parametrize(
    ("before", "after", "joules"),
    [
        ({"package-0-die-0": 10.0, "package-0-die-1": 10.0}, {"package-0-die-0": 78.0, "package-0-die-1": 78.0}, 68),
        # The same counter, read a moment later.
        (
            {"package-0-die-0": 10.0, "package-0-die-1": 10.0009},
            {"package-0-die-0": 78.0, "package-0-die-1": 78.0007},
            68,
        ),
        ({"package-0-die-0": 10.0, "package-0-die-1": 500.0}, {"package-0-die-0": 50.0, "package-0-die-1": 525.0}, 65),
        # Two packages, and their memories, may happen to stand alike.
        ({"package-0": 10.0, "package-1": 10.0}, {"package-0": 50.0, "package-1": 50.0}, 80),
        (
            {"package-0": 1.0, "dram": 10.0, "package-1": 90.0, "dram ": 10.0},
            {"package-0": 2.0, "dram": 14.0, "package-1": 92.0, "dram ": 14.0},
            11,
        ),
        (
            {"package-0-die-0": 1.0, "package-0-die-1": 1.0, "package-1-die-0": 1.0, "package-1-die-1": 9.0},
            {"package-0-die-0": 3.0, "package-0-die-1": 3.0, "package-1-die-0": 4.0, "package-1-die-1": 12.0},
            8,
        ),
    ],
)
def test_dies_that_show_their_packages_counter_are_counted_once_and_others_added(tmp_path, before, after, joules):
    paths = {n: zone(tmp_path, f"intel-rapl:{i}", n, round(j * 1e6), 10**12) for i, (n, j) in enumerate(before.items())}
    now = iter((0.0, 1.0))
    meter = RaplMeter(tmp_path, clock=lambda: next(now))
    meter.begin()
    for name, value in after.items():
        paths[name].write_text(f"{round(value * 1e6)}\n")
    assert meter.end().joules == pytest.approx(joules, abs=1e-3)


def test_a_machine_without_counters_has_no_meter(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="no RAPL package"):
        RaplMeter(tmp_path)
    monkeypatch.setattr("engine.measure.energy_counter.RaplMeter", lambda: RaplMeter(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "zeus.monitor", None)
    assert open_meter() is None


@pytest.mark.parametrize(
    ("measurement", "joules"),
    [
        (SimpleNamespace(time=2.0, cpu_energy={0: 3.0, 1: 1.0}, dram_energy={0: 0.5}, gpu_energy={0: 9.0}), 4.5),
        (SimpleNamespace(time=2.0, cpu_energy={0: 3.0}, dram_energy=None, gpu_energy={0: 9.0}), 3.0),
        (SimpleNamespace(time=2.0, gpu_energy={}, soc_energy=SimpleNamespace(cpu_total_mj=1500, dram_mj=500)), 2.0),
        (SimpleNamespace(time=2.0, gpu_energy={}, soc_energy=SimpleNamespace(cpu_energy_mj=700)), 0.7),
    ],
)
def test_zeus_counts_what_computes(measurement, joules):
    calls = []
    monitor = SimpleNamespace(begin_window=calls.append, end_window=lambda key: calls.append(key) or measurement)
    meter = ZeusMeter(monitor)
    meter.begin()
    assert meter.end() == Reading(pytest.approx(joules), 2.0)
    assert calls == ["paretoscope", "paretoscope"]


def test_energy_is_counted_with_the_options_that_latency_is_measured_with(tmp_path, monkeypatch):
    """The request, and what the process makes of it."""
    asked = {}
    metered = []
    monkeypatch.setattr(energy_counter, "open_meter", lambda provider: metered.append(provider) or object())
    monkeypatch.setattr(
        energy_counter, "run_module", lambda _, request, timeout_s: asked.update(request) or done("null")
    )
    runtime = LatencyOptions(threads=2).filled(Runtime(graph_optimisation="disable", batch=4))
    assert measure_energy(tmp_path / "m.onnx", (1, 8, 8), runtime) is None
    options = {"threads": 2, "batch": 4, "graph_optimisation": "disable", "provider": "CPU"}
    assert {name: asked[name] for name in options} == options

    opened, ran = [], []
    monkeypatch.setattr(
        "engine.measure.session.Runner",
        lambda *arguments: opened.append(arguments) or SimpleNamespace(repeated=ran.append),
    )
    monkeypatch.setattr(energy_counter, "count_energy", lambda meter, run: None)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asked)))
    energy_counter.main()
    assert opened == [(tmp_path / "m.onnx", 2, "disable", "CPU")]
    assert [images.shape for images in ran] == [(4, 1, 8, 8)]
    assert metered == ["CPU", "CPU"]


def done(output: str) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], 0, stdout=output + "\n", stderr="")
