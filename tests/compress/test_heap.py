"""Large blocks go back to the system though small ones lie between them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from engine.compress.heap import large_blocks_given_back
from tests.helpers.places import ROOT

# In a process of its own: what else a process has allocated decides which of its blocks glibc can give back.
CODE = """
from pathlib import Path
import numpy as np
from engine.compress.heap import large_blocks_given_back

MIB = 2**20

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

raising = [np.ones(20 * MIB, np.uint8)]
del raising[:]  # from here on glibc keeps blocks of up to 20 MiB

def given_back():
    large, small = [], []
    for _ in range(50):
        large.append(np.ones(2 * MIB, np.uint8))
        small.append(np.ones(64 * 1024, np.uint8))
    before = resident()
    large.clear()
    return before - resident()

print(given_back() // MIB)
with large_blocks_given_back():
    print(given_back() // MIB)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other ways")
def test_what_is_freed_between_small_blocks_is_given_back() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    kept, given = map(int, done.stdout.split())
    # Of 100 MiB; without it glibc keeps them.
    assert given > 80 > kept


def test_one_may_lie_inside_another() -> None:
    with large_blocks_given_back(), large_blocks_given_back():  # as tasks in two threads are
        pass
