"""`paretoscope models`: the built-in networks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from engine.cli._options import JsonFlag, print_json
from engine.cli._tables import print_table


def models(as_json: JsonFlag = False) -> None:
    """The built-in networks and what their checkpoints score on the test samples."""
    from engine.models.catalog import DESCRIPTIONS, zoo_index

    index = zoo_index()
    rows = [asdict(index[n]) if n in index else {"name": n, "description": d} for n, d in DESCRIPTIONS.items()]
    print_json(rows) if as_json else print_models(rows)


def print_models(rows: list[dict[str, Any]]) -> None:
    """The zoo."""
    columns = {
        "name": "left",
        "trained on": "left",
        "test accuracy": "right",
        "parameters": "right",
        "MACs": "right",
        "what it is": "left",
    }
    print_table(
        columns,
        [
            (
                r["name"],
                r.get("dataset", "–"),
                f"{r['accuracy'] * 100:.2f} %" if "accuracy" in r else "not trained",
                f"{r['params']:,}" if "params" in r else "–",
                f"{r['macs'] / 1e6:.2f} M" if "macs" in r else "–",
                r["description"],
            )
            for r in rows
        ],
        "Accuracy of all test samples of the shipped datasets, counted on the ONNX file in ONNX Runtime.",
    )
