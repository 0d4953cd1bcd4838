"""`paretoscope portability`: an int8 trial on CPUs without VNNI."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from engine.cli._options import JsonFlag, SweepRef, TrialRef, print_json
from engine.cli._tables import print_table
from engine.trials.text import apart_text, risk_text


def portability(
    sweep: SweepRef,
    trial: TrialRef,
    samples: Annotated[int, typer.Option(min=1, help="Test samples to predict the accuracy on.")] = 500,
    as_json: JsonFlag = False,
) -> None:
    """How an int8 trial answers on CPUs of the other kind: without VNNI, whose sums can saturate, or with exact sums."""
    from engine.explain.portability import portability as predict
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    found = predict(Store.open(), Artifacts.open(), sweep, trial, samples)
    print_json(found) if as_json else print_portability(found)


def print_portability(found: dict[str, Any]) -> None:
    """What an int8 file would do on CPUs without VNNI."""
    columns = {"layer": "left", "pairs saturated": "right", "outputs changed": "right"}
    rows = [(x["name"], f"{x['saturated']:.3%}", f"{x['outputs_changed']:.2%}") for x in found["layers"]]
    print_table(columns, rows)
    print(f"\n{found['label']}: risk on CPUs without VNNI {risk_text(found)}")
    if found["accuracy"] is None:
        print(apart_text(found))
    else:
        _print_accuracies(found)
    if found["safe_recipe"]:
        print(f"safe everywhere, as a line of `recipes` in a spec: - {json.dumps(found['safe_recipe'])}")


def _print_accuracies(found: dict[str, Any]) -> None:
    measured, predicted = "as run here", "predicted"
    exact, saturating = (measured, predicted) if found["here"] == "exact" else (predicted, measured)
    print(
        f"{found['images']} test samples: {found['accuracy']:.2%} right with exact sums ({exact}), "
        f"{found['saturated_accuracy']:.2%} where they saturate ({saturating}); "
        f"{found['flips']} change class, {found['harmed']} to wrong and {found['helped']} to right (mid-p {found['p_value']:.3g}, McNemar)"
    )
