"""Large blocks go back to the system though small ones lie between them."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from engine.compress.heap import large_blocks_given_back

MIB = 2**20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other ways")
def test_what_is_freed_between_small_blocks_is_given_back() -> None:
    del (raising := [np.ones(20 * MIB, np.uint8)])[:]  # from here on glibc keeps blocks of up to 20 MiB
    assert not raising
    with large_blocks_given_back():
        large, small = [], []
        for _ in range(50):
            large.append(np.ones(2 * MIB, np.uint8))
            small.append(np.ones(64 * 1024, np.uint8))
        before = resident()
        large.clear()
        assert before - resident() > 80 * MIB
    with large_blocks_given_back(), large_blocks_given_back():  # one inside the other, as tasks in two threads are
        pass
