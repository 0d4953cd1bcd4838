"""A module of ours run in a process of its own: a JSON request on its input, whatever it answers on its output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine.cores import width

_ROOT = Path(__file__).resolve().parent.parent.parent


def run_module(module: str, request: dict[str, Any], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run `python -m module` on one request; it ends when this process does (`with_parent.py`). Raises TimeoutExpired."""
    # Between two processes a measurement that nobody waits for any more ends.
    width()
    # The tests and a clone that is not installed have the project on sys.path only, which a new process does not inherit.
    path = os.pathsep.join(p for p in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if p)
    return subprocess.run(
        [sys.executable, "-m", "engine.measure.with_parent", str(os.getpid()), module],
        input=json.dumps(request),
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def signal_text(number: int) -> str:
    """A signal as people look it up, `signal 9 (SIGKILL)`."""
    known = number in set(signal.Signals)
    return f"signal {number} ({signal.Signals(number).name if known else 'unknown here'})"
