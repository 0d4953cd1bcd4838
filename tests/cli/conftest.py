"""A small sweep, run once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import paretoscope
from tests.helpers.tiny import write_problem


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home in which the tiny sweep has run, and the sweep's id."""
    folder = tmp_path_factory.mktemp("swept")
    done = paretoscope("run", write_problem(folder), "--json", home=folder / "home")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["state"] == "done"
    return folder / "home", outcome["sweep"]
