"""How soon a cancelled sweep computes nothing any more: in the middle of a long training epoch, and while a latency is measured.

    .venv/bin/python tests/benchmarks/bench_cancel.py

Seconds from `Store.request_cancel` until the store says cancelled, and until the worker and what measures for it are gone; the budget is
five seconds. The runner itself ends a little later: it closes its cluster and Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.store.store import Store  # noqa: E402
from tests.helpers.tiny import images, write_problem  # noqa: E402

BUDGET_S = 5.0


def computing(runner: int) -> dict[psutil.Process, str]:
    """Worker and measuring processes below a runner."""
    found = {}
    for process in psutil.Process(runner).children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        kind = next((k for k in ("spawn_main", "latency_process") if k in line), None)
        if kind and process.status() != psutil.STATUS_ZOMBIE:
            found[process] = kind
    return found


def cancelled(folder: Path, while_timing: bool) -> tuple[float, float]:
    """Seconds until the store says so, and until nothing computes."""
    os.environ |= {
        "PARETOSCOPE_HOME": str(folder / "home"),
        "PARETOSCOPE_HOST_LOCK": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    spec = write_problem(folder)
    # An epoch of a minute and more.
    train, test = images(60_000, 0), images(300, 1)
    np.savez(folder / "data.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    options = [] if while_timing else ["--set", "measure.latency=null"]
    runner = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "run", str(spec), "--json", *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    store, sweep = Store.open(), ""
    while not sweep:
        time.sleep(0.2)
        row = store.sweeps()[0]
        timing = "latency_process" in computing(runner.pid).values()
        # Of the baseline nothing trains: what is under way after it does.
        if not row.example and (timing if while_timing else row.trials):
            sweep = row.id
    time.sleep(1 if while_timing else 5)
    left, began, said = computing(runner.pid), time.monotonic(), 0.0
    store.request_cancel(sweep)
    while left or not said:
        said = said or (time.monotonic() - began if store.sweep(sweep).state == "cancelled" else 0.0)
        left = {p: k for p, k in left.items() if p.is_running() and p.status() != psutil.STATUS_ZOMBIE}
        time.sleep(0.02)
    gone = time.monotonic() - began
    runner.wait()
    return said, gone


def main() -> None:
    """Print a line each; exit code 1 beyond the budget."""
    late = False
    for while_timing in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            said, gone = cancelled(Path(folder).resolve(), while_timing)
        late |= gone > BUDGET_S
        where = "while a latency is measured" if while_timing else "in the middle of an epoch"
        print(
            f"{where}: the store says cancelled after {said:.1f} s, nothing computes after {gone:.1f} s (budget {BUDGET_S:g})"
        )
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    sys.exit(late)


if __name__ == "__main__":
    main()
