"""`settled` in a process of its own, for a run that goes on afterwards: what the check loads, torch above all, ends with it.

`python -m engine.check.apart` reads a pickle of paths and a sweep, and writes one of what was found, or of the error that a person is told.
Both are this program's own.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

from engine.check.report import Report, settled
from engine.errors import ParetoscopeError, SetupError
from engine.spec.sweep import Sweep

_ROOT = Path(__file__).resolve().parent.parent.parent


def settled_apart(sweep: Sweep) -> tuple[Sweep, Report | None]:
    """As `engine.check.report.settled`, in another process where it would load torch into this one. Raises what that does."""
    if sweep.model.is_onnx or "torch" in sys.modules:
        return settled(sweep)
    # A program that is not installed is on sys.path only, which no process inherits; networks are found by what is on it, too.
    path = os.pathsep.join(p for p in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if p)
    found = subprocess.run(
        [sys.executable, "-m", __name__],
        input=pickle.dumps((sys.path, sweep)),
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    if found.returncode:
        ended = f"signal {-found.returncode}" if found.returncode < 0 else f"exit code {found.returncode}"
        raise SetupError(f"the check of model and data ended by {ended}; try `paretoscope check` on the spec")
    answer = pickle.loads(found.stdout)  # noqa: S301 - of this program
    if isinstance(answer, ParetoscopeError):
        raise answer
    told: tuple[Sweep, Report | None] = answer
    return told


def _main() -> None:
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # who asked tells of Ctrl-C
    answers = os.fdopen(os.dup(1), "wb")
    # What a library or a user's code prints is no answer.
    os.dup2(2, 1)
    sys.path[:], sweep = pickle.load(sys.stdin.buffer)  # noqa: S301 - of this program
    try:
        found: object = settled(sweep)
    except ParetoscopeError as error:
        found = error
    with answers:
        pickle.dump(found, answers)


if __name__ == "__main__":
    _main()
