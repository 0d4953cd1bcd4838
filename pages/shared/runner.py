"""Starting a sweep as a process of its own, so that it goes on whatever happens to this page or this server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import InputError, SetupError, SpecError
from engine.paths import DATA, forget_run, home, log_path, spec_path
from engine.run.installed import require_run
from engine.spec.read import stated_yaml, to_yaml
from engine.spec.sweep import Sweep
from engine.uploads.bounds import CHECKING, UNLIMITED
from engine.uploads.keep import upload_at
from engine.uploads.limited import Ended, Limits, run_limited
from pages.shared import access, jobs, queries, reach

_UNCHECKED = replace(CHECKING, memory_bytes=UNLIMITED, file_bytes=UNLIMITED)
"""Of what lies on the server already, only the time is limited."""


def start(sweep: Sweep, keep_old_code: bool = False) -> subprocess.Popen[bytes]:
    """Write the spec under the home folder and start `paretoscope run` on it, detached; SetupError when that fails.

    `keep_old_code`: with what an earlier version of the program has finished.

    AccessError for who may not run anything, and for paths that may not be named here.
    """
    access.require("editor")
    reach.require(sweep)
    require_run("running a sweep")
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
    """What `paretoscope check` says of a sweep, its `--json`, waited for; AccessError for who may not run anything, or name its paths.

    What was uploaded is read with limits. SpecError in one line where the spec is refused, SetupError where there is no answer in time.
    """
    access.require("editor")
    reach.require(sweep)
    limits = CHECKING if _has_uploads(sweep) else _UNCHECKED
    with tempfile.TemporaryDirectory(prefix="paretoscope-check-") as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(stated_yaml(sweep), encoding="utf-8")
        done = _ended(["check", str(spec), "--json"], limits, "the check", "`paretoscope check`")
    try:
        found: dict[str, Any] = json.loads(done.output)
    except ValueError:
        raise SpecError(_last_line(done.errors, "the check")) from None
    return found


def run_program(arguments: Sequence[str], limits: Limits, called: str, instead: str) -> None:
    """`paretoscope ARGUMENTS` with limits, waited for; InputError in one line where it fails.

    `instead`: what to type where it oversteps.
    """
    done = _ended(arguments, limits, called, instead)
    if done.code != 0:
        raise InputError(_last_line(done.errors, called))


def _ended(arguments: Sequence[str], limits: Limits, called: str, instead: str) -> Ended:
    try:
        done = run_limited("engine.cli", arguments, limits, environment=os.environ)
    except OSError as error:
        raise SetupError(f"{called} cannot be started: {error}; try {instead} on the command line") from None
    if over := done.overstepped(limits):
        raise SetupError(f"{called} takes {over}; make network or data smaller, or try {instead} on the command line")
    return done


def _has_uploads(sweep: Sweep) -> bool:
    return any(upload_at(source) for source in (sweep.model.source, sweep.data.source))


def _last_line(errors: str, called: str) -> str:
    lines = errors.strip().splitlines() or [f"{called} failed"]
    if "MemoryError" in lines[-1]:
        return f"{called} takes more memory than is given to uploads; make network or data smaller"
    return lines[-1].removeprefix("paretoscope: ")


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
