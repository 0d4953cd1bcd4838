"""Many people at one server while a sweep runs: how soon a change shows, the server's memory over time, and what visitors leave behind.

    .venv/bin/python tests/benchmarks/bench_load.py [--sessions 25] [--trials 10000] [--minutes 5] [--think 10] [--mix] [--home DIR]

A home with one finished sweep of so many made-up recipes (bench_pages.py), `paretoscope app` on it, and small sweeps that run one after
the other in the same home, of which the last twenty are kept. So many visitors, each a WebSocket that speaks Streamlit's protocol (a
browser each would need the machine for itself), open Explore and move limits, with `--think` seconds between two on average; one in twenty
times the tab is closed and another opened. With `--mix` they also go to every other page, of the large sweep and of the examples, whose
files are there (`--minutes 480` for eight hours). One more reads nothing of what it is sent. At the end all tabs are closed, and two
minutes later (so long Streamlit keeps a session for a browser that comes back) threads, open files and connections are held against those
before the crowd. Memory is shown by thirds of the time, of the server and of the sweeps' processes: flat is a last third like the second.
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
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.frontier.kept_columns import SweepColumns  # noqa: E402
from engine.store.store import Store  # noqa: E402
from tests.benchmarks.bench_pages import fill  # noqa: E402
from tests.benchmarks.bench_scale import MOST_BYTES, MOST_SESSION_S, p95  # noqa: E402
from tests.e2e.browser import dashboard  # noqa: E402
from tests.helpers.small_sweep import write_small_sweep  # noqa: E402
from tests.helpers.streamlit_client import Visitor  # noqa: E402

# How long Streamlit keeps the session of a closed tab, and a little for the server to notice.
KEPT_S = 150


# Samples of memory and messages of errors that are kept of a run, however long it is.
MOST_SAMPLES, MOST_ERRORS = 2_000, 20
MOST_SWEEPS = 20
# Where a visitor goes from a page of a mix, in shares; a limit of Explore is moved as often as all else together.
_ELSEWHERE = {"explore": 4, "trial": 3, "compare": 2, "devices": 2, "broke": 2, "new-sweep": 1, "home": 1}


@dataclass
class Seen:
    """What the visitors saw: seconds of changes of a limit, and of loads by page; errors; memory in bytes by process, each by time."""

    changes: list[float] = field(default_factory=list)
    loads: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    failed: int = 0
    memory: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def failures(self, messages: Sequence[str]) -> None:
        """Count errors, and keep the first of them."""
        self.failed += len(messages)
        self.errors += messages[: MOST_ERRORS - len(self.errors)]


@dataclass(frozen=True)
class Shown:
    """What there is to look at: sweeps by id, each with some of its trials; the first is the large one."""

    trials: Mapping[str, Sequence[str]]

    def address(self, page: str, draw: random.Random) -> str:
        """A query for a page: any sweep, any recipe of it."""
        if page in ("new-sweep", "home"):
            return ""
        sweep = draw.choice(list(self.trials))
        some = draw.sample(self.trials[sweep], 3)
        asked = {"explore": "", "trial": f"trial={some[0]}", "compare": f"trials={','.join(some)}"}
        own = asked.get(page) if page in asked else f"trial={some[0]}"
        return "&".join(part for part in (f"sweep={sweep}", own) if part)


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


async def visit(port: int, shown: Shown, until: float, think_s: float, seed: int, seen: Seen, mix: bool) -> None:
    """One person, until the time is over."""
    draw = random.Random(seed)
    first = f"sweep={next(iter(shown.trials))}"
    await asyncio.sleep(draw.uniform(0, think_s))
    while time.monotonic() < until:
        page = "explore"
        async with Visitor(port, page, first) as visitor:
            seen.loads[page].append(await visitor.load())
            while time.monotonic() < until:
                await asyncio.sleep(draw.uniform(0, 2 * think_s))
                if draw.random() < 0.05:
                    break
                if mix and (page != "explore" or draw.random() < 0.5):
                    (page,) = draw.choices(list(_ELSEWHERE), list(_ELSEWHERE.values()))
                    visitor.go(page, shown.address(page, draw))
                    seen.loads[page].append(await visitor.load())
                elif visitor.sliders:
                    seen.changes.append(await visitor.change_a_limit(draw))
            seen.failures(visitor.errors)


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


async def watch(processes: Mapping[str, psutil.Process], until: float, seen: Seen) -> None:
    """Memory of each process with its children; those of the server apart, since it starts some to look into files."""
    step = max(2.0, (until - time.monotonic()) / MOST_SAMPLES)
    while time.monotonic() < until:
        for name, process in processes.items():
            own, below = resident([process]), resident(children(process))
            for part, n_bytes in ((name, own), (f"{name}'s children", below)):
                seen.memory[part].append(n_bytes)
        await asyncio.sleep(step)


def children(process: psutil.Process) -> list[psutil.Process]:
    """All processes that it has started, and those that they have."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def resident(processes: Sequence[psutil.Process]) -> int:
    """Bytes of those that still run."""
    found = 0
    for process in processes:
        try:
            found += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return found


async def crowd(
    port: int, shown: Shown, options: argparse.Namespace, minutes: float, think_s: float, seen: Seen,
    processes: Mapping[str, psutil.Process],
) -> None:  # fmt: skip
    """All visitors at once, for so many minutes."""
    until = time.monotonic() + 60 * minutes
    people = [visit(port, shown, until, think_s, seed, seen, options.mix) for seed in range(options.sessions)]
    deaf = read_nothing(port, f"sweep={next(iter(shown.trials))}", until)
    results = await asyncio.gather(*people, deaf, watch(processes, until, seen), return_exceptions=True)
    seen.failures([f"{type(r).__name__}: {r}" for r in results if isinstance(r, BaseException)])


def thirds(memory: list[int]) -> tuple[float, float, float]:
    """Medians of memory in the three thirds of the time."""
    size = max(1, len(memory) // 3)
    parts = (memory[:size], memory[size : 2 * size], memory[2 * size :] or memory[-1:])
    return tuple(statistics.median(part) for part in parts)  # type: ignore[return-value]


def run_over_and_over(home: Path, until: float) -> subprocess.Popen[bytes]:
    """Sweeps of seconds, one after the other, each with a recipe of its own, until the time is over; the last of them stay."""
    spec = write_small_sweep(home.parent)
    recipe = "{step: quantize, weight_bits: 8, activation_bits: 8, calibration_samples: $n, rounding: nearest}"
    command = (
        f"n=16; while [ $(date +%s) -lt {until:.0f} ]; do "
        f'"$0" -m engine.cli run {spec} --set "recipes=[[{recipe}]]" --json; n=$((n < 600 ? n + 1 : 16)); '
        f'"$0" -m engine.cli sweeps --json | "$0" -c "{_OLD}" | xargs -rn1 "$0" -m engine.cli delete; done'
    )
    return subprocess.Popen(
        ["bash", "-c", command, sys.executable], cwd=ROOT, env=os.environ | {"PARETOSCOPE_HOME": str(home)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


# The ids of the small sweeps but for the newest.
_OLD = f"import json,sys; print(*[s['id'] for s in json.load(sys.stdin) if s['name'] == 'small'][{MOST_SWEEPS}:], sep=chr(10))"


def looked_at(store: Store, large: str) -> Shown:
    """The large sweep and the example's, with up to 200 recipes each."""
    names = [large, *(r.id for r in store.sweeps() if r.example)]
    return Shown({name: SweepColumns(store, name).read().done.ids[:200] for name in names})


def main() -> None:
    """Print the figures; exit code 1 for an error that a visitor saw, or for what is left behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=25)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--think", type=float, default=10.0, help="seconds between two changes of one visitor, on average"
    )
    parser.add_argument("--warm", type=float, default=0.5, help="minutes of a first crowd, which is not counted")
    parser.add_argument("--mix", action="store_true", help="go to every page, not Explore alone")
    parser.add_argument("--home", type=Path, help="a home that bench_pages.py filled, and that is changed")
    options = parser.parse_args()
    seen = Seen()
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder) / "home"
        made = home.exists()
        home.mkdir(parents=True, exist_ok=True)
        os.environ["PARETOSCOPE_HOME"] = str(home)
        large = "" if made else fill(home, options.trials).id
        store = Store.open()
        large = large or max(store.sweeps(), key=lambda row: row.trials).id
        shown = looked_at(store, large)
        with dashboard(home) as url:
            port = int(url.rpartition(":")[2])
            server = listening(port)
            # What the first visitors make a server load, and the connections to the store that it keeps.
            asyncio.run(crowd(port, shown, options, options.warm, 5.0, Seen(), {}))
            time.sleep(KEPT_S)
            before = Held.by(server)
            sweeping = run_over_and_over(home, time.time() + 60 * options.minutes)
            processes = {"server": server, "sweeps": psutil.Process(sweeping.pid)}
            asyncio.run(crowd(port, shown, options, options.minutes, options.think, seen, processes))
            sweeping.wait()
            time.sleep(KEPT_S)
            after = Held.by(server)
            logged = (home / "server.log").stat().st_size
    report(seen, options)
    print(
        f"before the first visitor {before}\nafter the last            {after}; the server has logged {logged:,} bytes"
    )
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg(), "errors": seen.errors}))
    left = (
        after.connections > before.connections or after.threads > before.threads + 2 or after.files > before.files + 2
    )
    sys.exit(bool(seen.failed) or left)


def report(seen: Seen, options: argparse.Namespace) -> None:
    """What was seen, in lines."""
    print(
        f"{options.sessions} sessions, {options.trials:,} recipes, {options.minutes:g} min, sweeps running: {seen.failed} errors"
    )
    changes = seen.changes
    if changes:
        print(
            f"{len(changes)} changes: median {statistics.median(changes):.2f} s, p95 {p95(changes):.2f} s (budget {MOST_SESSION_S})"
        )
    for page, loads in sorted(seen.loads.items()):
        print(f"{len(loads)} loads of {page}: median {statistics.median(loads):.2f} s, p95 {p95(loads):.2f} s")
    for name, sizes in seen.memory.items():
        shown = ", ".join(f"{n / 1e9:.3f}" for n in thirds(sizes))
        budget = f" (budget {MOST_BYTES / 1e9:g})" if name == "server" else ""
        print(f"memory of the {name}: at most {max(sizes) / 1e9:.2f} GB{budget}; by thirds of the time {shown} GB")


if __name__ == "__main__":
    main()
