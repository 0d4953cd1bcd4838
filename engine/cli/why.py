"""`paretoscope why`: why a trial is not faster."""

from __future__ import annotations

from typing import Any

from engine.cli._options import JsonFlag, SweepRef, TrialRef, print_json
from engine.cli._tables import print_table


def why(sweep: SweepRef, trial: TrialRef, as_json: JsonFlag = False) -> None:
    """Why a trial is not faster: where its time goes, beside the baseline's, and what to try."""
    from engine.explain.why import why as explain
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    found = explain(Store.open(), Artifacts.open(), sweep, trial)
    print_json(found) if as_json else print_why(found)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def print_why(found: dict[str, Any]) -> None:
    """Where a trial's time goes, and what to try."""
    columns = {"": "left", "ms": "right", "ms baseline": "right"}
    for title, rows in (("operator", found["by_type"]), ("layer", found["by_layer"])):
        named = [(r["name"] or "(no layer's own)", _ms(r["trial_ms"]), _ms(r["baseline_ms"])) for r in rows]
        print_table({title: "left", **{k: v for k, v in columns.items() if k}}, named)
        print()
    print(f"{found['label']}: kernels of one sample on {found['machine']}")
    for line in found["advice"]:
        print(f"- {line}")
    if slices := found.get("slices"):
        print(f"What it costs is not the same everywhere: {slices}")
