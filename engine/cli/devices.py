"""`paretoscope devices`: the device profiles, and how wrong they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli._options import JsonFlag, print_json
from engine.cli._tables import percent, print_table

if TYPE_CHECKING:
    from engine.devices.validation import ErrorLine


def devices(
    errors: Annotated[
        bool, typer.Option("--errors", help="How wrong the fits are, by class of device, instead.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """The device profiles, with the error that each is known to make."""
    from engine.devices.projection import devices_json
    from engine.devices.validation import error_table

    if errors:
        lines = error_table()
        print_json([asdict(line) for line in lines]) if as_json else print_errors(lines)
    else:
        rows = devices_json()
        print_json(rows) if as_json else print_devices(rows)


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
