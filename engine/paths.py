"""Where things lie: the data that ships with the project, and the user's own state."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

from engine.errors import SetupError

DATA = Path(__file__).resolve().parent.parent / "data"
"""The embedded dataset, trained checkpoints, tables and the example sweeps; read only."""

CHECKPOINTS = DATA / "checkpoints"
EXAMPLE = DATA / "example"
EXAMPLES = (EXAMPLE, DATA / "example_series")
"""Each holds a sweep that ships: pictures, and series."""


def home_path() -> Path:
    """Where the user's own state is (`PARETOSCOPE_HOME`), whether it exists or not."""
    named = os.environ.get("PARETOSCOPE_HOME")
    return Path(named) if named else platformdirs.user_data_path("paretoscope")


def spec_path(sweep_id: str) -> Path:
    """Where a page keeps the spec that it had run. An id of a sweep that exists: ids from an address are never made into paths."""
    return home_path() / "specs" / f"{sweep_id}.yaml"


def log_path(sweep_id: str) -> Path:
    """Where the runner that a page started writes what it prints."""
    return home_path() / "logs" / f"{sweep_id}.log"


def sent_path() -> Path:
    """Where a worker keeps Python files that runs from elsewhere brought, each set in a folder named by its content."""
    return (home_path() / "sent-code").resolve()


def uploads_path() -> Path:
    """Where uploaded files lie, each in a folder named by its content; whether it exists or not. Links in the way are followed."""
    return (home_path() / "uploads").resolve()


def forget_run(sweep_id: str) -> None:
    """Remove both files of a sweep that has been deleted, where they are."""
    for path in (spec_path(sweep_id), log_path(sweep_id)):
        path.unlink(missing_ok=True)


def home() -> Path:
    """The folder of the user's own state, made when missing; SetupError when it cannot be written."""
    folder = home_path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permission bits do not tell the whole story (root, read-only mounts, full disks), so write for real.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SetupError(
            f"the home folder {folder} cannot be written ({error.strerror}); set PARETOSCOPE_HOME to one that can"
        ) from None
    return folder
