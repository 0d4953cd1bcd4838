"""A node with all that its work needs, as it travels to a worker, and the data that it is about, read once per process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset
from engine.run.plan import Node
from engine.spec.sections import Data
from engine.store.artifacts import Artifacts


@dataclass(frozen=True)
class Task:
    """A node with all that its work needs; it travels to the worker."""

    node: Node
    inputs: tuple[str, ...]
    data: Data
    seed: int
    artifacts: Artifacts

    def input(self, position: int = 0) -> Path:
        """The file of an input node, in the order of `node.inputs`."""
        return self.artifacts.local(self.inputs[position])


@lru_cache(maxsize=1)
def dataset_of(data: Data) -> Dataset:
    """Read once per worker process; frozen specs are hashable."""
    return load_dataset(data)
