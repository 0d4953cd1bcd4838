"""Many people at one server while a sweep runs: how soon a change shows, the server's memory over time, and what visitors leave behind.

    .venv/bin/python tests/benchmarks/bench_load.py [--sessions 25] [--trials 10000] [--minutes 5] [--think 10]

A home with one finished sweep of so many made-up recipes (bench_scale.py), `paretoscope app` on it, and small sweeps that run one after
the other in the same home. So many visitors, each a WebSocket that speaks Streamlit's protocol (a browser each would need the machine for
itself), open Explore and move limits, with `--think` seconds between two on average; one in twenty times the tab is closed and another
opened. One more reads nothing of what it is sent. At the end all tabs are closed, and two minutes later (so long Streamlit keeps a session
for a browser that comes back) threads, open files and connections are held against those before the crowd. Memory is shown by thirds of
the time: flat is a last third like the second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.bench_scale import MOST_BYTES, MOST_SESSION_S, fill, p95  # noqa: E402
from tests.e2e.browser import dashboard  # noqa: E402
from tests.helpers.small_sweep import write_small_sweep  # noqa: E402
from tests.helpers.streamlit_client import Visitor  # noqa: E402

# How long Streamlit keeps the session of a closed tab, and a little for the server to notice.
KEPT_S = 150


@dataclass
class Seen:
    """What the visitors saw: seconds of changes and of loads, and errors; memory of the server in bytes, by time."""

    changes: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Held:
    """What a server holds."""

    threads: int
    files: int
    connections: int
    n_bytes: int

    @classmethod
    def by(cls, server: psutil.Process) -> Held:
        connections = [c for c in server.net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED]
        return cls(server.num_threads(), server.num_fds(), len(connections), server.memory_info().rss)


def listening(port: int) -> psutil.Process:
    """The process that listens on a port."""
    found = (c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port)
    return psutil.Process(next(c.pid for c in found if c.pid))


async def visit(port: int, query: str, until: float, think_s: float, seed: int, seen: Seen) -> None:
    """One person, until the time is over."""
    draw = random.Random(seed)
    await asyncio.sleep(draw.uniform(0, think_s))
    while time.monotonic() < until:
        async with Visitor(port, "explore", query) as visitor:
            seen.loads.append(await visitor.load())
            while time.monotonic() < until:
                await asyncio.sleep(draw.uniform(0, 2 * think_s))
                if draw.random() < 0.05:
                    break
                seen.changes.append(await visitor.change_a_limit(draw))
            seen.errors += visitor.errors


async def read_nothing(port: int, query: str, until: float) -> None:
    """A client that asks again and again and takes nothing of it."""
    async with Visitor(port, "explore", query) as visitor:
        visitor.socket.transport.pause_reading()  # type: ignore[attr-defined]
        while time.monotonic() < until:
            try:
                await visitor.ask()
            except Exception:
                return  # the server has had enough of it
            await asyncio.sleep(5)


async def watch(server: psutil.Process, until: float, seen: Seen) -> None:
    while time.monotonic() < until:
        seen.memory.append((time.monotonic(), server.memory_info().rss))
        await asyncio.sleep(2)


async def crowd(port: int, query: str, sessions: int, minutes: float, think_s: float, seen: Seen) -> None:
    """All visitors at once, for so many minutes."""
    until, server = time.monotonic() + 60 * minutes, listening(port)
    people = [visit(port, query, until, think_s, seed, seen) for seed in range(sessions)]
    results = await asyncio.gather(
        *people, read_nothing(port, query, until), watch(server, until, seen), return_exceptions=True
    )
    seen.errors += [f"{type(r).__name__}: {r}" for r in results if isinstance(r, BaseException)]


def thirds(memory: list[tuple[float, int]]) -> tuple[float, float, float]:
    """Medians of memory in the three thirds of the time."""
    size = max(1, len(memory) // 3)
    parts = (memory[:size], memory[size : 2 * size], memory[2 * size :] or memory[-1:])
    return tuple(statistics.median(n for _, n in part) for part in parts)  # type: ignore[return-value]


def run_over_and_over(home: Path, until: float) -> subprocess.Popen[bytes]:
    """Sweeps of seconds, one after the other, each with a recipe that none before it had, until the time is over."""
    spec = write_small_sweep(home.parent)
    recipe = "{step: quantize, weight_bits: 8, activation_bits: 8, calibration_samples: $n, rounding: nearest}"
    command = (
        f"n=16; while [ $(date +%s) -lt {until:.0f} ]; do "
        f'"$0" -m engine.cli run {spec} --set "recipes=[[{recipe}]]" --json; n=$((n + 1)); done'
    )
    return subprocess.Popen(
        ["bash", "-c", command, sys.executable], cwd=ROOT, env=os.environ | {"PARETOSCOPE_HOME": str(home)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def main() -> None:
    """Print the figures; exit code 1 for an error that a visitor saw, or for what is left behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=25)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--think", type=float, default=10.0, help="seconds between two changes of one visitor, on average"
    )
    options = parser.parse_args()
    seen = Seen()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        sweep = fill(home, options.trials)
        query = f"sweep={sweep.id}"
        with dashboard(home) as url:
            port = int(url.rpartition(":")[2])
            server = listening(port)
            # What the first visitors make a server load, and the connections to the store that it keeps.
            asyncio.run(crowd(port, query, options.sessions, 0.5, 5.0, Seen()))
            time.sleep(KEPT_S)
            before = Held.by(server)
            sweeping = run_over_and_over(home, time.time() + 60 * options.minutes)
            asyncio.run(crowd(port, query, options.sessions, options.minutes, options.think, seen))
            sweeping.wait()
            time.sleep(KEPT_S)
            after = Held.by(server)
    changes, loads = seen.changes, seen.loads
    print(
        f"{options.sessions} sessions, {options.trials:,} recipes, {options.minutes:g} min, sweeps running: {len(seen.errors)} errors"
    )
    print(
        f"{len(changes)} changes: median {statistics.median(changes):.2f} s, p95 {p95(changes):.2f} s (budget {MOST_SESSION_S})"
    )
    print(f"{len(loads)} loads: median {statistics.median(loads):.2f} s, p95 {p95(loads):.2f} s")
    shown = ", ".join(f"{n / 1e9:.3f}" for n in thirds(seen.memory))
    most = max(n for _, n in seen.memory)
    print(f"memory: at most {most / 1e9:.2f} GB (budget {MOST_BYTES / 1e9:g}); by thirds of the time {shown} GB")
    print(f"before the first visitor {before}\nafter the last            {after}")
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg(), "errors": seen.errors[:5]}))
    left = (
        after.connections > before.connections or after.threads > before.threads + 2 or after.files > before.files + 2
    )
    sys.exit(bool(seen.errors) or left)


if __name__ == "__main__":
    main()
