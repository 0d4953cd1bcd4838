"""A node with all that its work needs, as it travels to a worker, and the data that it is about, read once per process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset
from engine.errors import DatasetError
from engine.run.away import Away, planned_data
from engine.run.plan import Node
from engine.spec.sections import Data
from engine.store.artifacts import Artifacts


@dataclass(frozen=True)
class Task:
    """A node with all that its work needs; it travels to the worker. `away`: what holds on another host than it was planned on.

    `run`: the name under which Dask's scheduler keeps answers of finished nodes (`kept_answers.py`), if it does.
    """

    node: Node
    inputs: tuple[str, ...]
    data: Data
    seed: int
    artifacts: Artifacts
    away: Away | None = None
    run: str = ""

    def input(self, position: int = 0) -> Path:
        """The file of an input node, in the order of `node.inputs`."""
        return self.artifacts.local(self.inputs[position])


def dataset_of(data: Data) -> Dataset:
    """Read once per worker process. Raises DatasetError where these are not the data that the node was planned with."""
    return _read(data, planned_data.get())


@lru_cache(maxsize=1)
def _read(data: Data, planned: str | None) -> Dataset:
    # A worker elsewhere outlives runs, and files: what it has read before may be of another day.
    found = load_dataset(data)
    if planned is not None and found.checksum != planned:
        raise DatasetError(
            f"data {data.source} have changed on this worker since the run began (SHA-256 {found.checksum[:12]}…, planned "
            f"{planned[:12]}…); put back those of the run, or start it again"
        )
    return found
