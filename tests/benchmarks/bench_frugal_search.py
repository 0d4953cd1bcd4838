"""How much of the frontier each search finds for its node seconds, on spaces that were measured whole, in full and in short.

    .venv/bin/python tests/benchmarks/bench_frugal_search.py [RECORD ...] [--seeds 10] [--within accuracy=0.85]
        [--methods gain random ...] [--pooled]

A record is what `data/make_search_record.py` wrote; without one, all of `tests/benchmarks/search_*.json.xz`. The searches are
played back and nothing is run: the chooser asks, the record answers, one recipe at a time, and every node is paid for once, with the
seconds that it took. What it will take the chooser has to forecast, from the nodes that it has paid for. Printed is the median over the
seeds of the share of the whole space's hypervolume (accuracy, file size, latency, each scaled to its range) that is reached at each share
of the exhaustive cost, and the share of the cost at which 99 % is reached (200 %: never).
With `--pooled` the searches see the same figures, but are judged by latencies without the luck of a single measurement: of files that
compute the same and differ in weights alone the median counts, since they take equally long.
`gain short` screens, `gain` does not. `greedy` is no search but a bound to hold them against: it knows every figure and every price, and
takes what adds most volume for its seconds.
"""

from __future__ import annotations

import argparse
import json
import lzma
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.frontier import dominance  # noqa: E402
from engine.frontier.front import objective_points, within_limits  # noqa: E402
from engine.run.node_costs import NodeCosts  # noqa: E402
from engine.run.plan import Node, Plan  # noqa: E402
from engine.search.frugal import FrugalChooser  # noqa: E402
from engine.search.search import Chooser  # noqa: E402
from engine.spec.goals import Target  # noqa: E402
from engine.spec.recipe import Recipe  # noqa: E402
from engine.spec.steps import Quantize  # noqa: E402
from engine.spec.sweep import Sweep, parse_sweep  # noqa: E402
from engine.trials.trial import Trial  # noqa: E402

METHODS = ("greedy", "gain", "gain short", "random", "nsga2", "tpe")
SHARES = (0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
OBJECTIVES = ("accuracy", "size_bytes", "latency_ms")
UP = [True, False, False]


@dataclass(frozen=True)
class Record:
    """What was measured of a space: trials in full and in short by the recipe's id, the nodes that each needs, and their seconds."""

    head: dict[str, Any]
    plan: Plan
    seconds: dict[str, float]
    needs: dict[str, frozenset[str]]
    short_needs: dict[str, frozenset[str]]
    shorts: dict[str, Recipe]
    trials: dict[str, Trial]
    short_trials: dict[str, Trial]

    @classmethod
    def read(cls, path: Path) -> Record:
        """A record that `data/make_search_record.py` wrote."""
        found = json.loads(lzma.decompress(path.read_bytes()))
        sweep = parse_sweep(found["spec"])
        nodes = {str(i): Node(str(i), kind, (), {}, work, None) for i, (kind, work, _) in enumerate(found["nodes"])}
        seconds = {str(i): s for i, (_, _, s) in enumerate(found["nodes"]) if s is not None}
        recipes = [Recipe.from_json(r["steps"]) for r in found["recipes"]]
        ids = [r.id for r in recipes]

        def needs(name: str) -> dict[str, frozenset[str]]:
            return {i: frozenset(map(str, r[name])) for i, r in zip(ids, found["recipes"], strict=True)}

        shorts = {i: Recipe.from_json(r["short"]) for i, r in zip(ids, found["recipes"], strict=True)}
        trials, short_trials = {}, {}
        for recipe, record in zip(recipes, found["recipes"], strict=True):
            own = {"id": recipe.id, "recipe": record["steps"]}
            trials[recipe.id] = Trial.from_json(record["trial"] | own)
            if record["short_trial"]:
                short_trials[recipe.id] = Trial.from_json(record["short_trial"] | own | {"recipe": record["short"]})
        plan = Plan(sweep, nodes, ())
        return cls(found, plan, seconds, needs("needs"), needs("short_needs"), shorts, trials, short_trials)

    @cached_property
    def done(self) -> dict[str, Trial]:
        """The trials that were measured."""
        return {i: t for i, t in self.trials.items() if t.state == "done"}

    @cached_property
    def cost_s(self) -> float:
        """Node seconds of measuring everything in full."""
        return sum(self.seconds.get(k, 0.0) for k in frozenset[str]().union(*self.needs.values()))


class Volume:
    """The hypervolume of some recipes within limits, as a share of that of all."""

    def __init__(self, record: Record, limits: dict[str, float], pooled: bool = False) -> None:
        done = list(record.done.values())
        points = objective_points(done, OBJECTIVES)
        if pooled:
            points[:, 2] = _pooled([_computes(t) for t in done], points[:, 2])
        low, high = points.min(axis=0), points.max(axis=0)
        self.points = dict(zip(record.done, (points - low) / np.where(high > low, high - low, 1.0), strict=True))
        self.kept = dict(zip(record.done, within_limits(done, limits), strict=True))
        self.whole = 1.0
        self.whole = self.share(record.done)

    def share(self, ids: Any) -> float:
        """Of the recipes of some ids."""
        chosen = [self.points[i] for i in ids if i in self.points and self.kept[i]]
        return dominance.hypervolume(np.array(chosen), UP, [0.0, 1.0, 1.0]) / self.whole if chosen else 0.0


def _computes(trial: Trial) -> tuple[Any, ...]:
    """What a file computes, its weights aside: of two that have this in common one takes as long as the other."""
    last = next((s for s in reversed(trial.recipe.steps) if isinstance(s, Quantize)), None)
    rounds = last is not None and last.activation_bits <= 8
    return trial.macs, trial.params, rounds and (last.activation_bits, last.per_channel, last.method)


def _pooled(alike: list[tuple[Any, ...]], latencies: np.ndarray) -> np.ndarray:
    """Latencies (n,), each the median of those that are alike."""
    found = latencies.copy()
    for key in set(alike):
        rows = [i for i, other in enumerate(alike) if other == key]
        found[rows] = np.median(latencies[rows])
    return found


def played(record: Record, sweep: Sweep, screens: bool, until: float) -> Iterator[tuple[float, dict[str, Trial], int]]:
    """After each step: node seconds spent, trials finished by id, and how many recipes were stopped."""
    costs = NodeCosts(record.plan, {})
    there: set[str] = set()
    finished: dict[str, Trial] = {}
    short: dict[str, Trial] = {}
    stopped: dict[str, Trial] = {}
    if sweep.search.method == "gain":
        frugal = FrugalChooser(sweep, record.shorts if screens else {})
    else:
        chooser = Chooser(sweep)
    ids = [r.id for r in sweep.all_recipes]

    def pay(keys: frozenset[str]) -> None:
        for key in keys - there:
            costs.ended(key, record.seconds.get(key, 0.0))
        there.update(keys)

    while costs.spent_s < until:
        if sweep.search.method == "gain":
            below = [record.short_needs[i] for i in ids] if screens else []
            prices = costs.prices([record.needs[i] for i in ids], below, there)
            step = frugal.next({**finished, **stopped}, short, (), (), prices)
            stopped |= step.stopped
            recipe, in_short = step.recipe, step.in_short
        else:
            recipe, in_short = chooser.next(finished.values()), False
        if recipe is None:
            return
        if in_short:
            pay(record.short_needs[recipe.id])
            short[recipe.id] = record.short_trials[recipe.id]
        else:
            pay(record.needs[recipe.id])
            # With its stages, which are measured on the way.
            finished |= {i: record.trials[i] for i in ids if i not in finished and record.needs[i] <= there}
        yield costs.spent_s, finished, len(stopped)


def greedy(record: Record, volume: Volume) -> Iterator[tuple[float, dict[str, Trial], int]]:
    """As `played`, of one who knows what everything comes to; the baseline first, as everywhere."""
    there: set[str] = set()
    spent, next_one = 0.0, next(iter(record.done))
    while next_one:
        spent += sum(record.seconds.get(k, 0.0) for k in record.needs[next_one] - there)
        there |= record.needs[next_one]
        finished = {i: t for i, t in record.done.items() if record.needs[i] <= there}
        yield spent, finished, 0
        now, next_one, best = volume.share(finished), "", 0.0
        for i in record.done.keys() - finished.keys():
            price = sum(record.seconds.get(k, 0.0) for k in record.needs[i] - there)
            rate = (volume.share([*finished, i]) - now) / max(price, 1e-3)
            if rate > best + 1e-12:
                next_one, best = i, rate


def curve(record: Record, volume: Volume, sweep: Sweep | None, screens: bool) -> tuple[list[float], float, int]:
    """The share of the volume at each share of the cost, at which cost 99 % was there (2 for never), and how many were stopped by then;
    of one who knows all where there is no sweep.
    """
    shares, at, stopped = [0.0] * len(SHARES), 2.0, 0
    steps = played(record, sweep, screens, max(SHARES) * record.cost_s) if sweep else greedy(record, volume)
    for spent, finished, out in steps:
        part, now = spent / record.cost_s, volume.share(finished)
        # What was finished within a budget is there at it, and at every larger one.
        shares = [now if part <= share else before for share, before in zip(SHARES, shares, strict=True)]
        if now >= 0.99 and at > 1:
            at, stopped = part, out
    return shares, at, stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--within", metavar="METRIC=LIMIT", nargs="+", default=[])
    parser.add_argument("--pooled", action="store_true")
    options = parser.parse_args()
    limits = {k: float(v) for k, _, v in (w.partition("=") for w in options.within)}
    for path in options.records or sorted(Path(__file__).parent.glob("search_*.json.xz")):
        record = Record.read(path)
        volume = Volume(record, limits, options.pooled)
        print(
            f"{path.name}: {len(record.done)} recipes, {sum(volume.kept.values())} within the limits, {record.cost_s:,.0f} node seconds "
            f"({record.head['machine']}, load {record.head['load']})"
        )
        print(
            "search     "
            + "".join(f"{share:>8.1%}" for share in SHARES)
            + "   99 % at (range)        stopped   s per run"
        )
        for method in options.methods:
            name, _, screens = method.partition(" ")
            known = method == "greedy"
            stated = record.plan.sweep.model_dump() | {
                "search": {"method": "grid" if known else name},
                "target": Target(limits=limits).model_dump(),
            }
            begun, runs = time.process_time(), []
            for seed in range(1 if known else options.seeds):
                sweep = None if known else parse_sweep(stated | {"seed": seed})
                runs.append(curve(record, volume, sweep, bool(screens)))
            seconds = (time.process_time() - begun) / len(runs)
            middle = [statistics.median(values) for values in zip(*(shares for shares, _, _ in runs), strict=True)]
            at = sorted(at for _, at, _ in runs)
            reached = f"{statistics.median(at):.1%} ({at[0]:.1%} to {at[-1]:.1%})" if at[0] < 2 else "–"
            stopped = statistics.median(out for _, _, out in runs)
            print(
                f"{method:<11}"
                + "".join(f"{m:>8.3f}" for m in middle)
                + f"   {reached:<23}{stopped:>7.0f}{seconds:>12.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
