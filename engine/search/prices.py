"""What recipes cost beside what they promise, where they share nodes: a training is paid for by all that it opens up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.search.belief import Floats, Ints

if TYPE_CHECKING:
    from scipy import sparse

LEAST = 1e-9
"""Seconds for all of the volume, and volume: neither is nothing."""

Ways = list[tuple[Ints, Ints]]
"""Rows that need the same nodes, and these."""


@dataclass(frozen=True)
class Prices:
    """Which nodes that are not there yet each recipe needs, in full and in short (None where nothing is screened), by row of the space:
    each (n, nodes), 1 or 0; what the nodes take, `seconds` (nodes,); and how many node seconds may be spent.
    """

    full: sparse.csr_array
    short: sparse.csr_array | None
    seconds: Floats
    left_s: float = np.inf

    def alone(self, in_short: bool = False) -> Floats:
        """Seconds of each recipe (n,) if it is the only one; infinite where that is more than may be spent, or it is not seen in short."""
        needs = self.short if in_short else self.full
        if needs is None:
            return np.full(self.full.shape[0], np.inf)
        found: Floats = needs @ self.seconds
        return np.where(found <= self.left_s, found, np.inf)

    def ways(self, in_short: bool = False) -> Ways:
        """The missing nodes by who needs them, of recipes in full or in short."""
        needs = self.short if in_short else self.full
        assert needs is not None
        columns = needs.tocsc()
        users: dict[bytes, list[int]] = {}
        for node in range(needs.shape[1]):
            rows = columns.indices[columns.indptr[node] : columns.indptr[node + 1]]
            if len(rows):
                users.setdefault(np.sort(rows).tobytes(), []).append(node)
        return [(np.frombuffer(key, columns.indices.dtype), np.array(nodes, np.int64)) for key, nodes in users.items()]

    def per_gain(self, gain: Floats, together: Callable[[Ints], float]) -> tuple[Floats, Floats, Floats]:
        """Seconds for each unit of gain of each recipe in full, in short, and in full once it was seen in short, each (n,), where a node is
        paid for by all that need it, as their gains (n,) are parts of what they add `together`.
        """
        full = self._rated(gain, together)
        if self.short is None:
            return self.full @ full, np.full(len(gain), np.inf), self.full @ full
        short = self._rated(gain, together, in_short=True)
        return self.full @ full, self.short @ short, self.full @ full - self.full.multiply(self.short) @ full

    def _rated(self, gain: Floats, together: Callable[[Ints], float], in_short: bool = False) -> Floats:
        worth = np.full(len(self.seconds), np.inf)
        for rows, nodes in self.ways(in_short):
            best = float(gain[rows].max())
            some = rows[gain[rows] > 0]
            worth[nodes] = best if len(some) < 2 else max(best, together(some))
        found: Floats = self.seconds / np.maximum(worth, LEAST)
        return found
