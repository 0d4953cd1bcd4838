"""Two commands that begin at the same moment in a new home both enter the shipped examples; neither may die of the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from engine.store.store import Store


def test_many_open_a_new_store_at_once(home: Path) -> None:
    Store(f"sqlite:///{home / 'paretoscope.db'}")  # tables, but no sweep yet
    gate = Barrier(6)

    def opened() -> list[str]:
        gate.wait()
        return sorted(row.id for row in Store.open().sweeps())

    with ThreadPoolExecutor(6) as pool:
        found = [one.result() for one in [pool.submit(opened) for _ in range(6)]]
    assert len(found[0]) == 2
    assert all(one == found[0] for one in found)
