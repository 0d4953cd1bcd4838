"""What a source holds before it is split as a dataset is: items, in memory or still to be read, and what is known of their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.datasets.splits import Array
from engine.graph.inputs import Inputs

Labels = npt.NDArray[np.int64]
Chosen = npt.NDArray[np.intp]
Hashes = npt.NDArray[np.bytes_]

SPLITS = ("train", "calibration", "validation", "test")
ALL = "all"
"""What a source that knows no splits has instead of them."""
SPLIT_NAMES = {"val": "validation", "valid": "validation", "dev": "validation"} | {s: s for s in SPLITS}
"""What people call the splits."""


class Items(Protocol):
    """The inputs of one split, as a source has them."""

    def __len__(self) -> int:
        """How many there are."""

    def hashes(self) -> Hashes:
        """A digest of each item's content, (n,): the same for the same item."""

    def read(self, chosen: Chosen | None) -> Inputs:
        """The chosen items, None for all in their order, as an array (n, channels, …), or several by name; raises DatasetError."""


@dataclass(frozen=True)
class Stored:
    """Inputs (n, channels, …), or several arrays by name, that are in memory."""

    inputs: Inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def hashes(self) -> Hashes:
        """Of each item's numbers, 16 bytes."""
        return item_hashes(self.inputs)

    def read(self, chosen: Chosen | None) -> Inputs:
        """A copy of the chosen; what there is itself for all."""
        return self.inputs if chosen is None else self.inputs[chosen]


@dataclass(frozen=True)
class Gathered:
    """What a source holds, by split or under `all`.

    `labels` are as the source has them: integers, rows of one-hot, text; None for items without. `class_names` are those that the source
    lists, in their order. `called` is what messages call the (inputs, labels) of a split. `slices` are those that the spec names, by name,
    text (n,); a split other than the test may have none.
    """

    name: str
    items: Mapping[str, Items]
    labels: Mapping[str, Array | None]
    called: Mapping[str, tuple[str, str]]
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    slices: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)

    @property
    def is_labelled(self) -> bool:
        """Whether any item has a label."""
        return any(labels is not None for labels in self.labels.values())


def item_hashes(inputs: Inputs) -> Hashes:
    """A 16-byte digest of each item's content, (n,)."""
    return np.array([hashlib.blake2b(item.tobytes(), digest_size=16).digest() for item in inputs], "S16")
