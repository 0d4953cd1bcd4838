"""`paretoscope layers`: where a trial's answers begin to differ from the baseline's."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine.cli._options import JsonFlag, SweepRef, TrialRef, print_json
from engine.cli._tables import print_table


def layers(
    sweep: SweepRef,
    trial: TrialRef,
    samples: Annotated[int, typer.Option(min=1, help="Test samples to run both files on.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """Where a trial's answers begin to differ: each layer's output against the baseline's, along the graph."""
    from engine.explain.layers import layers as compare
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    found = compare(Store.open(), Artifacts.open(), sweep, trial, samples)
    print_json(found) if as_json else print_layers(found)


def print_layers(found: dict[str, Any]) -> None:
    """Each layer with the decibels of what it reads and of what it hands on."""
    if found["layers"]:
        columns = {"layer": "left", "dB read": "right", "dB handed on": "right", "cosine": "right"}
        rows = [
            (
                x["name"].strip("/"),
                _db(x["before_db"], x["before_exact"]),
                _db(x["sqnr_db"], x["exact"]),
                "–" if x["cosine"] is None else f"{x['cosine']:.5f}",
            )
            for x in found["layers"]
        ]
        print_table(columns, rows)
        print()
    print(f"{found['label']} against {found['reference']}, {found['samples']} test samples: {found['sentence']}")
    if found["note"]:
        print(found["note"])


def _db(ratio: float | None, exact: bool) -> str:
    return "exact" if exact else "–" if ratio is None else f"{ratio:.1f}"
