"""`paretoscope` as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.places import ROOT


def paretoscope(*arguments: object, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.cli", *map(str, arguments)],
        cwd=home.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PARETOSCOPE_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert [w for w in words if w not in lines[0]] == [], lines[0]
