"""Which CPUs a measurement is pinned to."""

from __future__ import annotations

from engine.measure.pinning import choose_cpus, cpu_ticks


def test_pinning_prefers_fast_cores_then_cores_of_their_own():
    siblings = {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5", 2: "2", 3: "3"}
    mhz = {0: 5000, 4: 5000, 1: 5000, 5: 5000, 2: 3000, 3: 3000}
    assert choose_cpus(siblings, 2, siblings, mhz) == (5, 4)
    assert choose_cpus(siblings, 5, siblings, mhz) == (5, 4, 3, 2, 1)
    assert choose_cpus([0, 1], 1, {}, {}) == (1,)


def test_pinning_keeps_off_a_core_at_work_unless_the_others_are_slower():
    assert choose_cpus([0, 1], 1, {}, {}, {0: 0.02, 1: 0.97}) == (0,)
    assert choose_cpus([0, 1], 1, {}, {}, {0: 0.02, 1: 0.04}) == (1,)
    assert choose_cpus([0, 1], 2, {}, {}, {0: 0.02, 1: 0.97}) == (0, 1)
    assert choose_cpus([0, 1], 1, {}, {0: 2000, 1: 5000}, {1: 0.97}) == (1,)


def test_what_a_hypervisor_takes_counts_as_work():
    text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 10 1 5 80 4 0 0 0 3 0\ncpu12 10 0 0 60 0 0 0 30 0 0\nintr 5 5\n"
    assert cpu_ticks(text) == {0: (16, 100), 12: (40, 100)}
    assert cpu_ticks("") == {}
