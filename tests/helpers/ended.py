"""A process that was there and is no more."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.helpers.places import ROOT


def ended_process() -> str:
    """What `running.this_process` said in a process that has ended since."""
    code = "from engine.store.running import this_process; print(this_process())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()
