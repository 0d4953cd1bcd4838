"""What each method family reaches on the shipped networks: points lost, bytes, and what it cost.

    python tests/benchmarks/bench_compression.py HOME [ROW ...] [--seeds 0 1 2]

Every figure is of the ONNX file in ONNX Runtime on all 10,000 test images. Recipes that train are run once for each seed; `spread` is the
range over the seeds. HOME is a folder that keeps the results: run again, only what is missing is computed, and the table is printed anew.
"""

from __future__ import annotations

import argparse
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.measure.machine import machine
from engine.run.plan import Plan
from engine.run.planner import make_plan
from engine.run.run import execute
from engine.spec.recipe import Recipe
from engine.spec.sweep import Sweep, parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial

Steps = list[dict[str, Any]]
W8A8 = {"step": "quantize", "weight_bits": 8, "activation_bits": 8}
W4A8 = W8A8 | {"weight_bits": 4, "rounding": "learned", "calibration_samples": 1024}
TRAINING = {"distill", "finetune", "qat", "teacher"}


@dataclass(frozen=True)
class Row:
    """One line of the table. `allowed` is the drop in points that the project's target allows; `times_smaller` the factor it asks for.

    A row that `trains` is run over all seeds; some that show the curve around a target are run with one, and have no spread.
    """

    name: str
    model: str
    steps: Steps
    allowed: float | None = None
    times_smaller: int | None = None
    trains: bool = False


def qat(weight_bits: int, activation_bits: int, **more: Any) -> Steps:
    """One step that trains in low precision."""
    return [
        {"step": "quantize", "weight_bits": weight_bits, "activation_bits": activation_bits, "method": "qat", **more}
    ]


def zeros(ratio: float) -> Steps:
    """Smallest weights of the whole network set to zero."""
    return [{"step": "prune", "method": "magnitude", "ratio": ratio}]


def finetuned(epochs: int) -> Steps:
    """What pruning left, trained on."""
    return [{"step": "finetune", "epochs": epochs}]


def student(**teacher: Any) -> Steps:
    """resnet8 with 3/4 of its channels: 17 % of resnet20's MACs."""
    return [{"step": "distill", "student": "resnet8", "width": 0.75, "epochs": 3, **teacher}]


def channels(macs_ratio: float) -> Steps:
    """Whole channels removed wherever they matter least."""
    return [
        {
            "step": "prune",
            "method": "channel",
            "macs_ratio": macs_ratio,
            "importance": "taylor",
            "allocation": "global",
        }
    ]


HALF = channels(0.5)
TAUGHT, ALONE = "student with 17 % of the MACs, taught, resnet20", "the same student alone"
ROWS = (
    *(
        Row(f"W8A8 post-training, {m}", m, [W8A8], d)
        for m, d in (("resnet8", 0.1), ("resnet20", 0.1), ("mobilenet_v2", 0.2))
    ),
    *(
        Row(f"W4A8 post-training, {m}", m, [W4A8], d)
        for m, d in (("resnet8", 0.5), ("resnet20", 0.4), ("mobilenet_v2", 1.0))
    ),
    Row("W4A8 QAT, resnet20", "resnet20", qat(4, 8), 0.2, trains=True),
    Row("W3A8 QAT, resnet20", "resnet20", qat(3, 8), 0.4, trains=True),
    Row("W2A8 QAT, resnet20", "resnet20", qat(2, 8), 1.0, trains=True),
    Row("W4A4 QAT, resnet20", "resnet20", qat(4, 4, ends_8bit=True, calibration="mse"), 0.6, trains=True),
    # For comparison: the shipped checkpoint, too, gains from more epochs. One seed.
    Row("nothing removed, finetuned, resnet20", "resnet20", finetuned(3)),
    Row("half the MACs, resnet20", "resnet20", HALF + finetuned(3), 0.5, trains=True),
    Row("half the MACs, mobilenet_v2", "mobilenet_v2", HALF + finetuned(3), 0.5, trains=True),
    Row("90 % zeros, resnet20", "resnet20", zeros(0.9) + finetuned(3), 0.5, trains=True),
    Row(TAUGHT, "resnet20", student(), trains=True),
    Row(ALONE, "resnet20", student(alpha=0.0), trains=True),
    Row(
        "55 % fewer MACs, W3A8 QAT, resnet20",
        "resnet20",
        channels(0.55) + finetuned(3) + qat(3, 8),
        0.5,
        20,
        trains=True,
    ),
    Row("85 % zeros, W4A8 QAT, resnet20", "resnet20", zeros(0.85) + finetuned(3) + qat(4, 8), 0.5, 20),
    Row("half the MACs, W4A8, resnet20", "resnet20", [*HALF, *finetuned(3), W4A8], 0.1, 10, trains=True),
    Row("half the MACs, W4A8 QAT, resnet20", "resnet20", HALF + finetuned(3) + qat(4, 8), 0.1, 10),
    Row("55 % zeros, W4A8, resnet20", "resnet20", [*zeros(0.55), *finetuned(3), W4A8], 0.1, 10, trains=True),
)


def sweep_of(rows: list[Row], model: str, seed: int) -> Sweep:
    """All rows of a model at one seed; what does not train is the same at every seed, and computed once."""
    recipes = [row.steps for row in rows if row.model == model]
    measure = {"latency": None, "profiles": []}
    return parse_sweep(
        {"name": f"targets {model}", "model": {"source": model}, "recipes": recipes, "measure": measure, "seed": seed}
    )


def trained_seconds(plan: Plan, trial: Trial, store: Store) -> float:
    """Seconds on one core that the training nodes of a trial took."""
    chain = next(c for c in plan.chains if c.recipe.id == trial.id)
    rows = store.nodes(plan.needed(chain))
    return sum(row.seconds for row in rows.values() if row.kind in TRAINING or row.kind == "quantize")


def main() -> None:
    """Run what is missing and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("rows", nargs="*", help="only rows whose names contain one of these")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--print", action="store_true", dest="as_is", help="run nothing; the table of what is there")
    options = parser.parse_args()
    os.environ["PARETOSCOPE_HOME"] = str(options.home)
    rows = [r for r in ROWS if not options.rows or any(part in r.name for part in options.rows)]
    store, artifacts = Store.open(), Artifacts.open()
    found: dict[str, list[tuple[Trial, Trial, float]]] = {row.name: [] for row in rows}
    for model in dict.fromkeys(row.model for row in rows):
        for seed in options.seeds:
            mine = [r for r in rows if r.model == model and (r.trains or seed == options.seeds[0])]
            if not mine:
                continue
            sweep = sweep_of(mine, model, seed)
            if not options.as_is:
                execute(sweep, store, artifacts)
            plan = make_plan(sweep, machine())
            trials = {t.id: t for t in store.trials(sweep.id)}
            for row in mine:
                trial = trials.get(Recipe.from_json(row.steps).id)
                if trial is None or trial.state == "pending":
                    continue
                found[row.name].append((trials[Recipe().id], trial, trained_seconds(plan, trial, store)))
    print(machine().label)
    columns = ["", "accuracy %", "drop, points", "spread (seeds)", "allowed", "kB", "× smaller", "s on one core"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for row in (r for r in rows if found[r.name]):
        print(f"| {' | '.join(cells(row, found[row.name]))} |")
    if found.get(TAUGHT) and found.get(ALONE):
        pairs = zip(found[TAUGHT], found[ALONE], strict=False)
        gains = [(taught.accuracy.value - alone.accuracy.value) * 100 for (_, taught, _), (_, alone, _) in pairs]
        print(
            f"The teacher is worth {statistics.mean(gains):.2f} points ({min(gains):.2f} to {max(gains):.2f}); target 0.5."
        )


def cells(row: Row, results: list[tuple[Trial, Trial, float]]) -> list[str]:
    """One row of the table; a failed trial is named with its reason."""
    failed = next((t.error for _, t, _ in results if t.state == "failed"), None)
    if failed:
        return [row.name, f"failed: {failed}"]
    drops = [(b.accuracy.value - t.accuracy.value) * 100 for b, t, _ in results]
    size = statistics.mean(t.size_bytes for _, t, _ in results)
    return [
        row.name,
        f"{statistics.mean(t.accuracy.value for _, t, _ in results) * 100:.2f}",
        f"{statistics.mean(drops):.2f}",
        f"{max(drops) - min(drops):.2f} ({len(drops)})" if len(drops) > 1 else "",
        f"{row.allowed:.2f}" if row.allowed is not None else "",
        f"{size / 1e3:.1f}",
        f"{results[0][0].size_bytes / size:.1f}" + (f" (target {row.times_smaller})" if row.times_smaller else ""),
        f"{statistics.mean(s for *_, s in results):.0f}",
    ]


if __name__ == "__main__":
    main()
