"""`tests/benchmarks/bench_soak.py` in short: a runner and a worker are killed as they compute, and the sweep comes out the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.places import ROOT


def test_what_is_killed_at_random_goes_on_with_equal_results_and_leaves_nothing(tmp_path: Path):
    program = [sys.executable, str(ROOT / "tests" / "benchmarks" / "bench_soak.py")]
    options = ["--kills", "2", "--seed", "5", "--victims", "runner", "worker", "--keep", str(tmp_path)]
    done = subprocess.run(
        [*program, *options], env=dict(os.environ), capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["kills"], found["faults"]) == (2, 0)
