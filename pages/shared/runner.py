"""Starting a sweep as a process of its own, so that it goes on whatever happens to this page or this server."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from engine.errors import SetupError, SpecError
from engine.paths import DATA, forget_run, home, log_path, spec_path
from engine.spec.read import to_yaml
from engine.spec.sweep import Sweep
from pages.shared import access, jobs, queries

CHECK_S = 120.0
"""Longer is not waited for the answer of a check."""


def start(sweep: Sweep, keep_old_code: bool = False) -> subprocess.Popen[bytes]:
    """Write the spec under the home folder and start `paretoscope run` on it, detached; SetupError when that fails.

    `keep_old_code`: with what an earlier version of the program has finished.

    AccessError for who may not run anything.
    """
    access.require("editor")
    home()
    spec, log = spec_path(sweep.id), log_path(sweep.id)
    partial = spec.with_suffix(".part")
    try:
        for path in (spec, log):
            path.parent.mkdir(exist_ok=True)
        partial.write_text(to_yaml(sweep), encoding="utf-8")
        partial.replace(spec)
        with jobs.STARTING:
            if reason := jobs.measuring():
                raise SetupError(reason)
            with log.open("wb") as output:
                return subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "engine.cli",
                        "run",
                        str(spec),
                        *(["--keep-old-code"] if keep_old_code else []),
                    ],
                    cwd=DATA.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
    except OSError as error:
        raise SetupError(f"the sweep cannot be started: {error}; check the home folder {spec.parent.parent}") from None


def check(sweep: Sweep) -> dict[str, Any]:
    """What `paretoscope check` says of a sweep, its `--json`, waited for; AccessError for who may not run anything.

    SpecError in one line where it refuses the spec, SetupError where it gives no answer in two minutes.
    """
    access.require("editor")
    with tempfile.TemporaryDirectory(prefix="paretoscope-check-") as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(to_yaml(sweep), encoding="utf-8")
        command = [sys.executable, "-m", "engine.cli", "check", str(spec), "--json"]
        try:
            done = subprocess.run(
                command, cwd=DATA.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CHECK_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupError(
                f"the check gave no answer: {error}; try `paretoscope check` on the command line"
            ) from None
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise SpecError(
            (done.stderr.strip().splitlines() or ["the check failed"])[-1].removeprefix("paretoscope: ")
        ) from None
    return found


def cancel(sweep_id: str) -> None:
    """Ask the runner of a sweep to stop; AccessError for who may not."""
    access.require("editor")
    queries.store().request_cancel(sweep_id)


def delete(sweep_id: str) -> None:
    """Delete a sweep; AccessError for who may not, SpecError for one that runs or ships with the program."""
    access.require("editor")
    queries.store().delete_sweep(sweep_id)
    forget_run(sweep_id)


def last_words(sweep_id: str) -> str:
    """The last line that a runner printed, without its own name in front; empty when it printed nothing."""
    try:
        lines = log_path(sweep_id).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip().removeprefix("paretoscope: ") if lines else ""


def known(sweep_id: str) -> bool:
    """Whether a sweep of this id was started from a page of this home. Ids from an address are never made into paths."""
    return any(path.stem == sweep_id for path in spec_path("any").parent.glob("*.yaml"))
