"""Starting a sweep as a process of its own, so that it goes on whatever happens to this page or this server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from engine.errors import SetupError
from engine.paths import DATA, home
from engine.spec import Sweep, to_yaml
from pages.ui import access, queries


def _folder(name: str) -> Path:
    folder = home() / name
    folder.mkdir(exist_ok=True)
    return folder


def log_path(sweep_id: str) -> Path:
    """Where the runner of a sweep writes what it prints."""
    return _folder("logs") / f"{sweep_id}.log"


def start(sweep: Sweep) -> subprocess.Popen[bytes]:
    """Write the spec under the home folder and start `paretoscope run` on it, detached; SetupError when that fails.

    AccessError for who may not run anything.
    """
    access.require("editor")
    spec = _folder("specs") / f"{sweep.id}.yaml"
    partial = spec.with_suffix(".part")
    try:
        partial.write_text(to_yaml(sweep), encoding="utf-8")
        partial.replace(spec)
        with log_path(sweep.id).open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "engine.cli", "run", str(spec)],
                cwd=DATA.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise SetupError(f"the sweep cannot be started: {error}; check the home folder {spec.parent.parent}") from None


def cancel(sweep_id: str) -> None:
    """Ask the runner of a sweep to stop; AccessError for who may not."""
    access.require("editor")
    queries.store().request_cancel(sweep_id)


def last_words(sweep_id: str) -> str:
    """The last line that a runner printed, without its own name in front; empty when it printed nothing."""
    try:
        lines = log_path(sweep_id).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip().removeprefix("paretoscope: ") if lines else ""


def known(sweep_id: str) -> bool:
    """Whether a sweep of this id was started from a page of this home. Ids from an address are never made into paths."""
    return any(path.stem == sweep_id for path in _folder("specs").glob("*.yaml"))
