"""`paretoscope sensitivity`: what rounding each layer alone costs and saves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine.cli._options import JsonFlag, SweepRef, TrialRef, print_json
from engine.cli._tables import print_table
from engine.trials.layer_texts import bytes_text, is_told, time_text


def sensitivity(
    sweep: SweepRef,
    trial: TrialRef,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Validation samples; default: what a minute or two allow.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """What rounding each layer alone, to 8 bits and fewer, costs in the sweep's metric, and saves in bytes and time."""
    from engine.explain.sensitivity import sensitivity as measure
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    found = measure(Store.open(), Artifacts.open(), sweep, trial, samples)
    print_json(found) if as_json else print_sensitivity(found)


def print_sensitivity(found: dict[str, Any]) -> None:
    """Layers down, widths across: what the metric loses, and in brackets what is saved."""
    columns = {"layer": "left"} | {f"{bits} bits": "right" for bits in found["bits"]} | {"8-bit kernel": "right"}
    rows = [
        (
            layer["name"].strip("/"),
            *(_cell(cell, found["metric"]) for cell in layer["cells"]),
            time_text(layer, found["kernels"]),
        )
        for layer in found["layers"]
    ]
    print_table(columns, rows)
    chance = "; * more than chance" if found["metric"]["tested"] else ""
    unit = f", {found['metric']['unit']}" if found["metric"]["unit"] else ""
    print(
        f"\n{found['label']}: {found['metric']['name'].lower()} lost ({found['samples']} validation samples{unit}{chance}) and "
        f"bytes saved by rounding one layer of {found['network']!r} alone, to the nearest; time on {found['machine']}"
    )


def _cell(cell: dict[str, Any], metric: dict[str, Any]) -> str:
    harm = f"{cell['harm']['value']:.2f}{'*' if is_told(cell, metric) else ''}" if cell["harm"] else "–"
    return f"{harm} ({bytes_text(cell['bytes_saved'])})"
