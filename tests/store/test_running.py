"""A runner that ended is known at once where it ran; its number alone, given to another process since, deceives nobody."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.store.running import shown, still_there, this_process, this_run
from tests.helpers.ended import ended_process


def test_this_process_is_there_and_one_that_ended_is_not():
    assert still_there(this_process()) is True
    assert still_there(ended_process()) is False
    assert still_there(this_run()) is True
    assert still_there(f"{ended_process()} 0123") is False
    assert this_run() != this_run()
    assert str(os.getpid()) in shown()


def test_a_number_that_was_given_out_again_is_not_the_process_that_had_it():
    place, number, started = this_process().split(" ")
    assert still_there(f"{place} {number} {started}0") is False


@pytest.mark.parametrize("process", [None, "", "process 1 on a-host", "another-boot/pid:[1] 1 2"])
def test_of_another_place_nothing_can_be_said(process: str | None):
    assert still_there(process) is None


@pytest.mark.skipif(sys.platform == "win32", reason="no zombies there")
def test_one_that_was_killed_and_not_waited_for_has_ended():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        place, _, _ = this_process().split(" ")
        stat = Path(f"/proc/{child.pid}/stat")
        if not stat.exists():
            pytest.skip("no /proc here")
        named = f"{place} {child.pid} {stat.read_text().rpartition(')')[2].split()[19]}"
        assert still_there(named) is True
        child.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while still_there(named) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert still_there(named) is False
    finally:
        child.kill()
        child.wait()
