"""Kills whatever takes part in a sweep at random moments, and holds what is left against a run that nobody disturbed.

    nice .venv/bin/python tests/benchmarks/bench_soak.py [--kills 50] [--minutes M] [--seed 0] [--victims runner worker …]

One home, its store on a PostgreSQL of its own, `paretoscope app` beside it; half of the runs bring their own workers, half use a Dask
scheduler with a worker. `kill -9` meets the runner, the worker, the scheduler, the web server or PostgreSQL; what is a service is started
again, as systemd would, and where the runner ended `paretoscope resume` goes on. When the sweep is done it is held against the undisturbed
run, deleted with its nodes and files, and begun anew, until so many kills are done. Then, each a line and exit code 1 where it fails:

- the trials are those of the undisturbed run, but for times;
- every file is what was written (SHA-256), and none lies half written;
- no node that the store knew as finished was worked on again, as told by the workers, and its row is as it was;
- no process and no temporary folder is left after the next start.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from engine.check.report import settled  # noqa: E402
from engine.measure.machine import machine  # noqa: E402
from engine.run.planner import make_plan  # noqa: E402
from engine.spec.read import read_sweep  # noqa: E402
from engine.spec.sweep import Sweep  # noqa: E402
from engine.store.artifacts import Artifacts  # noqa: E402
from engine.store.store import Store  # noqa: E402
from tests.helpers.killed import PRELOAD, Service, half_written, keep_up, left_in, left_of, workers_of  # noqa: E402
from tests.helpers.servers import Postgres, free_port, new_schema, postgres  # noqa: E402
from tests.helpers.small_sweep import write_small_sweep  # noqa: E402
from tests.helpers.tiny import write_problem  # noqa: E402

VICTIMS = ("runner", "worker", "scheduler", "server", "postgres")
# What of a trial is time, or follows from it; the rest is the same to the bit.
TIMES = {"latency_ms", "latency_ratio", "timing", "finished_s", "projections", "throughput_per_s", "stages", "notes"}
TRAINING = """
  prune: [null, {method: channel, ratio: [0.25, 0.5], finetune_epochs: 2}]
  quantize: [null, {weight_bits: [8, 4], activation_bits: 8, calibration_samples: 32}]
"""
QUICK = """
  quantize: [null, {weight_bits: [8, 7, 6, 5, 4], activation_bits: 8, calibration_samples: [16, 32, 64, 128], rounding: nearest}]
"""
PATIENCE_S = 300.0


class Soak:
    """One home and all that takes part in its sweep."""

    def __init__(
        self, folder: Path, server: Postgres | None, seed: int, victims: tuple[str, ...], training: bool
    ) -> None:
        self.folder, self.server, self.draw, self.victims = folder, server, random.Random(seed), victims
        self.begun, self.temporary = folder / "begun.log", folder / "tmp"
        self.temporary.mkdir()
        self.begun.touch()
        preload = folder / "preload.py"
        preload.write_text(PRELOAD)
        store = {"PARETOSCOPE_STORE": new_schema(server.url, f"soak{seed}")} if server else {}
        own = {
            "PYTHONPATH": str(ROOT), "PARETOSCOPE_HOME": str(folder / "home"), "PARETOSCOPE_HOST_LOCK": str(folder),
            "TMPDIR": str(self.temporary),
            "PARETOSCOPE_CORES": "1", "PARETOSCOPE_DEVICE": "cpu", "OMP_NUM_THREADS": "1", "SOAK_BEGUN": str(self.begun),
            "DASK_DISTRIBUTED__WORKER__PRELOAD": f'["{preload}"]',
        }  # fmt: skip
        os.environ.update(own | store)
        self.environment = dict(os.environ)
        self.spec = write_problem(folder) if training else write_small_sweep(folder)
        lines = self.spec.read_text().splitlines()
        kept = [line for line in lines if line.startswith(("name", "model", "data"))]
        space = "space:" + (TRAINING if training else QUICK)
        self.spec.write_text("\n".join(kept) + f"\n{space}measure: {{latency: null}}\n")
        # As the command line states what the spec leaves out.
        self.sweep: Sweep = settled(read_sweep(self.spec))[0]
        self.nodes = make_plan(self.sweep, machine()).nodes
        self.port, self.dask_port = free_port(), free_port()
        self.services: dict[str, Service] = {}
        self.faults: list[str] = []
        # Runs by where they computed; of those `refused` ended with code 2.
        self.kills, self.runs = Counter[str](), Counter[str]()
        self.known: dict[str, tuple[float, Any]] = {}
        self.began = time.monotonic()

    def store(self) -> Store:
        """Opened anew each time: what is kept open would hide what a newcomer meets."""
        return Store.open()

    # What takes part.

    def start_services(self) -> None:
        python = [sys.executable, "-m"]
        app = [*python, "engine.cli", "app", "--headless", "--port", str(self.port)]
        scheduler = [
            *python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(self.dask_port), "--no-dashboard",
        ]  # fmt: skip
        worker = [
            *python, "distributed.cli.dask_worker", self.address, "--nthreads", "1", "--nworkers", "1", "--resources", "cpu=1",
            "--no-dashboard",
            "--local-directory", str(self.folder), "--death-timeout", "600",
        ]  # fmt: skip
        if "server" in self.victims:
            self.services["server"] = Service(app, self.folder, self.environment)
        if "scheduler" in self.victims:
            own = self.environment | {"DASK_TEMPORARY_DIRECTORY": str(self.folder)}
            self.services["scheduler"] = Service(scheduler, self.folder, own)
            self.services["worker"] = Service(worker, self.folder, self.environment)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.dask_port}"

    def start_runner(self, elsewhere: bool) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "engine.cli", "run", str(self.spec), "--json"]
        with (self.folder / "runner.log").open("ab") as log:
            return subprocess.Popen(
                [*command, *(["--scheduler", self.address] if elsewhere else [])],
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    # The kills.

    def kill(self, victim: str, runner: subprocess.Popen[bytes], elsewhere: bool) -> bool:
        """Whether there was anything to kill; what is a service is started again."""
        if victim == "runner":
            runner.kill()
        elif victim == "worker":
            parent = self.services["worker"].process if elsewhere else runner
            assert parent is not None
            workers = workers_of(parent.pid)
            for process in workers:
                process.kill()
            if not workers:
                return False
        elif victim == "postgres":
            assert self.server is not None
            self.server.end(signal.SIGKILL)
            time.sleep(self.draw.uniform(0, 3))
            self._start_postgres()
        else:
            self.services[victim].kill()
            self.services[victim].start()
        self.kills[victim] += 1
        print(f"{time.monotonic() - self.began:6.0f} s: killed the {victim}", flush=True)
        return True

    def _start_postgres(self) -> None:
        assert self.server is not None
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.server.start()
                return
            # What it left in shared memory is not free before its last child has noticed.
            except BaseException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def remember(self) -> float:
        """Note what the store knows now: from here on none of it may run again, or change."""
        rows, now = self.store().nodes(self.nodes), time.time()
        for key, row in rows.items():
            before = self.known.setdefault(key, (now, (row.seconds, row.result)))
            if before[1] != (row.seconds, row.result):
                self.faults.append(f"the row of node {key[:12]} has changed")
        return now

    def check_reruns(self) -> None:
        for line in self.begun.read_text().splitlines():
            when, key = line.split(" ", 1)
            if key in self.known and float(when) > self.known[key][0]:
                self.faults.append(f"node {key[:12]} ({self.nodes[key].kind}) has run again")

    # One sweep, disturbed.

    def round(self, most_kills: int, until: float = math.inf) -> None:
        """Kill until the sweep is done, or enough has been killed, or the time is over, which leaves it to be finished in peace."""
        deadline, kills = time.monotonic() + 20 * PATIENCE_S, 0
        while not self.is_done():
            assert time.monotonic() < deadline, "the sweep does not come to its end"
            elsewhere = "scheduler" in self.services and self.draw.random() < 0.5
            if elsewhere:
                keep_up(self.services.values(), self.address, PATIENCE_S)
            runner = self.start_runner(elsewhere)
            self._until_so_many_begin(1, runner)
            while kills < most_kills and runner.poll() is None and time.monotonic() < until:
                # By nodes rather than by time: a slow machine would never come further than the first.
                self._until_so_many_begin(self.draw.randint(0, 12), runner)
                time.sleep(self.draw.uniform(0, 2))
                self.remember()
                usable = [v for v in self.victims if elsewhere or v != "scheduler"]
                kills += self.kill(self.draw.choice(usable), runner, elsewhere)
            try:
                code = runner.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.faults.append(
                    f"a runner{' elsewhere' if elsewhere else ''} was still there after {PATIENCE_S:.0f} s"
                )
                runner.kill()
                code = runner.wait()
            self.remember()
            self.runs["elsewhere" if elsewhere else "here"] += 1
            self.runs["refused"] += code == 2
            if code not in (0, 1, 2, -signal.SIGKILL):
                self.faults.append(f"a runner ended with code {code}")
        self.check_reruns()

    def is_done(self) -> bool:
        """Every trial measured: a step whose worker was killed twice has failed, and the next run tries it again."""
        store = self.store()
        rows = [r for r in store.sweeps() if r.id == self.sweep.id]
        return bool(rows) and rows[0].state == "done" and not store.failed(self.sweep.id)

    def _until_so_many_begin(self, nodes: int, runner: subprocess.Popen[bytes]) -> None:
        before, deadline = self._count_begun(), time.monotonic() + PATIENCE_S
        while runner.poll() is None and self._count_begun() < before + nodes and time.monotonic() < deadline:
            time.sleep(0.05)

    def _count_begun(self) -> int:
        return self.begun.read_text().count("\n")

    def figures(self) -> dict[str, Any]:
        """Trials by recipe, all but times."""
        found = {}
        for trial in self.store().trials(self.sweep.id):
            found[trial.label] = {k: v for k, v in trial.to_json().items() if k not in TIMES}
        return found

    def check_files(self) -> int:
        """Every file read through, as whoever reads it first does; the number of them."""
        artifacts = Artifacts.open()
        stored = artifacts.stored()
        for file in stored:
            artifacts.local(file.name)
        # What was killed as it wrote is removed by whoever writes next, once the last of its processes has ended.
        deadline = time.monotonic() + 20
        while (half := half_written(artifacts.url)) and time.monotonic() < deadline:
            time.sleep(0.2)
            artifacts.check()
        self.faults += [f"{name} lies half written" for name in half]
        return len(stored)

    def forget(self) -> None:
        """As if the sweep had never been."""
        import shutil

        import sqlalchemy as sa

        store = self.store()
        store.delete_sweep(self.sweep.id)
        with store._engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM nodes"))
        shutil.rmtree(self.folder / "home" / "artifacts")
        self.known, _ = {}, self.begun.write_text("")

    def close(self) -> None:
        """End what is a service; then nothing may be left."""
        for service in self.services.values():
            service.end()
        deadline = time.monotonic() + 20
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.faults += [f"process {p.pid} is left: {' '.join(p.cmdline())[:150]}" for p in left]
        # What was killed last is removed by whoever starts next.
        subprocess.run(
            [sys.executable, "-m", "engine.cli", "sweeps"], env=self.environment, check=True, capture_output=True
        )
        self.faults += [f"{p.name} is left in the folder for temporary files" for p in left_in(self.temporary)]

    def _left(self) -> list[psutil.Process]:
        """All but PostgreSQL, which ends last: started again, it has our environment."""
        server = psutil.Process(self.server.process.pid) if self.server and self.server.process else None
        return [p for p in left_of(self.begun) if server is None or p not in (server, *server.children(recursive=True))]


def soak(
    folder: Path, kills: int, seed: int, victims: tuple[str, ...], training: bool, minutes: float
) -> tuple[int, list[str]]:
    """How much was killed, and the faults found, each a line; the figures are printed."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres()) if "postgres" in victims else None
        soaked = Soak(folder, server, seed, victims, training)
        until = soaked.began + 60 * minutes
        soaked.round(0)
        undisturbed = soaked.figures()
        print(
            f"undisturbed: {len(undisturbed)} trials, {len(soaked.nodes)} nodes, {time.monotonic() - soaked.began:.0f} s",
            flush=True,
        )
        soaked.forget()
        soaked.start_services()
        rounds = 0
        while (left := kills - sum(soaked.kills.values())) > 0 and time.monotonic() < until:
            soaked.round(left, until)
            rounds += 1
            found = soaked.figures()
            if found != undisturbed:
                differ = [label for label in undisturbed if found.get(label) != undisturbed[label]]
                soaked.faults.append(f"trials differ from those of the undisturbed run: {differ}")
            files = soaked.check_files()
            print(
                f"sweep {rounds}: {sum(soaked.kills.values())} kills so far ({dict(soaked.kills)}), {files} files whole, "
                f"{len(soaked.faults)} faults, {time.monotonic() - soaked.began:.0f} s", flush=True,
            )  # fmt: skip
            soaked.forget()
        soaked.close()
        print(f"killed {dict(soaked.kills)} in {rounds} sweeps, runs {dict(soaked.runs)}")
        return sum(soaked.kills.values()), soaked.faults


def main() -> None:
    """Print what happened; exit code 1 for any fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=math.inf, help="kill no more after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", nargs="*", choices=VICTIMS, default=list(VICTIMS))
    parser.add_argument("--training", action="store_true", help="a sweep that trains: torch in every worker, slower")
    parser.add_argument("--keep", type=Path, help="a folder that is kept, with the logs, instead of a temporary one")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        folder.mkdir(exist_ok=True)
        killed, faults = soak(
            folder.resolve(), options.kills, options.seed, tuple(options.victims), options.training, options.minutes
        )
    for fault in faults:
        print(f"FAULT: {fault}")
    print(json.dumps({"kills": killed, "seed": options.seed, "faults": len(faults), "cores": os.cpu_count()}))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
