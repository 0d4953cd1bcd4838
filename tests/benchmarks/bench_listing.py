"""Listing, filtering and sorting a sweep of many recipes, on SQLite and on PostgreSQL: seconds until a page of 50 whole trials is there.

    .venv/bin/python tests/benchmarks/bench_listing.py [--trials 100000] [--rounds 5] [--home DIR]

"first ever" reads every record, as where no run and no visit has kept the columns ready yet; "another process" finds the file; "again" is
the same process, and "changed" after one trial has changed. Wall and computing time of this process in medians; a page is from the best by
latency of those within two limits. `--home`: one that bench_pages.py filled, for SQLite, instead of making it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.frontier.kept_columns import SweepColumns  # noqa: E402
from engine.frontier.listing import list_trials  # noqa: E402
from engine.store import schema  # noqa: E402
from engine.store.store import Store  # noqa: E402
from tests.benchmarks.bench_pages import fill  # noqa: E402
from tests.helpers.servers import new_schema, postgres_server  # noqa: E402

WHERE = "accuracy >= 85 and size <= 60 kB"
TARGET_S = 0.5


def page(columns: SweepColumns) -> list[str]:
    """The page's ids; every trial of it is read whole."""
    return [t.id for t in list_trials(columns.read(), WHERE, "latency_ms", first=100, count=50).trials]


def timed(rounds: int, work: Callable[[], object]) -> tuple[float, float]:
    """Wall and computing seconds, medians."""
    walls, computing = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        computing.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(computing)


def copied(source: Store, target: Store) -> None:
    """The same rows in another database, which takes a tenth of the time that making them takes."""
    with source._engine.connect() as reading, target._engine.begin() as writing:
        for table in (schema.sweeps, schema.trials):
            mine = table.c.id if table is schema.sweeps else table.c.sweep_id
            there = set(writing.scalars(sa.select(mine).distinct()))
            rows = reading.execution_options(yield_per=500).execute(sa.select(table)).mappings()
            for part in rows.partitions():
                if new := [dict(row) for row in part if row[mine.name] not in there]:
                    writing.execute(table.insert(), new)
    target._engine.dispose()


def measure(name: str, count: int, rounds: int) -> None:
    """Rows of the table for the store that the environment names."""
    store = Store.open()
    sweep = next(row for row in store.sweeps() if not row.example)
    store.columns.forget(sweep.id)
    rows = {"first ever": timed(1, lambda: page(SweepColumns(store, sweep.id)))}
    rows["another process"] = timed(rounds, lambda: page(SweepColumns(store, sweep.id)))
    kept = SweepColumns(store, sweep.id)
    expected = page(kept)
    rows["again"] = timed(rounds, lambda: page(kept))
    trial = store.trial(sweep.id, expected[0])

    def change() -> None:
        store.save_trial(sweep.id, replace(trial, size_bytes=(trial.size_bytes or 0) + 1))
        page(kept)

    rows["changed"] = timed(rounds, change)
    store.save_trial(sweep.id, trial)
    assert page(SweepColumns(store, sweep.id)) == expected
    for what, (wall, cpu) in rows.items():
        print(f"| {name} | {count:,} | {what} | {wall:.2f} | {cpu:.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    # What a program loads once is no part of a listing.
    import pyarrow  # noqa: F401

    print(
        f"| store | trials | listing | wall, s (target {TARGET_S}) | computing, s |\n|---|---|---|---|---|", flush=True
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = options.home or Path(folder) / "home"
        home.mkdir(exist_ok=True)
        os.environ["PARETOSCOPE_HOME"] = str(home)
        if not options.home:
            fill(home, options.trials)
        measure("SQLite", options.trials, options.rounds)
        if shutil.which("psql") is None:
            sys.exit("no PostgreSQL found; install it (Debian: apt-get install postgresql)")
        server = stack.enter_context(postgres_server())
        sqlite = Store.open()
        os.environ["PARETOSCOPE_STORE"] = new_schema(server, "listing")
        copied(sqlite, Store.open())
        measure("PostgreSQL", options.trials, options.rounds)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}, {options.rounds} rounds")


if __name__ == "__main__":
    main()
