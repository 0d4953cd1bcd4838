"""Devices, scenarios and fleets as tables; see engine/cli/tables.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.cli.tables import percent, print_table
from engine.trials.text import text_of
from engine.trials.trial import METRICS

if TYPE_CHECKING:
    from engine.devices.cost import Scenario
    from engine.devices.validation import ErrorLine


def print_devices(rows: list[dict[str, Any]]) -> None:
    """The device profiles."""
    columns = {"profile": "left", "class": "left", "basis": "left", "rows": "right", "latency error": "right"}
    columns |= {"energy error": "right", "bits": "right", "device": "left", "runtime": "left"}
    print_table(
        columns,
        [
            (
                r["name"],
                r["device_class"],
                r["basis"],
                str(r["fitted"] or "–"),
                percent(r["latency_mape"]),
                percent(r["energy_mape"]),
                ", ".join(map(str, r["supports"])),
                r["device"],
                r["runtime"],
            )
            for r in rows
        ],
        "fitted: to published measurements, errors are mean absolute percentages on a network left out of the device's rows. datasheet: a "
        "roofline, a lower bound that nobody validated. design: a chip that does not exist.",
    )


def print_errors(lines: Sequence[ErrorLine]) -> None:
    """How wrong the fits are, by class of device."""
    names = {"own": "the device", "everywhere": "all devices"}
    columns = {"device class": "left", "quantity": "left", "network left out of": "left", "values": "right"}
    print_table(
        columns | {"mean error": "right", "median error": "right", "in the 90 % range": "right"},
        [
            (
                x.device_class,
                {"latency_ms": "latency", "energy_mj": "energy"}[x.quantity],
                names[x.left_out],
                str(x.values),
                percent(x.mape),
                percent(x.median),
                percent(x.coverage),
            )
            for x in lines
        ],
        "Predicted against published MLPerf Tiny results. What a network of your own meets is the lower half: nobody measured it anywhere.",
    )


def print_scenarios(scenarios: Sequence[Scenario]) -> None:
    """The ready scenarios."""
    print_table(
        {"scenario": "left", "what": "left", "device": "left", "limits": "left", "data": "left", "assumed": "left"},
        [
            (
                s.name,
                s.title,
                s.device,
                ", ".join(f"{METRICS[k].name.lower()} {text_of(k, v)}" for k, v in s.limits.items()),
                ", ".join(s.datasets),
                "; ".join(s.assumptions),
            )
            for s in scenarios
        ],
        "Every figure is an assumption. Data: the first that can be loaded.",
    )


def print_fleet(result: dict[str, Any]) -> None:
    """A trial over a scenario's whole fleet, beside the baseline, and when it has repaid the sweep."""
    columns = {"": "left", "trial": "right", "baseline": "right"}
    names = {"inferences": "inferences", "kwh": "kWh at the plug", "cost": result["currency"], "co2e_kg": "kg CO2e"}
    rows = [
        (name, *("–" if (v := (result[who] or {}).get(key)) is None else f"{v:,.4g}" for who in ("trial", "baseline")))
        for key, name in names.items()
    ]
    repaid = result["payback_inferences"]
    told = (
        "it saves no energy, so it never repays the sweep" if repaid is None else f"repaid after {repaid:,} inferences"
    )
    spent = "–" if result["sweep_kwh"] is None else f"{result['sweep_kwh']:.3g} kWh, estimated"
    print_table(columns, rows, f"{result['basis']} The sweep itself used {spent}; {told}.")
