"""The program that renames the shipped examples' files takes no arguments, and does nothing where one is given by mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_an_argument_is_refused_before_anything_is_renamed() -> None:
    before = {path.name for path in (ROOT / "data" / "example" / "artifacts").iterdir()}
    asked = [sys.executable, str(ROOT / "data" / "rekey_example.py"), "example_series"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unrecognized arguments: example_series" in done.stderr
    assert {path.name for path in (ROOT / "data" / "example" / "artifacts").iterdir()} == before
