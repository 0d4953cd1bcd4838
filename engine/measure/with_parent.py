"""`python -m engine.measure.with_parent PID MODULE`: the module as a program that ends when the process PID, which starts it, ends.

Whoever measures may be killed, and what it started would go on beside whatever is timed next. Linux alone offers that; elsewhere such a
process ends with its own time limit.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

# <linux/prctl.h>
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """This process is killed when the thread that started it ends; exits at once where the process `parent` is gone already."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
