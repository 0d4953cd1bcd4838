"""NVML's counter through a module that answers as the driver of two cards does. No card was at hand: what hardware does is not proven."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine.measure import energy_counter
from engine.measure.energy_counter import Windows, count_energy, counted_energy, open_meter
from engine.measure.meter import Reading
from engine.measure.nvml import NvmlMeter, open_nvml


class NVMLError(Exception):
    """What the module raises."""


class Driver:
    """`pynvml` over two cards, whose counters, in millijoules, are functions of a clock in seconds; calls before `nvmlInit` fail."""

    uuids = ("GPU-11111111-aaaa", "GPU-22222222-bbbb")
    names: tuple[Any, ...] = ("NVIDIA H100 PCIe", b"Tesla V100")  # bytes in old versions

    def __init__(self, *counters: Any) -> None:
        self.counters, self.is_open, self.now = counters, False, 0.0

    def nvmlInit(self) -> None:
        self.is_open = True

    def nvmlDeviceGetCount(self) -> int:
        return len(self.uuids)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimpleNamespace:
        if not self.is_open:
            raise NVMLError("Uninitialized")
        if index >= len(self.uuids):
            raise NVMLError("Invalid Argument")
        return SimpleNamespace(index=index)

    def nvmlDeviceGetUUID(self, card: SimpleNamespace) -> str:
        return self.uuids[card.index]

    def nvmlDeviceGetName(self, card: SimpleNamespace) -> Any:
        return self.names[card.index]

    def nvmlDeviceGetTotalEnergyConsumption(self, card: SimpleNamespace) -> int:
        counter = self.counters[card.index]
        if counter is None:
            raise NVMLError("Not Supported")
        return int(counter(self.now))

    def clock(self) -> float:
        return self.now


def two_cards() -> Driver:
    return Driver(lambda s: 10**9 + 300_000 * s, lambda s: 5_000 + 50_000 * s)


@pytest.mark.parametrize(
    ("visible", "name", "joules"),
    [
        (None, "NVML (NVIDIA H100 PCIe)", 600.0),
        ("", "NVML (NVIDIA H100 PCIe)", 600.0),
        ("1,0", "NVML (Tesla V100)", 100.0),
        ("GPU-2222", "NVML (Tesla V100)", 100.0),
        (" GPU-11111111-aaaa ", "NVML (NVIDIA H100 PCIe)", 600.0),
    ],
)
def test_millijoules_of_the_card_that_cuda_takes(visible: str | None, name: str, joules: float) -> None:
    driver = two_cards()
    meter = NvmlMeter(driver, visible, driver.clock)
    driver.now = 3.0
    meter.begin()
    driver.now = 5.0
    assert meter.end() == Reading(pytest.approx(joules), 2.0)
    assert meter.name == name


def test_a_counter_that_starts_again_is_no_reading() -> None:
    driver = Driver(lambda s: 1000 - 10 * s, None)
    meter = NvmlMeter(driver, None, driver.clock)
    meter.begin()
    driver.now = 1.0
    with pytest.raises(ValueError, match="started again"):
        meter.end()


@pytest.mark.parametrize(
    ("counters", "visible"), [((None, None), None), ((int, int), "7"), ((int, int), "GPU-3"), ((int, int), "MIG-1")]
)
def test_no_meter_without_a_counter_or_such_a_card(
    monkeypatch: pytest.MonkeyPatch, counters: tuple[Any, Any], visible: str | None
) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", Driver(*counters))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    assert open_nvml() is None


def test_the_meter_of_a_provider_is_that_of_what_it_computes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", two_cards())
    monkeypatch.setattr(energy_counter, "RaplMeter", lambda: SimpleNamespace(name="RAPL"))
    names = {
        name: meter and meter.name for name in ("CPU", "OpenVINO", "CUDA", "TensorRT") if (meter := open_meter(name))
    }
    assert names == {"CPU": "RAPL", "OpenVINO": "RAPL"} | dict.fromkeys(("CUDA", "TensorRT"), "NVML (NVIDIA H100 PCIe)")
    assert open_meter("CoreML") is None, "nothing is known of what it computes on"
    # Which card CUDA takes when it goes by speed cannot be told.
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert open_meter("CUDA") is None
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert open_meter("CUDA") is None


def test_energy_of_a_run_is_what_the_card_takes_above_idling() -> None:
    """70 W idle and 300 W at work, 10 ms for each run: 2.3 J above idle, 3 J with it."""
    driver, drawn = Driver(lambda _: drawn["mj"], None), {"mj": 0.0}

    def passes(seconds: float, watts: float) -> None:
        driver.now += seconds
        drawn["mj"] += seconds * watts * 1e3

    counted = count_energy(
        NvmlMeter(driver, None, driver.clock),
        lambda: passes(0.01, 300.0),
        Windows(seconds=1.0, busy=3, ticks=10),
        clock=driver.clock,
        sleep=lambda seconds: passes(seconds, 70.0),
    )
    assert counted is not None
    energy = counted_energy(vars(counted), batch=2)
    assert energy.value == pytest.approx(1150, rel=1e-3)
    assert (energy.with_idle_mj, energy.idle_w) == (pytest.approx(1500, rel=1e-3), pytest.approx(70, rel=1e-3))
    assert energy.source == "measured"
    assert "counted by NVML (NVIDIA H100 PCIe)" in energy.basis
    assert energy.basis.endswith(
        "the whole graphics card, whatever else ran on it; the host's processor and memory are not in it"
    )
