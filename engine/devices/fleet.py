"""A trial under a scenario, over the whole fleet, beside the baseline, and when it has repaid what the sweep used."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from engine.devices.cost import Scenario, find_grid, fleet, payback_inferences, sweep_kwh
from engine.measure.energy import WATTS_PER_CORE
from engine.trials.metric_values import metric_value
from engine.trials.trial import Trial


def fleet_view(scenario: Scenario, trial: Trial, baseline: Trial | None, sweep_seconds: float) -> dict[str, Any]:
    """What `paretoscope fleet --json` prints; trials as `cost.under` returns them, None where nothing is known.

    The sweep's own energy is its seconds times the assumed power of every core of the host that measured: an estimate.
    """
    grid = find_grid(scenario.country)
    before, after = (metric_value(t, "energy_mj", scenario.device) if t else None for t in (baseline, trial))
    spent = None
    if trial.machine is not None:
        spent = sweep_kwh(sweep_seconds, WATTS_PER_CORE * trial.machine.cores)
    repaid = None
    if spent is not None and before is not None and after is not None:
        repaid = payback_inferences(spent, before, after)
    return {
        "scenario": scenario.name,
        "device": scenario.device,
        "currency": scenario.currency,
        "trial": _of(scenario, trial),
        "baseline": _of(scenario, baseline),
        "sweep_kwh": spent,
        "payback_inferences": repaid,
        "basis": f"{scenario.title} on {scenario.device}, estimated; {grid.country}'s grid of {grid.year}: "
        f"{grid.g_co2e_per_kwh:g} g CO2e/kWh; PUE {scenario.pue:g}.",
    }


def _of(scenario: Scenario, trial: Trial | None) -> dict[str, Any] | None:
    projection = trial.projections.get(scenario.device) if trial else None
    if projection is None or projection.per_million is None:
        return None
    return asdict(fleet(scenario, projection.per_million))
