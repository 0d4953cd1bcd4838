"""Trials at random, and stored."""

from __future__ import annotations

import json
import random
from dataclasses import replace

from engine.devices.published import reference_demands
from engine.frontier.columns import Trials
from engine.frontier.stored_columns import Block, stored_trials
from engine.graph.demand import in_integers
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune
from engine.trials.evidence import Accuracy, Fidelity, Interval, Quality, SeedRun, Seeds, WorstClass
from engine.trials.measurements import PerMillion, Projection
from engine.trials.slices import Slice, Slices, WorstSlice
from engine.trials.trial import Trial
from tests.helpers.trial_factory import MACHINE, trial

FLOAT = reference_demands()["resnet8"]

DEMANDS = [FLOAT, in_integers(FLOAT)]

BOARD = "stm32h7a3-xcubeai"


def random_trials(seed: int, count: int = 60) -> list[Trial]:
    """Trials of every state, in which anything may be missing and some numbers are equal."""
    draw, slices = random.Random(seed), random.Random(seed)

    def maybe(value: object, share: float = 0.8) -> object:
        return value if draw.random() < share else None

    def around(value: float) -> Interval:
        return Interval(value, value * draw.uniform(0.9, 0.99), value * draw.uniform(1.01, 1.1))

    found = []
    for number in range(count):
        recipe = Recipe(steps=(Prune(method="magnitude", ratio=round((number + 1) / 100, 2)),)) if number else Recipe()
        if number and draw.random() < 0.15:
            state = draw.choice(["pending", "failed", "stopped"])
            error = "it has no convolution" if state == "failed" else None
            stopped = "stopped after screening: 70.00 % with 1 of 4 epochs" if state == "stopped" else None
            found.append(Trial(id=recipe.id, recipe=recipe, state=state, error=error, stopped=stopped))
            continue
        made = trial(
            recipe,
            accuracy=maybe(round(draw.uniform(0.8, 0.95), 2), 0.9),
            size_bytes=maybe(draw.randrange(10, 90) * 1000),
            latency_ms=maybe(round(draw.uniform(0.2, 1.0), 2)),
            energy_mj=maybe(draw.uniform(1, 3)),
            macs=maybe(draw.randrange(10**6, 10**7)),
            provenance=draw.choice(["deployed", "simulated"]),
            machine=maybe(MACHINE),
            predictions=maybe(f"{number:064x}.npz", 0.5),
        )
        if made.accuracy and number:
            paired = maybe(around(draw.uniform(-0.05, 0.01)))
            a = made.accuracy
            made = replace(made, accuracy=Accuracy(a.value, a.low, a.high, a.n, maybe(draw.random()), paired))
        if draw.random() < 0.2:
            made = replace(made, latency_ratio=None)
        if draw.random() < 0.6:
            worst = maybe(WorstClass("shirt", draw.uniform(0, 0.1)))
            quality = Quality(
                maybe(around(0.9)), (0.9, None), 0.7, worst, maybe(around(0.1)), None, maybe(around(0.3)), maybe(0.02)
            )
            if draw.random() < 0.7:
                ends = {k: around(draw.uniform(0.01, 0.1)) for k in ("ece", "lowest_recall", "worst_class_drop")}
                quality = replace(quality, intervals={k: v for k, v in ends.items() if draw.random() < 0.8})
            made = replace(made, quality=quality, fidelity=maybe(Fidelity(around(0.97), maybe(around(0.01)))))
        if draw.random() < 0.2:
            runs = tuple(SeedRun(i, 0.9 + i / 100, 80_000, f"{i:064x}.onnx") for i in range(3))
            made = replace(made, seeds=Seeds.of(runs))
        if made.projections and draw.random() < 0.3:
            host = replace(made.projections["host"], per_million=PerMillion(maybe(0.5), maybe(0.1), None))
            measured = replace(host.energy_mj, source="measured")
            made = replace(made, projections={**made.projections, "host": replace(host, energy_mj=measured)})
        if made.projections and draw.random() < 0.3:
            barred = Projection(None, None, fits=False, reason="does not fit")
            made = replace(made, projections={**made.projections, BOARD: barred})
        if slices.random() < 0.8:
            worst = WorstSlice("site", "a", Interval(slices.random(), 0.1, 0.9)) if slices.random() < 0.9 else None
            drop = WorstSlice("site", "b", Interval(slices.uniform(-0.1, 0.2), -0.2, 0.3)) if number else None
            made = replace(made, slices=Slices("accuracy", (Slice("site", "a", 9),), worst, drop))
        found.append(replace(made, demand=maybe(draw.choice(DEMANDS)), artifact=maybe(f"{number:064x}.onnx", 0.5)))
    return found


def stored(trials: list[Trial]) -> Trials:
    """The same trials as a store gives them."""
    by_id = {t.id: t for t in trials}
    texts = [json.dumps(t.to_json()) for t in trials]
    return stored_trials(
        Block.joined([Block.of(texts[:7]), Block.of(texts[7:])]), lambda ids: {i: by_id[i] for i in ids}
    )
