"""How much of the frontier each search finds, on a sweep that was measured whole.

    .venv/bin/python tests/benchmarks/bench_search.py [SWEEP] [--home FOLDER] [--seeds 20] [--after 10 20 40 80] [--methods random tpe ...]

SWEEP is an id, a name or `latest` in the home (default: yours); without one it is the shipped example, whose 24 recipes say little. The
searches are played back on the recorded trials and nothing is run: the chooser asks, the record answers, one recipe at a time. Printed is
the mean over the seeds of the share of the whole sweep's hypervolume (accuracy, file size, and latency where it was measured, each scaled
to its range) that is reached after so many recipes, the baseline included; ± is the standard error. `grid` is the order of the plan, the
same for each seed. With --within only recipes that keep the limits have volume, and the searches are told: --within accuracy=0.9.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.frontier import dominance  # noqa: E402
from engine.frontier.front import objective_points, within_limits  # noqa: E402
from engine.metrics import METRICS  # noqa: E402
from engine.search.search import Chooser  # noqa: E402
from engine.spec.goals import Target  # noqa: E402
from engine.spec.sweep import Sweep, parse_sweep  # noqa: E402
from engine.store.store import Store  # noqa: E402
from engine.trials.trial import Trial  # noqa: E402

METHODS = ("grid", "random", "nsga2", "tpe", "gp")


class Record:
    """The measured trials of a sweep, and how much of their hypervolume some of them have."""

    def __init__(self, sweep: Sweep, trials: list[Trial], limits: dict[str, float]) -> None:
        self.trials = {t.id: t for t in trials if t.state == "done"}
        done = list(self.trials.values())
        self.keys = ("accuracy", "size_bytes", *(("latency_ms",) if sweep.measure.latency else ()))
        self.maximise = [METRICS[k].maximise for k in self.keys]
        points = objective_points(done, self.keys)
        low, high = points.min(axis=0), points.max(axis=0)
        self.points = dict(zip(self.trials, (points - low) / np.where(high > low, high - low, 1.0), strict=True))
        self.kept = dict(zip(self.trials, within_limits(done, limits), strict=True))
        self.whole = self.volume(self.trials)

    def volume(self, ids: object) -> float:
        chosen = [self.points[i] for i in ids if self.kept[i]]  # type: ignore[attr-defined]
        reference = [0.0 if up else 1.0 for up in self.maximise]
        return dominance.hypervolume(np.array(chosen), self.maximise, reference) if chosen else 0.0


def played(sweep: Sweep, record: Record, after: list[int]) -> list[float]:
    """The share of the volume after so many recipes."""
    chooser = Chooser(sweep)
    order: list[str] = []
    # What failed when the sweep was run would have failed here: it is passed over.
    failed = [Trial(r.id, r, state="failed") for r in chooser.recipes if r.id not in record.trials]
    grid = iter(r.id for r in chooser.recipes if r.id in record.trials)
    while len(order) < min(max(after), len(record.trials)):
        if sweep.search.method == "grid":
            order.append(next(grid))
        else:
            found = chooser.next([*failed, *(record.trials[i] for i in order)])
            assert found is not None
            order.append(found.id)
    assert len(set(order)) == len(order)
    return [record.volume(order[:n]) / record.whole for n in after]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", nargs="?", default="example-resnet8")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--after", type=int, nargs="+", default=[10, 20, 40, 80])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--within", metavar="METRIC=LIMIT", nargs="+", default=[])
    options = parser.parse_args()
    if options.home:
        os.environ["PARETOSCOPE_HOME"] = str(options.home)
    store = Store.open()
    row = store.sweep(options.sweep)
    sweep, limits = store.spec(row.id), {k: float(v) for k, _, v in (w.partition("=") for w in options.within)}
    record = Record(sweep, store.trials(row.id), limits)
    kept = sum(record.kept.values())
    print(
        f"{row.id}: {len(record.trials)} of {row.recipes} recipes measured, {kept} within the limits; {', '.join(record.keys)}"
    )
    after = [n for n in options.after if n <= len(record.trials)]
    print("search   " + "".join(f"{f'after {n}':>18}" for n in after) + "      s per choice")
    for method in options.methods:
        stated = sweep.model_dump() | {"search": {"method": method}, "target": Target(limits=limits).model_dump()}
        start = time.perf_counter()
        seeds = range(1 if method == "grid" else options.seeds)
        shares = [played(parse_sweep(stated | {"seed": seed}), record, after) for seed in seeds]
        seconds = (time.perf_counter() - start) / (len(shares) * max(after))
        columns = []
        for values in zip(*shares, strict=True):
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
            columns.append(f"{statistics.mean(values):.3f}" + (f" ± {error:.3f}" if error is not None else ""))
        print(f"{method:<9}" + "".join(f"{c:>18}" for c in columns) + f"{seconds:>18.2f}", flush=True)


if __name__ == "__main__":
    main()
