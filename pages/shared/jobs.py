"""Working something out about one trial, as a process of its own: pages never measure, and it goes on whatever happens to them.

The process is `paretoscope COMMAND SWEEP TRIAL --json`. Its answer goes into the store, where every visitor finds it; what it prints goes
into `jobs/` of the home folder, beside a note of which process it is, so that any session sees it run, and can stop it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

import psutil

from engine.errors import SetupError
from engine.paths import DATA, home
from engine.spec.canonical import digest
from pages.shared import access, queries

STARTING = Lock()
"""Held while it is found out whether something measures, and something is started."""
# Clocks are set now and then, and a process's start is counted from one; no number is given out again this soon.
_SAME_S = 2.0


@dataclass(frozen=True)
class Job:
    """A command about one trial of a sweep."""

    command: Literal["why", "portability", "confirm", "sensitivity", "layers"]
    sweep_id: str
    trial_id: str

    @property
    def log(self) -> Path:
        """Where its process writes what it prints. Ids are never made into paths."""
        return _folder() / f"{self.command}-{digest([self.sweep_id, self.trial_id])[:20]}.log"

    @property
    def note(self) -> Path:
        """Which process it is, while it runs."""
        return self.log.with_suffix(".json")


def _folder() -> Path:
    folder = home() / "jobs"
    folder.mkdir(exist_ok=True)
    return folder


def start(job: Job) -> subprocess.Popen[bytes]:
    """Start a job, detached. AccessError for who may not run anything, SetupError where it cannot run now."""
    access.require("editor")
    with STARTING:
        if reason := in_the_way():
            raise SetupError(reason)
        try:
            with job.log.open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "engine.cli", job.command, job.sweep_id, job.trial_id, "--json"],
                    cwd=DATA.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            known = {"process": process.pid, "started": psutil.Process(process.pid).create_time()}
            partial = job.note.with_suffix(".part")
            partial.write_text(json.dumps(known), encoding="utf-8")
            partial.replace(job.note)
        except OSError as error:
            raise SetupError(f"this cannot be started: {error}; check the home folder {home()}") from None
    return process


def in_the_way() -> str | None:
    """Why nothing can be started now: two that measure at once would measure each other."""
    if reason := measuring():
        return reason
    running = next((row.name for row in queries.sweeps() if row.state == "running"), None)
    if running:
        return f"the sweep {running!r} is running and its latencies would suffer; wait until it is done"
    return None


def measuring() -> str | None:
    """Why nothing that measures can be started beside a job that runs; None where none runs."""
    if any(_process(note) for note in _folder().glob("*.json")):
        return "something is being worked out about a recipe; wait until that is done, or cancel it on its page"
    return None


def elapsed_s(job: Job) -> float | None:
    """Seconds that a job has been running; None when it is not."""
    process = _process(job.note)
    return None if process is None else max(0.0, time.time() - process.create_time())


def cancel(job: Job) -> None:
    """Stop a job's process; AccessError for who may not."""
    access.require("editor")
    process = _process(job.note)
    if process is not None:
        process.terminate()
        psutil.wait_procs([process], timeout=5)


def last_words(job: Job) -> str | None:
    """Why an ended job gave no answer, in one line: empty when it was stopped; None when it never ran, or did answer."""
    try:
        lines = job.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return None
    # Answers are JSON; one that is there and yet not in the store was another version's.
    if lines and lines[-1] == "}":
        return None
    return lines[-1].strip().removeprefix("paretoscope: ") if lines else ""


def stamp(job: Job) -> tuple[int, bool]:
    """A value that changes whenever a job begins or ends, for caches."""
    try:
        written = job.log.stat().st_mtime_ns
    except OSError:
        written = 0
    return written, _process(job.note) is not None


def _process(note: Path) -> psutil.Process | None:
    """The process that a note speaks of, while it runs; the number may be another one's by now."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        process = psutil.Process(known["process"])
        same = abs(process.create_time() - known["started"]) < _SAME_S
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        pass
    note.unlink(missing_ok=True)
    return None
