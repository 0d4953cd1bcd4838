"""Cores are shared anew whenever a task starts or ends, and none is idle that a task could use."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
import torch

from engine.cores import OtherPrograms, Pool, each, share_torch_threads, shares, width


@pytest.mark.parametrize(
    ("cores", "limits", "expected"),
    [
        (1, [16], (1,)),
        (2, [16], (2,)),
        (2, [16, 16], (1, 1)),
        (2, [1], (1,)),
        (2, [1, 16], (1, 1)),
        (4, [1, 16], (1, 3)),
        (8, [16, 16, 16], (3, 3, 2)),
        (8, [1, 16, 1, 16], (1, 3, 1, 3)),
        (8, [2, 16], (2, 6)),
        (32, [16], (16,)),
        (2, [], ()),
    ],
)
def test_every_task_has_a_core_and_what_is_left_is_shared_evenly(
    cores: int, limits: list[int], expected: tuple[int, ...]
):
    assert shares(cores, limits) == expected


@pytest.mark.parametrize("cores", range(1, 17))
def test_no_core_is_idle_that_a_task_could_use(cores: int):
    for tasks in range(1, cores + 1):
        for wide in range(tasks + 1):
            found = shares(cores, [16] * wide + [1] * (tasks - wide))
            assert sum(found) == (cores if wide else tasks)
            assert max(found[:wide], default=1) - min(found[:wide], default=1) <= 1


def test_core_seconds_count_what_a_task_had_while_it_had_it():
    now = 0.0
    pool = Pool(4, clock=lambda: now)
    with pool.task(16) as wide:
        assert (wide.width, width()) == (4, 4)
        now = 10.0
        entered, leave = threading.Event(), threading.Event()
        other = []

        def narrow() -> None:
            with pool.task(1) as task:
                other.append((task, width()))
                entered.set()
                leave.wait()

        thread = threading.Thread(target=narrow)
        thread.start()
        entered.wait()
        assert width() == 3
        now = 15.0
        leave.set()
        thread.join()
        assert width() == 4
        now = 16.0
    assert width() == 1
    assert wide.core_seconds == 4 * 10 + 3 * 5 + 4 * 1
    assert (other[0][1], other[0][0].core_seconds) == (1, 5)


def test_cores_that_other_programs_use_are_left_to_them_for_as_long():
    now, busy = 0.0, 0.0
    pool = Pool(4, lambda: now, lambda at: busy)
    with pool.task(16):
        found = [width()]
        for at, cores in ((0.5, 2.0), (1.1, 2.0), (1.5, 0.0), (2.2, 0.25), (3.3, 0.5), (4.4, 4.0), (5.5, 0.0)):
            now, busy = at, cores
            found.append(width())
    # A look a second; a quarter of a core is little; of one core nobody is robbed.
    assert found == [4, 4, 2, 2, 4, 3, 1, 4]


def test_other_programs_are_what_is_busy_beside_this_one():
    busy, own = iter((100.0, 107.0, 108.0, 108.0)), iter((10.0, 12.0, 13.5, 13.5))
    others = OtherPrograms(lambda: next(busy), lambda: next(own))
    assert [others(at) for at in (50.0, 52.0, 53.0, 53.0)] == [0.0, 2.5, 0.0, 0.0]


def test_the_real_clocks_see_another_program():
    others = OtherPrograms()
    others(time.monotonic())
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(2.0)
        assert others(time.monotonic()) > 0.2
    finally:
        other.kill()
        other.wait()


def test_each_keeps_the_order_and_uses_as_many_cores_as_there_are():
    most, now, lock = 0, 0, threading.Lock()

    def work(item: int) -> int:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02 if item % 2 else 0.005)
        with lock:
            now -= 1
        return item * item

    for cores in (1, 3):
        most = 0
        with Pool(cores).task(16):
            assert each(work, range(12)) == [i * i for i in range(12)]
        assert most == cores
    most = 0
    assert each(work, range(3)) == [0, 1, 4]
    assert most == 1


def test_each_raises_what_the_first_to_fail_raised_and_begins_nothing_more():
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item in (2, 3):
            raise ValueError(f"item {item}")

    with Pool(2).task(16), pytest.raises(ValueError, match="item 2"):
        each(work, range(100))
    assert len(begun) < 10


def test_torchs_threads_belong_to_the_task_whatever_other_threads_were_given():
    """A thread's first sum must not take the count that another thread set last."""
    found: dict[int, list[int]] = {}
    begin = threading.Barrier(3)

    def compute(cores: int) -> None:
        with Pool(cores).task(16):
            share_torch_threads()
            begin.wait()
            torch.randn(300, 300) @ torch.randn(300, 300)
            found[cores] = [torch.get_num_threads()]
            begin.wait()
            share_torch_threads()
            found[cores].append(torch.get_num_threads())

    before = torch.get_num_threads()
    threads = [threading.Thread(target=compute, args=(cores,)) for cores in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {1: [1, 1], 2: [2, 2], 3: [3, 3]}
    share_torch_threads()
    assert torch.get_num_threads() == before
