"""Where things lie: the data that ships with the project, and the user's own state."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

from engine.errors import SetupError

DATA = Path(__file__).resolve().parent.parent / "data"
"""The embedded dataset, trained checkpoints, tables and the example sweep; read only."""

CHECKPOINTS = DATA / "checkpoints"
EXAMPLE = DATA / "example"


def home_path() -> Path:
    """Where the user's own state is (`PARETOSCOPE_HOME`), whether it exists or not."""
    named = os.environ.get("PARETOSCOPE_HOME")
    return Path(named) if named else platformdirs.user_data_path("paretoscope")


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
