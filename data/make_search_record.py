"""Runs a space whole, and every recipe of it in short, and keeps what `bench_search.py` replays: who needs which nodes, what those took,
and what came out.

    PARETOSCOPE_HOME=/tmp/home .venv/bin/python data/make_search_record.py SPEC.yaml RECORD.json.xz

Takes as long as the space does; what is in the home already is not run again. Node seconds are core-seconds, or seconds of what is timed,
as the engine counts them; how loaded the machine was beside it is kept as the mean of its load averages.
"""

from __future__ import annotations

import json
import lzma
import os
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from engine.measure.machine import machine  # noqa: E402
from engine.run.plan import Plan  # noqa: E402
from engine.run.planner import make_plan  # noqa: E402
from engine.run.run import execute  # noqa: E402
from engine.run.screening import short_trial  # noqa: E402
from engine.spec.goals import Screen, Search  # noqa: E402
from engine.spec.read import read_sweep  # noqa: E402
from engine.spec.sweep import Sweep  # noqa: E402
from engine.store.artifacts import Artifacts  # noqa: E402
from engine.store.store import Store  # noqa: E402
from engine.trials.trial import Trial  # noqa: E402

_LEFT_OUT: dict[str, Any] = {
    "quality": None, "slices": None, "size_parts": None, "size_layers": None, "stages": (), "demand": None, "timing": None, "notes": (),
    "machine": None, "predictions": None, "artifact": None, "layer_bits": None, "throughput_per_s": None, "peak_memory_bytes": None,
}  # fmt: skip
"""What no search looks at."""


def kept(trial: Trial) -> dict[str, Any]:
    """A trial as it is recorded; its recipe stands elsewhere."""
    record = replace(trial, **_LEFT_OUT).to_json()
    return {k: v for k, v in record.items() if v not in (None, [], {}) and k not in ("recipe", "label", "id", "metric")}


def recorded(plan: Plan, store: Store, artifacts: Artifacts) -> dict[str, Any]:
    """The whole record of a plan whose nodes are finished."""
    rows = store.nodes(plan.nodes)
    results = {key: row.result for key, row in rows.items()}
    place = {key: i for i, key in enumerate(plan.nodes)}
    trials = {t.id: t for t in store.trials(plan.sweep.id)}
    baseline = plan.shorts[plan.chains[0].recipe.id]
    recipes = []
    for chain in plan.chains:
        short, trial = plan.shorts[chain.recipe.id], trials[chain.recipe.id]
        needs = {key for c in (short, baseline) for key in plan.awaited(c)}
        seen = short_trial(plan, chain.recipe.id, results, artifacts) if trial.state == "done" else None
        recipes.append(
            {
                "steps": chain.recipe.to_json(),
                "short": short.recipe.to_json(),
                "needs": sorted(place[k] for k in plan.awaited(chain)),
                "short_needs": sorted(place[k] for k in needs),
                "trial": kept(trial),
                "short_trial": seen and kept(seen),
            }
        )
    nodes = [[n.kind, n.work, round(rows[k].seconds, 4) if k in rows else None] for k, n in plan.nodes.items()]
    return {"nodes": nodes, "recipes": recipes}


def main() -> None:
    spec, target = read_sweep(Path(sys.argv[1])), Path(sys.argv[2])
    screened = Sweep(
        **{name: getattr(spec, name) for name in Sweep.model_fields}
        | {"search": Search(method="gain", screen=Screen())}
    )
    plan = make_plan(screened, machine())
    assert plan.in_short is not None
    store, artifacts, loads = Store.open(), Artifacts.open(), []
    for sweep in (plan.in_short.model_copy(update={"name": f"{spec.name} in short"}), spec):
        print(execute(sweep, store, artifacts, on_progress=lambda _: loads.append(os.getloadavg()[0])), flush=True)
    head = {
        "made": date.today().isoformat(),
        "machine": machine().label,
        "load": round(sum(loads) / max(1, len(loads)), 1),
        "spec": spec.model_dump(mode="json"),
    }
    record = head | recorded(replace(plan, sweep=spec), store, artifacts)
    target.write_bytes(lzma.compress(json.dumps(record, separators=(",", ":")).encode()))
    print(
        f"{target}: {target.stat().st_size / 1000:.0f} kB, {len(record['recipes'])} recipes, {len(record['nodes'])} nodes"
    )


if __name__ == "__main__":
    main()
