"""Energy of NVIDIA's graphics cards by the counter in their driver (NVML), through `nvidia-ml-py`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from engine.measure.meter import Reading


class NvmlMeter:
    """The counter of one card, of the whole board: `nvmlDeviceGetTotalEnergyConsumption`, millijoules since the driver was loaded.

    The card is the one that CUDA takes when it numbers them by the bus, as `engine/measure/providers.py` has it do: the first of
    CUDA_VISIBLE_DEVICES (`visible`), or the first of all. Volta and later count.
    """

    update_s = 0.1  # cards renew the counter every 20 to 100 ms
    covers = "the whole graphics card, whatever else ran on it; the host's processor and memory are not in it"

    def __init__(self, nvml: Any, visible: str | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        """`nvml`: the module `pynvml`. Raises what it raises where there is no driver, no such card or no counter."""
        nvml.nvmlInit()
        self._nvml, self._clock = nvml, clock
        self._card = _card(nvml, (visible or "").partition(",")[0].strip())
        name = nvml.nvmlDeviceGetName(self._card)
        self.name = f"NVML ({name.decode() if isinstance(name, bytes) else name})"
        self._before = self._millijoules()
        self._start = clock()

    def _millijoules(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._card))

    def begin(self) -> None:
        """Open a window."""
        self._before, self._start = self._millijoules(), self._clock()

    def end(self) -> Reading:
        """Close it. Raises ValueError where the counter went back: the driver was loaded anew, and nothing can be said."""
        counted, seconds = self._millijoules() - self._before, self._clock() - self._start
        if counted < 0:
            raise ValueError("the energy counter of the graphics card started again during a window")
        return Reading(counted * 1e-3, seconds)


def _card(nvml: Any, visible: str) -> Any:
    """The card's handle: `visible` is its number, or (the beginning of) its UUID, `GPU-8932f937…`; the first card where it is empty."""
    if not visible or visible.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(visible or 0))
    for index in range(nvml.nvmlDeviceGetCount()):
        card = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = nvml.nvmlDeviceGetUUID(card)
        if (uuid.decode() if isinstance(uuid, bytes) else uuid).startswith(visible):
            return card
    raise ValueError(f"CUDA_VISIBLE_DEVICES names {visible}, which is not a card here")


def open_nvml() -> NvmlMeter | None:
    """The counter of the card that CUDA takes; None where there is none, nobody may read it, or it cannot be told which card that is."""
    if os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID") != "PCI_BUS_ID":
        return None
    try:
        import pynvml

        return NvmlMeter(pynvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except Exception:  # not installed, no driver, no such card, a card that does not count: NVML's errors have no base of their own in all
        return None
