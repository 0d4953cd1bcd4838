"""Energy of one inference on this host where no counter can be read: measured latency times an assumed power, each with its range."""

from __future__ import annotations

import math
import os

from engine.errors import SetupError
from engine.trials.evidence import Interval
from engine.trials.measurements import Energy, Machine

ENVIRONMENT = "PARETOSCOPE_HOST_WATTS"

# Watts of one busy core: thermal design power over cores of four server processors, from mlco2/codecarbon's
# cpu_power.csv (MIT). Xeon 8380 270 W / 40 = 6.8; Xeon 8480+ 350 W / 56 = 6.3; EPYC 7763 280 W / 64 = 4.4;
# EPYC 9654 360 W / 96 = 3.8. Their geometric mean is 5.1.
WATTS_PER_CORE = 5.1
# Design power is all cores at full load. A lone core may boost, and keeps the memory controller awake: up to twice the
# highest share. Light code may draw half of the lowest.
WATTS_PER_CORE_LOW, WATTS_PER_CORE_HIGH = 1.9, 13.5


def watts_from_environment() -> float | None:
    """Watts that the user says this host draws for the inference, all threads together; None where nothing is said.

    Raises SetupError for anything but a positive number.
    """
    text = os.environ.get(ENVIRONMENT, "").strip()
    if not text:
        return None
    try:
        watts = float(text)
    except ValueError:
        watts = math.nan
    if not (math.isfinite(watts) and watts > 0):
        raise SetupError(
            f"{ENVIRONMENT} is {text!r}; give a positive number of watts, say {ENVIRONMENT}=12.5, or unset it"
        )
    return watts


def host_energy(latency_ms: Interval, threads: int, machine: Machine) -> Energy:
    """Millijoules of one run that takes `latency_ms` on `threads` cores: milliseconds times watts.

    The range multiplies the low ends and the high ends of latency and power, so it is no narrower than either. Memory,
    disk and power supply are not in it. With PARETOSCOPE_HOST_WATTS the power has no range, only latency has.
    Raises SetupError for a bad value of that variable.
    """
    stated = watts_from_environment()
    if stated is not None:
        watts = Interval(stated, stated, stated)
        basis = f"measured latency × {stated:g} W, as stated in {ENVIRONMENT}; the range is latency's alone"
    else:
        busy = min(threads, machine.cores)
        watts = Interval(*(busy * w for w in (WATTS_PER_CORE, WATTS_PER_CORE_LOW, WATTS_PER_CORE_HIGH)))
        cores = "one busy core" if busy == 1 else f"{busy} busy cores"
        basis = (
            f"measured latency × an assumed {watts.value:g} W ({watts.low:g}–{watts.high:g} W) for {cores}, after the "
            f"design power per core of server processors; processor only; set {ENVIRONMENT} to state your own"
        )
    return Energy(
        value=latency_ms.value * watts.value,
        low=latency_ms.low * watts.low,
        high=latency_ms.high * watts.high,
        source="datasheet",
        basis=basis,
    )
