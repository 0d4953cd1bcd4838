"""Which device torch computes on where a worker runs: `PARETOSCOPE_DEVICE`, or the GPU that there is, or else the CPU.

Whoever only plans must know it too, since it is part of keys, and must not load torch: that is asked in a process of its own, and not even
that where the system has no GPU's driver.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from engine.errors import SetupError
from engine.measure.fresh_process import run_module

KINDS = ("cpu", "cuda", "mps")
# What NVIDIA's driver, the same inside of Windows' Linux, and AMD's put there.
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Gpu:
    """A device as torch names it, `cuda:0` or `mps`, and what it is."""

    name: str
    title: str


def kind_of(device: str) -> str:
    """`cuda:0` -> `cuda`."""
    return device.partition(":")[0]


def training_device() -> str:
    """The device that torch computes on here. Raises SetupError where the one that is asked for is not here."""
    wanted = os.environ.get("PARETOSCOPE_DEVICE") or "auto"
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", wanted):
        raise SetupError(f"PARETOSCOPE_DEVICE is {wanted!r}; give auto, cpu, cuda, cuda:N or mps")
    if wanted == "cpu":
        return wanted
    there = [gpu.name for gpu in gpus()]
    if wanted == "auto":
        return there[0] if there else "cpu"
    found = next((name for name in there if wanted in (name, kind_of(name))), None)
    if found is None:
        raise SetupError(
            f"PARETOSCOPE_DEVICE is {wanted!r}, but torch finds {', '.join(there) or 'no GPU'} here; give auto or cpu"
        )
    return found


@cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs that torch can use here, the first one first."""
    if not _may_be_there():
        return ()
    if "torch" in sys.modules:
        return _asked_of_torch()
    try:
        done = run_module("engine.run.training_device", {}, _PATIENCE_S)
        return tuple(Gpu(**found) for found in json.loads(done.stdout.strip().splitlines()[-1]))
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        return ()


def _may_be_there() -> bool:
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    return platform.system() == "Windows" or any(Path(driver).exists() for driver in _DRIVERS)


def _asked_of_torch() -> tuple[Gpu, ...]:
    import torch

    if torch.cuda.is_available():
        return tuple(Gpu(f"cuda:{i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count()))
    return (Gpu("mps", "Apple GPU"),) if torch.backends.mps.is_available() else ()


if __name__ == "__main__":
    sys.stdout.write(json.dumps([asdict(gpu) for gpu in _asked_of_torch()]) + "\n")
