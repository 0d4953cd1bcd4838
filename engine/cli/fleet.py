"""`paretoscope fleet`: a trial on all of a scenario's devices."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine.cli._options import JsonFlag, SweepRef, TrialRef, print_json
from engine.cli._tables import print_table
from engine.cli._view import looked_at


def fleet(
    sweep: SweepRef,
    trial: TrialRef,
    scenario: Annotated[str, typer.Option(help="Use and prices, one of `paretoscope scenarios`.")],
    device: Annotated[str | None, typer.Option(help="Profile; default: the scenario's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """A trial on all of a scenario's devices: energy, money, carbon, and when it has repaid the energy of the sweep."""
    from engine.devices.fleet import fleet_view
    from engine.errors import NotFoundError
    from engine.store.store import Store

    found, device, chosen = looked_at(sweep, device, scenario)
    assert chosen is not None, "a scenario is always given"
    picked = next((t for t in found if t.id == trial), None)
    if picked is None:
        raise NotFoundError(f"{sweep} has no trial {trial!r}; `paretoscope trials {sweep}` lists them")
    row = Store.open().sweep(sweep)
    result = fleet_view(chosen, picked, next((t for t in found if not t.recipe.steps), None), row.elapsed_s)
    print_json(result) if as_json else print_fleet(result)


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
